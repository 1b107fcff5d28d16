"""What Ray Serve wraps: it begins at once, asks for nothing that is not needed, and leaves cleanly."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.settings import Settings
from cluster.settings_file import profile
from registry.deployment import RolloutReplica
from registry.rollout_store import open_rollouts

# Ray Serve awaits it.
STOP: Callable[[RolloutReplica], Awaitable[None]] = RolloutReplica.__del__


class Replica(RolloutReplica):
    """As it is, but for what Python does when it frees it: call Ray Serve's coroutine again, and await nothing."""

    def __del__(self) -> None:  # type: ignore[override]
        """Was stopped by hand."""


def settings_in(folder: Path, **rollouts: object) -> Settings:
    tiny = profile("tiny")
    site = tiny.site.model_copy(update={"state_dir": folder})
    return tiny.model_copy(update={"site": site, "rollouts": tiny.rollouts.model_copy(update=rollouts)})


async def replica_with(settings: Settings, directory: DirectoryHolder) -> RolloutReplica:
    """As Ray Serve builds it: it awaits the constructor."""
    made = Replica.__new__(Replica)
    await made.__init__(settings, directory)  # type: ignore[misc]
    return made


async def test_it_leads_tells_routers_that_nothing_is_split_and_hands_over(tmp_path: Path) -> None:
    settings, directory = settings_in(tmp_path), DirectoryHolder(MonotonicClock(), settle_s=0.0)
    had_mlflow = "mlflow" in sys.modules
    replica = await replica_with(settings, directory)
    store = open_rollouts(settings)
    async with asyncio.timeout(10):
        while (traffic := (await directory.read(-1, 0.0)).traffic) is None:
            await asyncio.sleep(0.02)
    assert (traffic.splits, traffic.adapters) == ((), ())
    assert store.snapshot().leader
    await replica.check_health()
    assert ("mlflow" in sys.modules) == had_mlflow, "nothing is rolled out, so the registry is not needed"
    await STOP(replica)
    assert store.snapshot().leader == ""
    store.close()


async def test_a_webhook_without_a_token_stops_no_rollouts(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, alert_port=1, alert_token_file=tmp_path / "missing")
    directory = DirectoryHolder(MonotonicClock(), settle_s=0.0)
    replica = await replica_with(settings, directory)
    async with asyncio.timeout(10):
        while (await directory.read(-1, 0.0)).traffic is None:
            await asyncio.sleep(0.02)
    await replica.check_health()
    await STOP(replica)


async def test_prometheus_reads_who_leads(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused_port = int(free.getsockname()[1])
    token = tmp_path / "token"
    token.write_text("x" * 32, encoding="utf-8")
    token.chmod(0o600)
    settings = settings_in(tmp_path, alert_port=unused_port, alert_token_file=token)
    replica = await replica_with(settings, DirectoryHolder(MonotonicClock(), settle_s=0.0))
    async with httpx.AsyncClient() as client, asyncio.timeout(15):
        page = ""
        while "controller_is_leader 1.0" not in page:
            await asyncio.sleep(0.05)
            try:
                page = (await client.get(f"http://127.0.0.1:{unused_port}/metrics")).text
            except httpx.ConnectError:
                continue
    await replica.check_health()
    await STOP(replica)
