"""The command `fenzhen`: a table of subcommands, each imported only when it is called."""

import sys

import click

from fenzhen.errors import Invocation, exit_code_of
from fenzhen.lazy_group import Entry, LazyGroup

COMMANDS = {
    "up": Entry("fenzhen.up", "up", "Start the models and the router."),
    "ask": Entry("fenzhen.ask", "ask", "Ask a question and see which model answers."),
    "status": Entry("fenzhen.status", "status", "Show what runs and how it is."),
    "update": Entry("fenzhen.update", "update", "Take over a changed configuration without a stop."),
    "down": Entry("fenzhen.down", "down", "Stop everything and confirm that nothing is left."),
    "models": Entry("fenzhen.models", "models", "List, fetch and verify the models."),
    "train": Entry("fenzhen.train", "train", "Fine-tune a model by rows of examples, and publish what comes of it."),
    "rollout": Entry("fenzhen.rollout", "rollout", "Let new versions in step by step, and take them back."),
    "router": Entry("fenzhen.router", "router", "Train, measure and tune the judge of questions."),
    "registry": Entry("fenzhen.registry", "registry", "Keep versions of models, adapters, judges and prompts."),
    "loadtest": Entry("fenzhen.loadtest", "loadtest", "Find out how much the stack can take, and what happens beyond."),
    "doctor": Entry("fenzhen.doctor", "doctor", "Check this machine before a start."),
    "config": Entry("fenzhen.config", "config", "Print the configuration in effect, to start a fenzhen.yaml from."),
    "version": Entry("fenzhen.version", "version", "Print the versions of Fenzhen and its engine."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
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
