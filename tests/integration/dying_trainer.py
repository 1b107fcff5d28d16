"""A run on a cluster whose driver dies by SIGKILL: `python -m tests.integration.dying_trainer BASE RUN STEP`.

It writes what its watch hears to its standard output, a Python value a line.
"""

import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from tests.integration import cluster_ground
from training import cluster_job
from training.run_folder import RunFolder
from training.watch import Step


class SpeakingWitness(cluster_ground.Witness):
    """Says each step before it acts on it."""

    def step(self, step: Step) -> None:
        """Say it."""
        print(asdict(step), flush=True)
        super().step(step)

    def note(self, line: str) -> None:
        """Say it."""
        print(repr(line), flush=True)


def main() -> None:
    """Train until the step."""
    base, run, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    cluster_job.fit_in_worker = cluster_ground.fit_slowly_and_weigh  # type: ignore[attr-defined]
    watch = SpeakingWitness({step: lambda: os.kill(os.getpid(), signal.SIGKILL)})
    recipe = cluster_ground.long_recipe(base, "fsdp")
    cluster_job.fit_on_cluster(recipe, cluster_ground.some_rows(), base, RunFolder(run), watch, lambda: False)


if __name__ == "__main__":
    main()
