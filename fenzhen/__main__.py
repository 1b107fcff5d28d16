"""The command `fenzhen`: a table of subcommands, each imported only when it is called."""

import importlib
import sys
from dataclasses import dataclass

import click

from fenzhen.errors import Invocation, exit_code_of


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a subcommand lives, and its line in `fenzhen --help`, which must not import it."""

    module: str
    attribute: str
    line: str


COMMANDS = {
    "up": Entry("fenzhen.up", "up", "Start the models and the router."),
    "ask": Entry("fenzhen.ask", "ask", "Ask a question and see which model answers."),
    "status": Entry("fenzhen.status", "status", "Show what runs and how it is."),
    "update": Entry("fenzhen.update", "update", "Take over a changed configuration without a stop."),
    "down": Entry("fenzhen.down", "down", "Stop everything and confirm that nothing is left."),
    "models": Entry("fenzhen.models", "models", "List, fetch and verify the models."),
    "doctor": Entry("fenzhen.doctor", "doctor", "Check this machine before a start."),
    "config": Entry("fenzhen.config", "config", "Print the configuration in effect, to start a fenzhen.yaml from."),
    "version": Entry("fenzhen.version", "version", "Print the versions of Fenzhen and its engine."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table, which is the order in which people need them."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Add the nearest right name to the message for a wrong one: click only looks among imported commands."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table for `--help`, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def fenzhen() -> None:
    """Sends easy questions to a small model and hard ones to a large model, on this machine.

    `fenzhen COMMAND --help` tells more about one command.
    """


def main() -> None:
    """Run the command line and end the process."""
    # A terminal that cannot show a Chinese character gets its code instead of a crash.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    invocation = Invocation()
    sys.exit(exit_code_of(lambda: fenzhen.main(prog_name="fenzhen", standalone_mode=False, obj=invocation), invocation))


if __name__ == "__main__":
    main()
