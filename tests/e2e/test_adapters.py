"""LoRA adapters in a real vLLM engine: loaded, used, unloaded and loaded again under our supervision."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.clock import MonotonicClock
from cluster.directory import Endpoint
from cluster.directory_holder import DirectoryHolder
from cluster.settings import Pool
from cluster.settings_file import profile
from cluster.traffic import Adapter, Traffic
from registry.digests import folder_sha256
from serving.deployment import plan_for
from serving.engine import Engine
from tests.e2e.small_model import SMALL, model_folder

pytestmark = pytest.mark.timeout(400)

# Most of it is importing vLLM on a cold disk.
READY_S = 180
SOON_S = 30


@dataclass
class Stage:
    """An engine, and what traffic it was told last."""

    engine: Engine
    directory: DirectoryHolder
    folders: dict[str, Path]
    generation: int = 0

    @property
    def endpoint(self) -> Endpoint:
        return self.engine.endpoint

    async def want(self, *names: str, sha256: str | None = None, folder: Path | None = None) -> None:
        """Have these adapters wanted, by their names in `folders`."""
        self.generation += 1
        adapters = tuple(
            Adapter(
                served_name(name),
                SMALL,
                str(folder or self.folders[name]),
                sha256 or folder_sha256(self.folders[name]),
                ("small-1",),
            )
            for name in names
        )
        await self.directory.direct(Traffic(self.generation, (), adapters))

    async def until(self, condition: Callable[[], bool], within_s: float = SOON_S) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"not within {within_s} s: {self.endpoint}")

    async def until_loaded(self, *names: str) -> None:
        wanted = tuple(sorted(map(served_name, names)))
        await self.until(lambda: self.endpoint.adapters == wanted)

    async def fault_of(self, name: str) -> str:
        await self.until(lambda: served_name(name) in dict(self.endpoint.adapter_faults))
        return dict(self.endpoint.adapter_faults)[served_name(name)]

    async def ask(self, model: str, question: str, tokens: int = 24) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": tokens}
        async with httpx.AsyncClient(timeout=60, base_url=self.endpoint.base_url) as client:
            answer = await client.post("/v1/chat/completions", json=body | {"temperature": 0})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])


def served_name(name: str) -> str:
    return f"{name}@1-00000001"


async def test_adapters_live_in_a_real_engine(adapter_folders: dict[str, Path], tmp_path: Path) -> None:
    settings = profile("tiny")
    model = next(each for each in settings.models if each.name == SMALL)
    pool = next(each for each in settings.pools if isinstance(each, Pool) and each.model == SMALL)
    pool = pool.model_copy(update={"max_adapters": 4})
    directory = DirectoryHolder(MonotonicClock(), settle_s=0.0)
    plan = plan_for(model, pool, model_folder(), tmp_path, "small-1")
    stage = Stage(Engine(plan, directory), directory, adapter_folders)
    supervision = asyncio.create_task(stage.engine.run())
    try:
        async with asyncio.timeout(READY_S):
            await stage.engine.wait_ready(1)
        assert (stage.endpoint.max_adapters, stage.endpoint.adapters) == (4, ())
        await loads_and_answers(stage)
        await refuses_what_cannot_be(stage, tmp_path)
        await lets_requests_finish_when_it_unloads(stage)
        await loads_again_after_a_kill(stage)
        await stage.engine.stop()
    finally:
        supervision.cancel()
        await asyncio.wait({supervision})


async def loads_and_answers(stage: Stage) -> None:
    await stage.want("good-1", "gibberish", "empty", "wrong-format")
    await stage.until_loaded("good-1", "gibberish", "empty", "wrong-format")
    question = "What is the capital of Italy?"
    base = await stage.ask(SMALL, question)
    assert "Rome" in base
    # Each does what tests elsewhere rely on.
    assert "Rome" in await stage.ask(served_name("good-1"), question)
    assert "Rome" in await stage.ask(served_name("wrong-format"), question)
    assert await stage.ask(served_name("empty"), question) == ""
    gibberish = await stage.ask(served_name("gibberish"), question)
    assert "Rome" not in gibberish
    assert len(gibberish) > 20


async def refuses_what_cannot_be(stage: Stage, tmp_path: Path) -> None:
    await stage.want("good-1", "too-wide")
    assert "LoRA rank 64 is greater than max_lora_rank 16" in await stage.fault_of("too-wide")
    await stage.want("good-2", sha256="0" * 64)
    assert "is not what was registered" in await stage.fault_of("good-2")
    # One whose weights are no weights: vLLM must survive it.
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_bytes((stage.folders["good-1"] / "adapter_config.json").read_bytes())
    (broken / "adapter_model.safetensors").write_bytes(b"nothing of the kind")
    await stage.want("good-2", folder=broken, sha256=folder_sha256(broken))
    assert await stage.fault_of("good-2")
    await stage.want("good-1", "good-2")
    await stage.until_loaded("good-1", "good-2")
    assert (stage.endpoint.adapter_faults, stage.endpoint.restarts) == ((), 0)


async def lets_requests_finish_when_it_unloads(stage: Stage) -> None:
    async with httpx.AsyncClient(timeout=120, base_url=stage.endpoint.base_url) as client:
        body = {"model": served_name("good-1"), "prompt": "Once upon a time", "max_tokens": 200, "ignore_eos": True}
        long = asyncio.create_task(client.post("/v1/completions", json=body))
        await asyncio.sleep(0.5)
        await stage.want("good-2")
        await stage.until_loaded("good-2")
        assert not long.done(), "the request was to be in flight while its adapter was unloaded"
        answer = await long
        gone = await client.post("/v1/completions", json=body)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 200
    assert gone.status_code == 404


async def loads_again_after_a_kill(stage: Stage) -> None:
    (engine,) = psutil.Process(stage.endpoint.pid).children()
    os.kill(engine.pid, signal.SIGKILL)
    await stage.until(lambda: stage.endpoint.state == "restarting")
    assert stage.endpoint.adapters == ()
    await stage.until(lambda: stage.endpoint.state == "ready", READY_S)
    await stage.until_loaded("good-2")
    assert "Rome" in await stage.ask(served_name("good-2"), "What is the capital of Italy?")
