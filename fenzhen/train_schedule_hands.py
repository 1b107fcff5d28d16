"""What a schedule acts with: the registry, the databases of rollouts, alerts and feedback, and the trainer."""

import contextlib
import dataclasses
import time
from collections.abc import Sequence

from cluster.settings import Settings
from fenzhen.output import Output
from fenzhen.rollout_begin import announced, begin
from fenzhen.rollout_orders import person
from fenzhen.train_progress import run_reporter
from fenzhen.train_stop import StopRequest
from registry.drift_store import DriftEntry, open_drift
from registry.feedback_store import open_feedback
from registry.rollout_store import open_rollouts
from registry.stores import open_versions
from registry.versions import Version
from training.feedback_rows import FeedbackRows, Wanted, rows_of
from training.pipeline import run_recipe, stored_recipe
from training.publishing import publish, require_publishable
from training.recipe import Recipe
from training.recipe_file import read_recipe
from training.run_folder import RunFolder
from training.run_state import new_run, read_state, runs_dir
from training.schedule import Schedule
from training.stages import real_stages


class ScheduleHands:
    """`training.scheduled.Hands`, by the configuration."""

    def __init__(self, schedule: Schedule, settings: Settings, output: Output, stop: StopRequest) -> None:
        self._schedule = schedule
        self._settings = settings
        self._output = output
        self._stop = stop

    def recipe(self) -> Recipe:
        """The recipe as it is now."""
        return read_recipe(self._schedule.recipe)

    def require_possible(self, recipe: Recipe) -> None:
        """Look before hours of training whether what comes of it could be published, and its canary started."""
        require_publishable(recipe, self._settings, self._schedule.serves, canary=self._schedule.canary)

    def new_run(self, recipe: Recipe) -> str:
        """A name for a run's folder that no other has."""
        return new_run(self._settings.site.state_dir, recipe.name).path.name

    def run_of(self, name: str) -> RunFolder:
        """The folder of that name."""
        return RunFolder(runs_dir(self._settings.site.state_dir) / name)

    def alerts(self) -> Sequence[DriftEntry]:
        """Alerts of drift of what the recipe is published as."""
        return open_drift(self._settings).entries_since(name=self.recipe().name)

    def take(self, entry_id: int, by: str) -> None:
        """Take an alert; UserError: another has."""
        open_drift(self._settings).take_entry(entry_id, by)

    def feedback(self) -> FeedbackRows:
        """Rows of what people said lately of answers by that name."""
        wanted = self._schedule.feedback
        assert wanted is not None
        with contextlib.closing(open_feedback(self._settings)) as store:
            judged = store.judged(time.time() - wanted.since)
        return rows_of(judged, Wanted(self._settings.feedback, wanted.min_rating))

    def train(self, recipe: Recipe | None, run: RunFolder) -> None:
        """Train and measure, or go on with it; what has come to its end is left as it is."""
        if recipe is None:
            if read_state(run).phase == "done":
                return
            recipe = stored_recipe(run)
        stages, stop = real_stages(), self._stop
        fit, fit_on_cluster = stop.polled(stages.fit), stop.polled(stages.fit_on_cluster)
        stages = dataclasses.replace(stages, fit=fit, fit_on_cluster=fit_on_cluster)
        with run_reporter(self._output.progress) as watch:
            run_recipe(recipe, self._settings, run, watch, stop, stages=stages)

    def publish(self, run: RunFolder) -> Version:
        """Register what it has made."""
        versions = open_versions(self._settings)
        return publish(stored_recipe(run), run, self._settings, versions, serves=self._schedule.serves)

    def canary(self, version: Version, why: str) -> str:
        """Start its rollout, and say how; UserError: why not."""
        store = open_rollouts(self._settings)
        try:
            for rollout in store.snapshot().rollouts:
                if rollout.name == version.name and rollout.canary.side.version == version.version:
                    # Begun by this very run, in a life that ended before it could say so.
                    return announced(rollout)
            plan = self._schedule.plan.plan(person(), why)
            return announced(begin(version, plan, self._settings, open_versions(self._settings), store))
        finally:
            store.close()
