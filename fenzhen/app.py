"""The parts of a stack, built in one place: settings in, Ray Serve parts out."""

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.directory import Directory
from cluster.ray_runtime import Part, Scaling
from cluster.settings import Settings
from registry.deployment import RolloutReplica
from registry.webhook import alert_token
from router.deployment import RouterReplica
from router.judge_file import DEFAULT, load
from router.scaling import LoadPolicy
from serving.deployment import EngineReplica
from serving.engine_args import Build, busy_in_flight, device_of, installed_build
from serving.remote import RemoteReplica

ROUTER = "router"
ENDPOINTS = "endpoints"
ROLLOUTS = "rollouts"


def pool_part_name(model: str) -> str:
    """The part that runs the engines of one model."""
    return f"pool-{model}"


def build_parts(settings: Settings, folders: Mapping[str, Path], log_dir: Path, directory: Directory) -> list[Part]:
    """Every part in the order in which it is started: pools first, because they take longest, the controller of
    rollouts last, because nobody waits for it.

    `folders` holds the folder of each model that engines here serve. Servers that run already are watched by one part,
    however many pools they make.
    """
    build = _build(settings)
    pools = [
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
        for pool in settings.engine_pools
    ]
    watch = Part(
        name=ENDPOINTS,
        replica=RemoteReplica,
        arguments={"pools": settings.external_pools, "directory": directory},
        drain_s=0,
    )
    watches = [watch] if settings.external_pools else []
    return [*pools, *watches, router_part(settings, directory), rollouts_part(settings, directory)]


def rollouts_part(settings: Settings, directory: Directory) -> Part:
    """The controller of rollouts. Raises UserError if its webhook has no token."""
    if settings.rollouts.alert_port is not None:
        # Read here as well: a replica can only write into a log that it has none.
        alert_token(settings.rollouts, os.environ)
    return Part(
        name=ROLLOUTS,
        replica=RolloutReplica,
        arguments={"settings": settings, "directory": directory},
        drain_s=0,
    )


def router_part(settings: Settings, directory: Directory) -> Part:
    """The router, which can be replaced while everything else runs. Raises UserError if its judge cannot be used."""
    # Read here as well: a replica that fails is started again and again, and its reason stands in a log.
    load(settings.judging.judge or DEFAULT)
    router = settings.router
    scaling = Scaling(
        max_replicas=router.max_replicas or router.replicas,
        policy=LoadPolicy,
        policy_arguments={
            "target_in_flight": router.target_in_flight,
            "target_busy_ratio": router.target_busy_ratio,
        },
        up_after_s=router.scale_up_after_s,
        down_after_s=router.scale_down_after_s,
    )
    return Part(
        name=ROUTER,
        replica=RouterReplica,
        arguments={
            "cards": settings.served_models,
            "settings": router,
            "directory": directory,
            "judging": settings.judging,
            "state_dir": settings.site.state_dir,
            "full_at": full_at(settings, _build(settings)),
            "rollouts": settings.rollouts,
            "feedback": settings.feedback,
        },
        replicas=router.replicas,
        drain_s=router.drain_s,
        scaling=scaling if scaling.max_replicas > router.replicas else None,
        route_prefix="/" if router.ingress == "ray" else None,
        # More than a replica takes: what is too much it refuses itself, at once and with a reason.
        max_ongoing_requests=2 * router.max_in_flight,
    )


def full_at(settings: Settings, build: Build) -> dict[str, float]:
    """For each model, how many requests in flight from one router replica fill one of its endpoints.

    Each replica sees its own requests only and takes the others to carry as much.
    """
    engines = {pool.model: busy_in_flight(pool, build) for pool in settings.engine_pools}
    servers = {pool.model: pool.busy_in_flight for pool in settings.external_pools}
    return {model: requests / settings.router.replicas for model, requests in (engines | servers).items()}


def _build(settings: Settings) -> Build:
    # Without engines of ours, vLLM need not be installed.
    return installed_build()[0] if settings.engine_pools else "cpu"
