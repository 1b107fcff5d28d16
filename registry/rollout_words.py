"""What a rollout does and waits for, as sentences for people and for the history."""

import json
from typing import Final

from pydantic import TypeAdapter

from registry.history import Note
from registry.rollout import CONTROLLER, JUDGE, UNSERVED_S, Rollout, Seen
from registry.rollout_states import (
    Canary,
    Done,
    Loading,
    Pending,
    Promoted,
    Promoting,
    Reloading,
    RolledBack,
    RollingBack,
    Shadow,
)
from registry.verdict import Verdict

_VERDICT: Final = TypeAdapter(Verdict)
_ROLLOUT: Final = TypeAdapter(Rollout)
_BY_ITSELF: Final = {
    "loading": "its files are fetched and verified, its engines load it and warm up",
    "shadow": "loaded and warm on every engine that shall carry it",
    "canary": "the shadow has lasted",
    "promoting": "the last step has lasted",
    "promoted": "the aliases are moved, and all traffic is the new version's",
    "done": "the version before was kept loaded long enough",
}
# The registry has them under their digest; a record that many read needs no second copy.
_NO_PROMPTS: Final = {key: {"side": {"prompt"}} for key in ("stable", "canary", "previous")}


def waits_for(rollout: Rollout, seen: Seen, trouble: str = "") -> str:
    """What must happen before it goes on. `trouble`: what the registry says."""
    because = f": {trouble}" if trouble else ""
    verdict = seen.verdict
    if rollout.hold is not None and not isinstance(rollout.state, RollingBack | RolledBack | Done | Promoting):
        return f"held by {rollout.hold.by} ({rollout.hold.reason or 'no reason given'}); `resume` lets it go on"
    if verdict is not None and verdict.answer == "review" and isinstance(rollout.state, Shadow | Canary | Promoted):
        return f"a person must look, then `promote` or `rollback`: {verdict.reason}"
    if seen.unserved_s > 0 and isinstance(rollout.state, Shadow | Canary):
        return f"no endpoint has the new version ready, for {seen.unserved_s:.0f} s; after {UNSERVED_S:g} s it is held"
    match rollout.state:
        case Pending():
            return "a controller must take it up"
        case Loading() | Reloading() if trouble:
            return f"the registry must hand out the files{because}"
        case Loading():
            return "the engines must load it and warm up"
        case Reloading():
            return "the version before is loaded again; until then the traffic stays where it is"
        case Shadow():
            return f"the shadow lasts {_left(rollout.plan.shadow_s, seen)}"
        case Canary() if verdict is None or verdict.answer != "promote":
            reason = verdict.reason if verdict is not None else "nothing was observed yet"
            return f"the judge needs more evidence: {reason}"
        case Canary():
            return f"the judge agrees; the step lasts {_left(rollout.plan.bake_s, seen)}"
        case Promoting():
            return f"the registry must move the aliases{because}; the traffic stays at the last step until then"
        case Promoted():
            return f"the version before stays loaded for {_left(rollout.plan.bake_s, seen)}"
        case RollingBack():
            return f"all traffic is back on stable; the registry must move the aliases{because}"
        case _:
            return "nothing"


def note_of(before: Rollout, after: Rollout, seen: Seen) -> Note:
    """The history's entry for one change."""
    event, by, said = _told(before, after, seen)
    document = {"rollout": json.loads(_ROLLOUT.dump_json(after, exclude=_NO_PROMPTS))}
    if seen.verdict is not None:
        document["verdict"] = json.loads(_VERDICT.dump_json(seen.verdict))
    return Note(after.name, after.rollout_id, event, by, said, json.dumps(document, ensure_ascii=False))


def _told(before: Rollout, after: Rollout, seen: Seen) -> tuple[str, str, str]:
    order = seen.order
    if after.hold != before.hold and before.stage == after.stage:
        if after.hold is None:
            return "resumed", order.by if order else CONTROLLER, (order.reason if order else "") or "goes on"
        return "held", after.hold.by, after.hold.reason
    by = order.by if order is not None and order.verb == "promote" else CONTROLLER
    match after.state:
        case RollingBack(reason=reason, by=who):
            return after.stage, who, reason
        case RolledBack(reason=reason, by=who):
            missed = f"; the registry's aliases could not all be moved: {seen.fault}" if seen.fault else ""
            is_late = isinstance(before.state, RollingBack)
            return after.stage, CONTROLLER if is_late else who, reason + (missed if is_late else "")
        case Done(reason=reason) if reason:
            return after.stage, CONTROLLER, reason
        case Loading() if before.stage == after.stage:
            return "files at hand", CONTROLLER, "fetched and verified"
        case Canary() | Promoting() if isinstance(before.state, Canary) and by == CONTROLLER and seen.verdict:
            return after.stage, JUDGE, seen.verdict.reason
        case state if by == CONTROLLER:
            return after.stage, by, _BY_ITSELF[state.word]
        case _:
            assert order is not None
            return after.stage, by, order.reason or f"goes on from {before.stage}"


def _left(wanted_s: float, seen: Seen) -> str:
    return f"{max(0.0, wanted_s - seen.watched_s):.0f} of {wanted_s:g} s more"
