"""The one place where the settings become a store of versions."""

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.settings import Settings
from registry.progress import Progress

if TYPE_CHECKING:
    from registry.mlflow_store import MlflowStore


def open_versions(settings: Settings, progress: Progress | None = None) -> "MlflowStore":
    """The registry that the settings name. Cheap: it is asked for the first time when something is wanted of it."""
    # Imported late: MLflow takes more than a second.
    from registry.mlflow_store import MlflowStore

    registry = settings.registry
    folder = settings.site.state_dir / "registry"
    return MlflowStore(
        tracking_uri=registry.tracking_uri or f"sqlite:///{(folder / 'registry.db').absolute()}",
        artifacts=registry.artifacts or str((folder / "artifacts").absolute()),
        lists_dir=folder / "lists",
        timeout_s=registry.timeout_s,
        progress=progress,
    )


def versions_dir(settings: Settings) -> Path:
    """Where versions' files lie on this machine, by digest."""
    return settings.site.state_dir / "versions"
