"""The Ray that a job runs on, and room for the job's workers in it."""

import contextlib
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cluster.errors import Unavailable, UserError
from cluster.ray_runtime import RAY_ENVIRONMENT
from cluster.ray_tls import ray_tls_environment

LOOPBACK: Final = "127.0.0.1"
# Rows and weights go by files, so that Ray's own store holds little. Its least is 75 MB.
_OBJECT_STORE_BYTES: Final = 100 * 1024 * 1024
_LOOK_S: Final = 0.25
# In a Ray of our own nobody else takes room, and it does not grow.
_OURS_TIMEOUT_S: Final = 15.0
_TRAIN_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # It looks at its workers so often, seconds: a lost one is seen after this time.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    # Workers stay where they were started: paths mean the same there.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Workers:
    """How many, and how large."""

    count: int
    cpus_each: int = 1
    gpus_each: float = 0
    """Below 1: several share a GPU."""
    max_failures: int = 0
    """So often all begin anew after one was lost."""
    placement_timeout_s: float = 300.0
    """The longest wait for room; a cluster that grows by itself needs minutes."""

    def __str__(self) -> str:
        gpus = f"{self.gpus_each:g} GPU and " if self.gpus_each else ""
        return f"{self.count} workers of {gpus}{self.cpus_each} CPU each"

    @property
    def resources_each(self) -> dict[str, float]:
        """As Ray counts them."""
        return {"CPU": self.cpus_each} | ({"GPU": self.gpus_each} if self.gpus_each else {})


@contextlib.contextmanager
def connected() -> Iterator[bool]:
    """Be connected to the Ray that this process has, or that RAY_ADDRESS names, or to one that is started for this.

    Gives whether it is one of our own, in which nobody else takes room.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield False
        return
    address = os.environ.get("RAY_ADDRESS", "")
    if "://" in address:
        raise UserError(
            f"RAY_ADDRESS is {address}: name the cluster's head as HOST:PORT (or `auto` on one of its machines), or "
            "give the command to the cluster with `ray job submit`"
        )
    is_ours = address in ("", "local")
    with tempfile.TemporaryDirectory(prefix="fenzhen-ray-") as folder, contextlib.ExitStack() as after:
        after.enter_context(_environment(_TRAIN_ENVIRONMENT))
        if is_ours:
            after.enter_context(_environment(RAY_ENVIRONMENT | ray_tls_environment(Path(folder))))
        import ray

        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if is_ours:
            options |= {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_node_ip_address": LOOPBACK,
            }
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, TimeoutError) as error:
            what = "Ray does not start here" if is_ours else f"no Ray answers at {address}"
            raise Unavailable(f"{what} ({type(error).__name__})") from error
        try:
            yield is_ours
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def wait_for_room(workers: Workers, stop: Callable[[], bool], *, is_ours: bool) -> None:
    """Ask for room as Ray Train will: a cluster that grows by itself grows now."""
    from ray.util import placement_group, remove_placement_group

    group = placement_group([workers.resources_each] * workers.count)
    until_s = time.monotonic() + (_OURS_TIMEOUT_S if is_ours else workers.placement_timeout_s)
    try:
        while not group.wait(_LOOK_S):
            if stop():
                raise Unavailable("training was stopped before there was room for it")
            if time.monotonic() > until_s:
                raise Unavailable(no_room(workers))
    finally:
        remove_placement_group(group)


def no_room(workers: Workers) -> str:
    """What was asked for, what there is, and what of it is free."""
    import ray

    there, free = ray.cluster_resources(), ray.available_resources()
    asked = {"CPU": workers.count * workers.cpus_each, "GPU": workers.count * workers.gpus_each}
    have = " and ".join(
        f"{there.get(kind, 0):g} {kind}s, {free.get(kind, 0):g} of them free" for kind in ("CPU", "GPU")
    )
    return (
        f"there is no room for {workers} ({asked['CPU']:g} CPUs and {asked['GPU']:g} GPUs in all): the cluster has "
        f"{have}; ask for less under `cluster:` in the recipe, or make the cluster larger"
    )
