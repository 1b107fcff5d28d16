"""`fenzhen rollout promote`."""

from pathlib import Path

import click

from fenzhen.output import Output
from fenzhen.rollout_orders import opened, order, order_options, running


@click.command()
@order_options
def promote(config: Path | None, profile_name: str | None, name: str, reason: str) -> int:
    """Go on one step before its time, or past a review.

    It counts for the step that runs now: if the rollout goes on by itself meanwhile, nothing is skipped.
    """
    store = opened(config, profile_name)
    return order(store, running(store, name), "promote", reason, Output())
