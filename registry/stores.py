"""The one place where the settings become a store of versions, and of runs of training."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.settings import Settings
from registry.progress import Progress

if TYPE_CHECKING:
    from registry.mlflow_store import MlflowStore
    from registry.runs import TrainingRuns


def open_versions(settings: Settings, progress: Progress | None = None) -> "MlflowStore":
    """The registry that the settings name. Cheap: it is asked for the first time when something is wanted of it."""
    # Imported late: MLflow takes more than a second.
    from registry.mlflow_store import MlflowStore

    return MlflowStore(
        tracking_uri=_tracking_uri(settings),
        artifacts=_artifacts(settings),
        lists_dir=_folder(settings) / "lists",
        timeout_s=settings.registry.timeout_s,
        progress=progress,
    )


def open_training_runs(settings: Settings, run_folder: Path, say: Callable[[str], None]) -> "TrainingRuns":
    """A training run's place in the same MLflow. Cheap, as above."""
    from registry.mlflow_session import MlflowSession
    from registry.runs import TrainingRuns

    session = MlflowSession(_tracking_uri(settings), settings.registry.timeout_s)
    return TrainingRuns(session, _artifacts(settings), run_folder, say)


def _folder(settings: Settings) -> Path:
    return settings.site.state_dir / "registry"


def _tracking_uri(settings: Settings) -> str:
    return settings.registry.tracking_uri or f"sqlite:///{(_folder(settings) / 'registry.db').absolute()}"


def _artifacts(settings: Settings) -> str:
    return settings.registry.artifacts or str((_folder(settings) / "artifacts").absolute())


def versions_dir(settings: Settings) -> Path:
    """Where versions' files lie on this machine, by digest."""
    return settings.site.state_dir / "versions"
