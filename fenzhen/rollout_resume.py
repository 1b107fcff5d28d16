"""`fenzhen rollout resume`."""

from pathlib import Path

import click

from fenzhen.output import Output
from fenzhen.rollout_orders import opened, order, order_options, running


@click.command()
@order_options
def resume(config: Path | None, profile_name: str | None, name: str, reason: str) -> int:
    """Let a held rollout go on."""
    store = opened(config, profile_name)
    return order(store, running(store, name), "resume", reason, Output())
