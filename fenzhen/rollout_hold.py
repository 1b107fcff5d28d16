"""`fenzhen rollout hold`."""

from pathlib import Path

import click

from fenzhen.output import Output
from fenzhen.rollout_orders import opened, order, order_options, running


@click.command()
@order_options
def hold(config: Path | None, profile_name: str | None, name: str, reason: str) -> int:
    """Stay in this step until it is resumed. What harms is rolled back all the same."""
    store = opened(config, profile_name)
    return order(store, running(store, name), "hold", reason, Output())
