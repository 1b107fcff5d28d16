"""`fenzhen down`: the reverse of `up`, with a confirmation."""

from pathlib import Path

import click

from cluster.stack_state import read_state
from fenzhen.options import config_options, load
from fenzhen.output import Output
from fenzhen.stopping import stop_stack


@click.command()
@config_options
def down(config: Path | None, profile_name: str | None) -> None:
    """Stop the router, the engines and Ray, in this order.

    Requests in flight are answered first. Each part's end is confirmed; processes that would be left over are ended.
    """
    settings, _ = load(config, profile_name)
    output = Output()
    if not stop_stack(settings.site.state_dir, output):
        output.say("Nothing was running.")
        return
    state = read_state(settings.site.state_dir)
    count = len(state.processes) if state is not None else 0
    output.say(f"Stopped: of the supervisor and its {count} processes none is left.")
