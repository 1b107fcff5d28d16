"""What one controller gathers of one rollout: the evidence, and for how long each thing has been so."""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from pydantic import TypeAdapter

from cluster.errors import FenzhenError
from cluster.outcomes import Outcome
from registry.rollout import Rollout
from registry.rollout_states import Canary, Promoted, Promoting, Shadow
from registry.rollout_store import Watch
from registry.verdict import Verdict

# A controller that was away, or a machine that slept, has watched nothing meanwhile.
_MOST_A_LOOK_S: Final = 5.0
# The judge's figures need milliseconds; people and rollouts need no verdict more often.
_VERDICT_S: Final = 1.0
_VERDICT: Final = TypeAdapter(Verdict)

_log = logging.getLogger(__name__)


class Judge(Protocol):
    """Weighs the outcomes of one rollout."""

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Count these."""

    def begin_step(self) -> None:
        """What speaks for promotion must come anew; what speaks against the version stays."""

    def verdict(self, now_s: float) -> Verdict:
        """What all this says now."""

    def dump(self) -> bytes:
        """Everything, to go on after a restart."""


class Judges(Protocol):
    """Makes judges."""

    def fresh(self) -> Judge:
        """One that knows nothing yet."""

    def load(self, data: bytes) -> Judge:
        """One that goes on with what another has dumped. Raises FenzhenError if that cannot be read."""


class StageWatch:
    """Of one rollout. Everything but the stored part begins anew with a controller."""

    def __init__(self, rollout: Rollout, judges: Judges, stored: Watch | None) -> None:
        self._judge = _judge_from(rollout, judges, stored)
        self.stage = stored.stage if stored is not None else rollout.stage
        self.watched_s = stored.watched_s if stored is not None else 0.0
        self.unserved_s = 0.0
        self.verdict: Verdict | None = None
        self._looked_s: float | None = None
        self._judged_s: float | None = None

    def look(
        self,
        rollout: Rollout,
        outcomes: Iterable[Outcome],
        *,
        is_served: bool,
        is_in_force: bool,
        now_s: float,
        wall_s: float,
    ) -> None:
        """Count what has come and passed since the last look. `now_s` only grows; `wall_s`: since the epoch.

        `is_in_force`: whether routers were told of this stage. What comes before that is the stage's before.
        """
        passed_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, _MOST_A_LOOK_S)
        self._looked_s = now_s
        self.unserved_s = 0.0 if is_served else self.unserved_s + max(passed_s, 1e-9)
        mine = [each for each in outcomes if each.rollout_id == rollout.rollout_id]
        if mine:
            self._judge.take(mine)
        if self.stage != rollout.stage or not is_in_force:
            self.verdict = None
        if self.stage != rollout.stage:
            self.stage, self.watched_s = rollout.stage, 0.0
            self._judged_s = None
            self._judge.begin_step()
            return
        if is_in_force:
            self.watched_s += passed_s
        is_due = self._judged_s is None or now_s - self._judged_s >= _VERDICT_S
        if is_due and isinstance(rollout.state, Shadow | Canary | Promoting | Promoted):
            self._judged_s = now_s
            self.verdict = self._judge.verdict(wall_s)

    def stored(self, rollout: Rollout, waits_for: str, generations: Mapping[str, int]) -> Watch:
        """All that the next controller, and `status`, need."""
        document: dict[str, object] = {"waits_for": waits_for, "routers": dict(generations)}
        if self.verdict is not None:
            document["verdict"] = json.loads(_VERDICT.dump_json(self.verdict))
        text = json.dumps(document, ensure_ascii=False)
        return Watch(rollout.rollout_id, self.stage, self.watched_s, self._judge.dump(), text)


def _judge_from(rollout: Rollout, judges: Judges, stored: Watch | None) -> Judge:
    if stored is None:
        return judges.fresh()
    try:
        return judges.load(stored.evidence)
    except FenzhenError as error:
        _log.warning("%s: its evidence begins anew: %s", rollout.name, error)
        return judges.fresh()
