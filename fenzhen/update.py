"""`fenzhen update`: the running router takes over a changed configuration, and no request is lost."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from cluster.errors import TimedOut, Unavailable, UserError
from cluster.stack_state import StackState, read_state
from fenzhen.options import config_options, load
from fenzhen.orders import Order, Outcome, read_outcome, write_order
from fenzhen.output import Output

_LOOK_S: Final = 0.3
# The supervisor looks for orders twice a second.
_TAKEN_WITHIN_S: Final = 30.0


@click.command()
@config_options
@click.option("--force", is_flag=True, help="Replace the router's replicas even if nothing has changed.")
def update(config: Path | None, profile_name: str | None, force: bool) -> None:
    """Take over a changed configuration without a stop.

    What the router needs (its own section, the models' abilities) is taken over by replacing its replicas one after
    another; no request is lost. If anything else has changed, this says what, and changes nothing.
    """
    settings, label = load(config, profile_name)
    output = Output()
    state_dir = settings.site.state_dir
    state = read_state(state_dir)
    if state is None or not state.is_alive:
        raise UserError("nothing is running that could be updated; `fenzhen up` starts it")
    if state.phase != "ready":
        raise Unavailable(f"the stack is {state.phase}: {state.message}")
    with _only_one(state_dir):
        before = read_outcome(state_dir)
        if before is not None and not before.is_final and _is_of(before, state):
            raise Unavailable("another update is under way", retry_after_s=30)
        order = Order(
            pid=state.pid,
            pid_started_s=state.pid_started_s,
            settings=settings,
            settings_from=label,
            is_forced=force,
        )
        began_s = time.monotonic()
        write_order(state_dir, order)
        outcome = _followed(state_dir, state, order, output)
    match outcome.phase:
        case "done":
            output.say(f"Done in {time.monotonic() - began_s:.0f} s: {outcome.message}.")
        case "unchanged":
            output.say(f"Nothing to do: {outcome.message}. `--force` replaces the router's replicas all the same.")
        case "refused":
            raise UserError(outcome.message)
        case _:
            raise Unavailable(f"the update failed: {outcome.message}; the logs are in {state.log_dir}")


def _followed(state_dir: Path, state: StackState, order: Order, output: Output) -> Outcome:
    """The supervisor's last word on the order. Raises Unavailable if there is none."""
    deadline_s = time.monotonic() + _TAKEN_WITHIN_S
    is_taken = False
    while True:
        outcome = read_outcome(state_dir)
        if outcome is not None and outcome.order_id == order.order_id:
            if outcome.is_final:
                return outcome
            if not is_taken:
                is_taken = True
                output.say("Replacing the router's replicas:")
                output.say("\n".join(f"  {line}" for line in outcome.message.splitlines()))
                deadline_s = time.monotonic() + outcome.ends_within_s
        if not state.is_alive:
            raise Unavailable("the stack has ended meanwhile; `fenzhen status` shows how")
        if time.monotonic() > deadline_s:
            what = "has not come to an end" if is_taken else "was not noticed by the supervisor"
            raise TimedOut(f"the update {what} in time; the logs are in {state.log_dir}")
        time.sleep(_LOOK_S)


def _is_of(outcome: Outcome, state: StackState) -> bool:
    return (outcome.pid, outcome.pid_started_s) == (state.pid, state.pid_started_s)


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    with (state_dir / "update.lock").open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable("another update is under way", retry_after_s=30) from None
        yield
