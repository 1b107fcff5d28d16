"""`fenzhen rollout rollback`."""

import time
from pathlib import Path

import click

from cluster.errors import NotFound
from fenzhen.output import Output
from fenzhen.rollout_orders import ANSWER_S, opened, order, order_options, person, require_leader, running
from registry.history import Note
from registry.rollout import Rollout
from registry.rollout_start import taken_back
from registry.rollout_states import Plan
from registry.rollout_store import RolloutStore

# Engines fetch nothing and load in seconds; a machine that swaps takes longer.
_RELOAD_S = 900.0
_LOOK_S = 0.3


@click.command()
@order_options
def rollback(config: Path | None, profile_name: str | None, name: str, reason: str) -> int:
    """Send all traffic back to the version before.

    While a rollout runs, and until its last watch has ended, this takes a second or two: the version before is still
    loaded. After that it is loaded again first, and the traffic stays where it is until then.
    """
    store, output = opened(config, profile_name), Output()
    said = reason or "rolled back by hand"
    try:
        return order(store, running(store, name), "roll_back", said, output)
    except NotFound as error:
        duty = store.snapshot().duties.get(name)
        if duty is None:
            raise error from None
        back = taken_back(
            duty, name, Plan(steps=(0.5,), bake_s=0.0, loading_s=_RELOAD_S), by=person(), reason=said, now_s=time.time()
        )
    store.start(back, Note(name, back.rollout_id, back.stage, person(), said))
    output.say(
        f"{name}: the rollout was over, so version {back.stable.side.version} is loaded again first; until then "
        f"version {back.canary.side.version} answers. This takes as long as a load."
    )
    return _followed(store, back, output)


def _followed(store: RolloutStore, back: Rollout, output: Output) -> int:
    ends_s = time.monotonic() + ANSWER_S
    while time.monotonic() < ends_s:
        (last,) = store.latest(back.name)
        if last.stage in ("rolling back", "rolled back"):
            output.say(f"{back.name}: version {back.stable.side.version} answers again.")
            return 0
        if last.is_over:
            output.say(f"{back.name}: version {back.canary.side.version} stays: {getattr(last.state, 'reason', '')}")
            return 1
        time.sleep(_LOOK_S)
    require_leader(store)
    output.say(f"It is still loading; `fenzhen rollout status {back.name} --watch` shows when it is done.")
    return 0
