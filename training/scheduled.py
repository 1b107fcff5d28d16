"""What a schedule has decided is done: train, measure, publish, and start a canary or say why not.

Each act is written into the journal before it is begun, and each can be done again: the run folder goes on where it
was, alerts are taken under the run's name, the same run is published as the same version, and a rollout of that
version that runs already is the one that was asked for.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from cluster.errors import FenzhenError, Unavailable, UserError
from registry.drift_store import DriftEntry
from registry.versions import Version
from training.feedback_rows import FeedbackRows, write_rows
from training.fitting import Interrupted
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.schedule import Begin, GiveUp, GoOn, Schedule, Wait, Watching, decide
from training.schedule_journal import Entry, Journal, What

_MOST_CHARACTERS: Final = 500


class Hands(Protocol):
    """What a schedule acts with. Every call may raise UserError (a person must mend it) or Unavailable (later)."""

    def recipe(self) -> Recipe:
        """The recipe as it is now."""

    def require_possible(self, recipe: Recipe) -> None:
        """Look before hours of training whether what comes of it could be published, and its canary started."""

    def new_run(self, recipe: Recipe) -> str:
        """A name for a run's folder that no other has."""

    def run_of(self, name: str) -> RunFolder:
        """The folder of that name."""

    def alerts(self) -> Sequence[DriftEntry]:
        """Alerts of drift of what the recipe is published as."""

    def take(self, entry_id: int, by: str) -> None:
        """Take an alert; UserError: another has."""

    def feedback(self) -> FeedbackRows:
        """Rows of what people said lately."""

    def train(self, recipe: Recipe | None, run: RunFolder) -> None:
        """Train and measure, or go on with it; `recipe` is None where the folder holds a run already."""

    def publish(self, run: RunFolder) -> Version:
        """Register what it has made."""

    def canary(self, version: Version, why: str) -> str:
        """Start its rollout, and say how; UserError: why not."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one look has come to."""

    entries: tuple[Entry, ...]
    """What was written into the journal."""
    wait: Wait | None = None
    """Nothing is due."""


class _NotNow(Exception):
    """This attempt ends here, and this entry says why."""

    def __init__(self, what: What, why: str) -> None:
        super().__init__(why)
        self.what: What = what
        self.why = why


class Scheduled:
    """One schedule at work."""

    def __init__(self, schedule: Schedule, journal: Journal, hands: Hands, now: Callable[[], datetime]) -> None:
        self._schedule = schedule
        self._journal = journal
        self._hands = hands
        self._now = now
        self._written: list[Entry] = []

    def turn(self) -> Turn:
        """Look once, and do what is due. Raises Unavailable if another process sees to it, KeyboardInterrupt when a
        run was told to stop, and what is no error of ours; both are in the journal then."""
        self._written = []
        with self._journal.held():
            decision = decide(self._schedule, self._journal.read(), self._alerts(), self._now())
            if isinstance(decision, Watching):
                self._add("watching", decision.why)
                decision = decide(self._schedule, self._journal.read(), self._alerts(), self._now())
            match decision:
                case Begin(why, slot, drift):
                    run = self._hands.new_run(self._hands.recipe())
                    self._add("begun", why, run=run, slot=slot, drift=drift)
                    self._attempt(run, slot, drift)
                case GoOn(why, attempt):
                    self._add("resumed", why, run=attempt.run)
                    self._attempt(attempt.run, attempt.slot, attempt.drift)
                case GiveUp(why, attempt):
                    self._add("gave_up", why, run=attempt.run)
                case Wait():
                    return Turn(tuple(self._written), decision)
            return Turn(tuple(self._written))

    def _alerts(self) -> Sequence[DriftEntry]:
        if not self._schedule.on_drift:
            return ()
        try:
            return self._hands.alerts()
        except Unavailable:
            # The calendar does not wait for the database of alerts; they are looked at again in a minute.
            return ()

    def _attempt(self, run: str, slot: str, drift: tuple[int, ...]) -> None:
        try:
            self._work(self._hands.run_of(run), is_for_drift_only=not slot, drift=drift)
        except _NotNow as end:
            self._add(end.what, end.why, run=run)
        except (Interrupted, KeyboardInterrupt) as stop:
            self._add("interrupted", "told to stop; it goes on where it was", run=run)
            raise KeyboardInterrupt from stop
        except FenzhenError as error:
            self._add("failed", str(error), run=run)
        except BaseException as error:
            # Its words may quote a row.
            self._add("failed", f"a fault of ours, {type(error).__name__}", run=run)
            raise

    def _work(self, run: RunFolder, *, is_for_drift_only: bool, drift: tuple[int, ...]) -> None:
        rows = self._rows_file(run)
        if run.state.exists():
            self._hands.train(None, run)
        else:
            recipe = self._prepared(run, rows, is_for_drift_only=is_for_drift_only, drift=drift)
            try:
                self._hands.train(recipe, run)
            except UserError as error:
                if run.state.exists():
                    raise
                # Nothing has begun: rows, recipe, base or memory are not as they should be, and will not be in an hour.
                raise _NotNow("not_trained", str(error)) from error
        # They are in the run's own folder now, checked and split.
        rows.unlink(missing_ok=True)
        version = self._published(run)
        if not self._schedule.canary:
            raise _NotNow(
                "no_canary", f"the schedule starts none: fenzhen rollout start {version.name} {version.version}"
            )
        try:
            said = self._hands.canary(version, f"scheduled by {self._schedule.name}")
        except UserError as error:
            raise _NotNow("no_canary", str(error)) from error
        raise _NotNow("canary", said)

    def _prepared(self, run: RunFolder, rows: Path, *, is_for_drift_only: bool, drift: tuple[int, ...]) -> Recipe:
        """The recipe with the rows that feedback adds; the alerts are taken."""
        try:
            recipe = self._hands.recipe()
            self._hands.require_possible(recipe)
            recipe = self._with_feedback(recipe, rows)
        except UserError as error:
            raise _NotNow("not_trained", str(error)) from error
        taken, others = [], []
        for entry_id in drift:
            try:
                self._hands.take(entry_id, f"schedule {self._schedule.name}, {run.path.name}")
                taken.append(entry_id)
            except UserError as error:
                others.append(str(error))
        if is_for_drift_only and not taken:
            raise _NotNow("not_trained", "; ".join(others))
        return recipe

    def _with_feedback(self, recipe: Recipe, file: Path) -> Recipe:
        wanted = self._schedule.feedback
        if wanted is None:
            return recipe
        # Of a life that was killed: whoever takes consent back meanwhile is heard.
        file.unlink(missing_ok=True)
        found = self._hands.feedback()
        is_sft = recipe.objective == "sft"
        count = len(found.rows if is_sft else found.preferences)
        if count < wanted.min_rows:
            raise _NotNow("not_trained", f"too few new rows: feedback gives {count}, {wanted.min_rows} are asked for")
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if is_sft:
            write_rows(found, file)
        else:
            # Without the rows nothing is written to the first place.
            write_rows(dataclasses.replace(found, rows=()), file.with_suffix(".rows"), file)
        return recipe.model_copy(update={"data": recipe.data.model_copy(update={"rows": (*recipe.data.rows, file)})})

    def _published(self, run: RunFolder) -> Version:
        version = self._hands.publish(run)
        failed = [gate.metric for gate in version.gates if not gate.is_passed]
        said = f"version {version.version}" + (f"; gates not passed: {', '.join(failed)}" if failed else "")
        self._add("published", said, run=run.path.name, version=version.version)
        return version

    def _rows_file(self, run: RunFolder) -> Path:
        return run.path.parent / "schedules" / f"feedback-{run.path.name}.jsonl"

    def _add(
        self,
        what: What,
        why: str,
        *,
        run: str = "",
        slot: str = "",
        drift: tuple[int, ...] = (),
        version: int | None = None,
    ) -> None:
        line = " ".join(why.split())
        line = line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 1]}…"
        entry = Entry(self._now(), what, line, run, slot, drift, version)
        self._journal.add(entry)
        self._written.append(entry)


def journal_of(state_dir: Path, name: str) -> Journal:
    """The journal of the schedule of that name."""
    return Journal(state_dir.expanduser() / "training" / "schedules" / f"{name}.jsonl")
