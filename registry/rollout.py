"""How a new version is let in: a pure state machine, one step at a time.

    Pending → Loading → Shadow → Canary 0 … n → Promoting → Promoted → Done
                 ↓        ↓          ↓              ↓           ↓        ↓ by hand: a rollout of its own
             RolledBack ← RollingBack ←─────────────┴───────────┘     Reloading → RollingBack → RolledBack

Nothing is known here of databases, registries or engines. The controller says what it has seen, stores what `step`
answers, and only then acts. Time counts only while a controller watches: neither an hour without one nor a clock that
was set moves a rollout on.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from registry.rollout_states import (
    Canary,
    Done,
    Duty,
    Loading,
    Pending,
    Plan,
    Promoted,
    Promoting,
    Release,
    Reloading,
    RolledBack,
    RollingBack,
    Shadow,
    State,
)
from registry.verdict import Verdict

Verb = Literal["promote", "hold", "resume", "roll_back"]

CONTROLLER: Final = "controller"
JUDGE: Final = "judge"
# A restarted engine's table row is gone for seconds; a canary that nobody has had for so long may have killed them.
UNSERVED_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing goes on until somebody resumes. A rollback goes through all the same."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """One version on its way."""

    rollout_id: str
    name: str
    plan: Plan
    stable: Release
    """What answers now, and again after a rollback."""
    canary: Release
    state: State
    started_s: float
    previous: Release | None = None
    """What the alias `previous` meant before, for after a rollback."""
    hold: Hold | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return isinstance(self.state, Done | RolledBack)

    @property
    def stage(self) -> str:
        """The state in words for people; each stage has evidence and a clock of its own."""
        match self.state:
            case Canary(number=number):
                return f"canary {number + 1}/{len(self.plan.steps)}"
            case state:
                return state.word.replace("_", " ")

    @property
    def canary_ratio(self) -> float:
        """Share of the conversations that the canary answers."""
        match self.state:
            case Canary(number=number):
                return self.plan.steps[number]
            case Promoting():
                return self.plan.steps[-1]
            case Promoted() | Done() | Reloading():
                return 1.0
            case _:
                return 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a person or an alert wants."""

    order_id: int
    verb: Verb
    by: str
    reason: str = ""
    stage: str = ""
    """The stage that whoever ordered it has seen: a `promote` for a step that has passed is no promote of the next."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the controller knows at one moment."""

    verdict: Verdict | None = None
    """On the evidence of this stage."""
    watched_s: float = 0.0
    """For how long a controller has watched this stage."""
    is_in_force: bool = False
    """Whether routers were told of this stage: what was stored, but never done, is not passed over."""
    unserved_s: float = 0.0
    """For how long no endpoint has had the canary ready."""
    fetched: tuple[Release, ...] = ()
    """Stable or canary with their files at hand."""
    fault: str = ""
    """Why they cannot be loaded, ever."""
    are_loaded: bool = False
    """Whether all engines that shall carry the two sides have them loaded and warm."""
    are_aliases_moved: bool = False
    order: Order | None = None


def refusal(rollout: Rollout, seen: Seen) -> str:
    """Why the order cannot be obeyed; empty if it can, or if there is none."""
    order, state = seen.order, rollout.state
    if order is None:
        return ""
    if rollout.is_over:
        return f"the rollout is over: {rollout.stage}"
    if isinstance(state, RollingBack | Reloading):
        return "it is being rolled back already"
    match order.verb:
        case "hold" if isinstance(state, Promoting):
            return "it is being promoted at this moment; roll it back, or hold it in a moment"
        case "hold" if rollout.hold is not None:
            return f"it is held already, by {rollout.hold.by}"
        case "resume" if rollout.hold is None:
            return "it is not held"
        case "promote" if order.stage and order.stage != rollout.stage:
            return f"it has moved on from {order.stage} to {rollout.stage} meanwhile"
        case "promote" if rollout.hold is not None:
            return f"it is held by {rollout.hold.by} ({rollout.hold.reason}): resume it first"
        case "promote" if isinstance(state, Pending | Loading):
            return "it is not loaded yet"
        case "promote" if isinstance(state, Promoting):
            return "it is being promoted already"
        case "promote" if seen.unserved_s > 0 and not isinstance(state, Promoted):
            return "no endpoint has the new version ready"
    return ""


def step(rollout: Rollout, seen: Seen, now_s: float) -> Rollout:
    """What a rollout becomes: itself, or at most one state further."""
    order = seen.order if not refusal(rollout, seen) else None
    if rollout.is_over:
        return rollout
    if order is not None and order.verb == "roll_back":
        return _back(rollout, order.reason, order.by, now_s)
    if order is not None and order.verb == "hold":
        return replace(rollout, hold=Hold(order.by, order.reason))
    if order is not None and order.verb == "resume":
        return replace(rollout, hold=None)
    if seen.verdict is not None and seen.verdict.answer == "roll_back" and _is_judged(rollout):
        return _back(rollout, seen.verdict.reason, JUDGE, now_s)
    return _on(rollout, seen, is_ordered=order is not None, now_s=now_s)


def _on(rollout: Rollout, seen: Seen, *, is_ordered: bool, now_s: float) -> Rollout:
    """The way forward."""
    plan, is_held, is_ordered = rollout.plan, rollout.hold is not None, is_ordered and seen.is_in_force
    is_calm = seen.is_in_force and not is_held and (seen.verdict is None or seen.verdict.answer != "review")
    match rollout.state:
        case Pending() if not is_held:
            return replace(rollout, state=Loading(now_s))
        case Loading() | Reloading():
            return _loading(rollout, seen, now_s)
        case Shadow() if is_ordered or (is_calm and seen.watched_s >= plan.shadow_s and seen.unserved_s == 0):
            return replace(rollout, state=Canary(now_s, 0))
        case Canary() if seen.unserved_s > UNSERVED_S and not is_held:
            return replace(rollout, hold=Hold(CONTROLLER, f"no endpoint has had it ready for {UNSERVED_S:g} s"))
        case Canary(number=number) if is_ordered or (not is_held and _has_passed(rollout, seen)):
            is_last = number + 1 == len(plan.steps)
            return replace(rollout, state=Promoting(now_s) if is_last else Canary(now_s, number + 1))
        case Promoting() if seen.are_aliases_moved:
            return replace(rollout, state=Promoted(now_s))
        case Promoted() if is_ordered or (is_calm and seen.watched_s >= plan.bake_s):
            return replace(rollout, state=Done(now_s))
        case RollingBack(reason=reason, by=by) if seen.are_aliases_moved and seen.is_in_force:
            return replace(rollout, state=RolledBack(now_s, reason, by))
        case _:
            return rollout


def _has_passed(rollout: Rollout, seen: Seen) -> bool:
    """Whether a canary step has lasted, is served, and was found good on its own evidence."""
    is_good = seen.verdict is not None and seen.verdict.answer == "promote"
    return is_good and seen.is_in_force and seen.watched_s >= rollout.plan.bake_s and seen.unserved_s == 0


def _is_judged(rollout: Rollout) -> bool:
    return isinstance(rollout.state, Shadow | Canary | Promoting | Promoted)


def _loading(rollout: Rollout, seen: Seen, now_s: float) -> Rollout:
    fetched = {release.side.version: release for release in seen.fetched}
    stable = fetched.get(rollout.stable.side.version, rollout.stable)
    canary = fetched.get(rollout.canary.side.version, rollout.canary)
    rollout = replace(rollout, stable=stable, canary=canary)
    is_late = seen.watched_s > rollout.plan.loading_s and rollout.hold is None
    reason = seen.fault or (f"not loaded and warm within {rollout.plan.loading_s:g} s" if is_late else "")
    is_ready = stable.is_at_hand and canary.is_at_hand and seen.are_loaded
    match rollout.state:
        case Reloading(reason=why, by=by):
            if reason:
                return replace(rollout, state=Done(now_s, f"the version before cannot be had again: {reason}"))
            return replace(rollout, state=RollingBack(now_s, why, by)) if is_ready else rollout
        case _:
            if reason:
                return _back(rollout, reason, CONTROLLER, now_s)
            return replace(rollout, state=Shadow(now_s)) if is_ready and rollout.hold is None else rollout


def _back(rollout: Rollout, reason: str, by: str, now_s: float) -> Rollout:
    if isinstance(rollout.state, Pending | Loading):
        # Nothing has moved yet, so there is nothing to move back.
        return replace(rollout, state=RolledBack(now_s, reason, by), hold=None)
    return replace(rollout, state=RollingBack(now_s, reason, by), hold=None)


def duty_after(before: Duty | None, rollout: Rollout) -> Duty | None:
    """What the name's duty is in this state."""
    match rollout.state:
        case Pending() | Loading() | Reloading():
            return before
        case Promoted() | Done(reason=""):
            return Duty(rollout.canary, rollout.stable)
        case Shadow() | Canary() | Promoting() | RollingBack():
            return Duty(rollout.stable, rollout.previous)
        case _:
            return before
