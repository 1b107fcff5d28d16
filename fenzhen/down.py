"""`fenzhen down`: the reverse of `up`, with a confirmation."""

from pathlib import Path

import click

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
    count = stop_stack(settings.site.state_dir, output)
    output.say(f"Stopped: all {count} processes have ended, none is left." if count else "Nothing was running.")
