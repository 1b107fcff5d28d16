"""How a command gives an order to the controller of rollouts, and waits for what becomes of it."""

import getpass
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cluster.errors import NotFound, Unavailable, UserError
from fenzhen.options import config_options, load
from fenzhen.output import Output
from registry.rollout import Rollout, Verb
from registry.rollout_store import Answer, RolloutStore, open_rollouts

# A controller turns twice a second; another takes over within its lease.
ANSWER_S: Final = 15.0
_LOOK_S: Final = 0.2

_Command = TypeVar("_Command", bound=Callable[..., Any])


def order_options(command: _Command) -> _Command:
    """Add the name, and `--reason`."""
    command = click.option("--reason", default="", metavar="TEXT", help="Kept in the history.")(command)
    return click.argument("name")(config_options(command))


def opened(config: Path | None, profile_name: str | None) -> RolloutStore:
    """The store of rollouts that the settings name."""
    settings, _ = load(config, profile_name)
    return open_rollouts(settings)


def person() -> str:
    """Who gives orders here."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "unknown user"


def running(store: RolloutStore, name: str) -> Rollout:
    """The rollout of a name that is not over. Raises NotFound."""
    now = store.snapshot()
    for rollout in now.rollouts:
        if rollout.name == name:
            return rollout
    others = ", ".join(rollout.name for rollout in now.rollouts)
    last = store.latest(name)
    what = f"no rollout of {name} runs" + (f"; the last one is {last[0].stage}" if last else "")
    raise NotFound(f"{what}; {f'there is one of {others}' if others else 'none runs of any name'}")


def order(store: RolloutStore, rollout: Rollout, verb: Verb, reason: str, output: Output) -> int:
    """Give an order and tell what becomes of it. Raises Unavailable if nobody takes it up in time."""
    order_id = store.give(rollout, verb, by=person(), reason=reason, stage=rollout.stage)
    answer = _awaited(store, order_id)
    if not answer.is_accepted:
        raise UserError(f"{rollout.name} {rollout.canary.side.version}: {answer.said}")
    output.say(f"{rollout.name} {rollout.canary.side.version}: {_DONE[verb]}, {answer.said}.")
    return 0


_DONE: Final[dict[Verb, str]] = {
    "promote": "goes on",
    "hold": "held",
    "resume": "resumed",
    "roll_back": "all its traffic goes to the version before",
}


def require_leader(store: RolloutStore) -> None:
    """Raises Unavailable, with what to do, while no controller holds the lease."""
    if not store.snapshot().leader:
        raise Unavailable(
            "no controller of rollouts runs: what was asked for is written down, and is done once the stack runs "
            "(`fenzhen status`, `fenzhen up`)"
        )


def _awaited(store: RolloutStore, order_id: int) -> Answer:
    ends_s = time.monotonic() + ANSWER_S
    while time.monotonic() < ends_s:
        answer = store.answer(order_id)
        if answer is not None:
            return answer
        time.sleep(_LOOK_S)
    require_leader(store)
    raise Unavailable(
        f"the controller of rollouts has not taken the order up within {ANSWER_S:g} s; it stays written down"
    )
