"""The parts of a stack, built in one place: settings in, Ray Serve parts out."""

from collections.abc import Mapping
from pathlib import Path

from cluster.directory import Directory
from cluster.ray_runtime import Part
from cluster.settings import Settings
from router.deployment import RouterReplica
from serving.deployment import EngineReplica
from serving.engine_args import device_of, installed_build

ROUTER = "router"


def pool_part_name(model: str) -> str:
    """The part that runs the engines of one model."""
    return f"pool-{model}"


def build_parts(settings: Settings, folders: Mapping[str, Path], log_dir: Path, directory: Directory) -> list[Part]:
    """Every part in the order in which it is started: pools first, because they take longest, then the router.

    `folders` holds the folder of each served model.
    """
    build = installed_build()[0]
    parts = [
        Part(
            name=pool_part_name(pool.model),
            replica=EngineReplica,
            arguments={
                "model": settings.model(pool.model),
                "pool": pool,
                "folder": folders[pool.model],
                "log_dir": log_dir,
                "directory": directory,
            },
            replicas=pool.engines,
            gpus=pool.gpus_per_engine if device_of(pool, build) == "gpu" else 0,
            drain_s=pool.drain_s,
        )
        for pool in settings.pools
    ]
    router = Part(
        name=ROUTER,
        replica=RouterReplica,
        arguments={"cards": settings.served_models, "settings": settings.router, "directory": directory},
        replicas=settings.router.replicas,
        drain_s=settings.router.drain_s,
    )
    return [*parts, router]
