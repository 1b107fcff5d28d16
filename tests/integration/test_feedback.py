"""Feedback with real sockets: a replica, an engine, the database of feedback, rows."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.feedback_settings import Feedback
from cluster.outcomes import Tally
from cluster.release_settings import Rollouts
from cluster.settings import Router as RouterSettings
from cluster.settings_file import as_yaml, profile
from cluster.traffic import Traffic
from fenzhen.train_from_feedback import from_feedback
from registry.feedback_store import Exchange, Judged, Opinion, feedback_store
from router.deployment import RouterReplica
from tests.fakes.scripted_engine import Script, scripted_engine
from tests.fakes.stack import SMALL
from tests.integration.test_router_http import until
from tests.integration.test_second_opinion import _free_port, always, streamed, whole

STOP: Callable[[RouterReplica], Awaitable[None]] = RouterReplica.__del__
PERSON = "我叫王小明，电话13800138000，怎么办证？"
MASKED = "我叫[name]，电话[phone]，怎么办证？"


@pytest.fixture(autouse=True)
def _no_second_stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Ray Serve awaits it; Python, freeing the object, would call it again and await nothing.
    monkeypatch.delattr(RouterReplica, "__del__")
    yield
    gc.collect()


@dataclass
class Hotline:
    """A replica with one engine, and what people say of its answers."""

    replica: RouterReplica
    client: httpx.AsyncClient
    state_dir: Path
    directory: DirectoryHolder

    async def ask(self, text: str = PERSON, headers: Mapping[str, str] | None = None, **more: object) -> httpx.Response:
        body = {"model": "small", "messages": [{"role": "user", "content": text}], **more}
        answer = await self.client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    async def judge(
        self, answer: httpx.Response, headers: Mapping[str, str] | None = None, **said: object
    ) -> httpx.Response:
        body = {"request_id": answer.headers["x-request-id"], **said}
        return await self.client.post("/v1/feedback", json=body, headers=headers)

    @property
    def judged(self) -> tuple[Judged, ...]:
        store = feedback_store(Feedback(keep_ratio=1), self.state_dir)
        try:
            return store.judged()
        finally:
            store.close()

    async def metrics(self) -> str:
        return (await self.client.get("/metrics")).text


@asynccontextmanager
async def hotline(state_dir: Path, script: Script, **feedback: object) -> AsyncIterator[Hotline]:
    """A replica that keeps every chat, unless told otherwise."""
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    async with scripted_engine(script, "small") as engine:
        assert engine.endpoint is not None
        await directory.report(engine.endpoint)
        replica = RouterReplica.__new__(RouterReplica)
        port = _free_port()
        settings = RouterSettings(port=port, drain_s=2, drain_idle_s=0)
        wanted = Feedback.model_validate({"keep_ratio": 1.0} | feedback)
        await replica.__init__(  # type: ignore[misc]
            (SMALL,), settings, directory, state_dir=state_dir, feedback=wanted, rollouts=Rollouts(drift_ratio=1.0)
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as client:
                yield Hotline(replica, client, state_dir, directory)
        finally:
            await STOP(replica)
            await until(lambda: not replica._thread.is_alive(), 2)


async def test_what_a_person_says_of_an_answer_becomes_a_row(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    async with hotline(state_dir, always(whole("打12345。"))) as here:
        answer = await here.ask(headers={"x-fenzhen-group": "district-3"})
        assert answer.headers["x-fenzhen-feedback"] == "1"
        # At once: the answer is stored a moment later.
        said = await here.judge(answer, rating=1, corrected_answer="找李娟，电话13900139000。去三楼。", consent=True)
        assert (said.status_code, said.json()) == (200, {
            "object": "feedback", "request_id": answer.headers["x-request-id"], "rating": 1, "consent": True,
            "texts_stored": True,
        })  # fmt: skip
        (judged,) = here.judged
        assert (judged.messages, judged.answer, judged.model) == ((("user", MASKED),), "打12345。", "small")
        assert (judged.group, judged.grade, judged.version) == ("district-3", "internal", 0)
        page = await here.metrics()
    assert 'fenzhen_feedback_ratings_total{model="small",rating="1"} 1.0' in page
    assert 'fenzhen_feedback_total{outcome="stored"} 1.0' in page
    assert 'fenzhen_feedback_chats_total{outcome="kept"} 1.0' in page
    on_disk = b"".join(path.read_bytes() for path in (state_dir / "feedback").iterdir())
    for secret in ("13800138000", "王小明", "13900139000", answer.headers["x-request-id"]):
        assert secret.encode() not in on_disk
    rows, pairs = tmp_path / "rows.jsonl", tmp_path / "pairs.jsonl"
    config = configured(tmp_path, state_dir)
    made = CliRunner().invoke(
        from_feedback, ["--config", config, "--output", str(rows), "--preferences", str(pairs), "--json"],
        standalone_mode=False,
    )  # fmt: skip
    assert (made.return_value, json.loads(made.stdout)["rows"]) == (0, 1)
    (row,) = (json.loads(line) for line in rows.read_text("utf-8").splitlines())
    assert row == {
        "messages": [
            {"role": "user", "content": MASKED},
            {"role": "assistant", "content": "找李娟，电话[phone]。去三楼。"},
        ],
        "group": "district-3",
    }
    assert json.loads(pairs.read_text("utf-8"))["rejected"] == "打12345。"
    forget = ["--config", config, "--forget", answer.headers["x-request-id"]]
    assert "Erased" in CliRunner().invoke(from_feedback, forget, standalone_mode=False).stdout
    assert "nothing is kept under this request id" in str(CliRunner().invoke(from_feedback, forget).exception)
    again = CliRunner().invoke(
        from_feedback, ["--config", config, "--output", str(tmp_path / "none.jsonl")], standalone_mode=False
    )
    assert (again.return_value, (tmp_path / "none.jsonl").exists()) == (1, False)


def configured(folder: Path, state_dir: Path) -> str:
    """A configuration whose state lies there."""
    settings = profile("tiny")
    site = settings.site.model_copy(update={"state_dir": state_dir})
    path = folder / "fenzhen.yaml"
    path.write_text(as_yaml(settings.model_copy(update={"site": site})), "utf-8")
    return str(path)


async def test_a_stream_is_kept_as_well_and_another_replica_takes_the_feedback(tmp_path: Path) -> None:
    script = always(streamed("去", "窗口。"))
    async with hotline(tmp_path, script) as here, hotline(tmp_path, script) as there:
        answer = await here.ask("怎么办证？", stream=True)
        said = await there.judge(answer, rating=5, consent=True)
        assert said.status_code == 200, said.text
        assert [(one.answer, one.opinion) for one in here.judged] == [("去窗口。", Opinion(5, True))]


async def test_a_rating_reaches_the_watch_over_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.telling.TALLY_INTERVAL_S", 0.2)
    monkeypatch.setattr("router.telling.TELL_INTERVAL_S", 0.1)
    async with hotline(tmp_path, always(whole("去窗口。"))) as here:
        await here.directory.direct(Traffic(0, (), ()))
        await until(lambda: here.replica._server._answerer.ways is not None, 5)
        assert (await here.judge(await here.ask(), rating=2)).status_code == 200
        tallies: list[Tally] = []
        while not any(tally.ratings for tally in tallies):
            # A request of its own carries what was said since the last one.
            await asyncio.sleep(0.1)
            await here.ask()
            tallies += [tally for batch in await here.directory.fetch() for tally in batch.tallies]
    assert [(tally.name, tally.version, tally.ratings) for tally in tallies if tally.ratings] == [
        ("small", 0, (0, 1, 0, 0, 0))
    ]


async def test_what_may_not_be_kept_is_not(tmp_path: Path) -> None:
    async with hotline(tmp_path, always(whole("去窗口。"))) as here:
        headers: list[dict[str, str]] = [
            {"x-fenzhen-no-learning": ""}, {"x-fenzhen-grade": "secret"}, {"x-fenzhen-grade": "confidential"},
            {"x-fenzhen-grade": "interal"},
        ]  # fmt: skip
        for one in headers:
            answer = await here.ask(headers=one)
            assert "x-fenzhen-feedback" not in answer.headers
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        assert "x-fenzhen-feedback" not in (await here.ask(tools=[tool])).headers
        assert "x-fenzhen-feedback" not in (await here.ask("x" * 40_000)).headers
        said = await here.judge(answer, rating=5)
        assert (said.status_code, said.json()["error"]["param"]) == (404, "request_id")
        answer = await here.ask(headers={"x-fenzhen-grade": "Public"})
        for one in headers:
            said = await here.judge(answer, one, rating=5, consent=True, corrected_answer="x")
            assert (said.status_code, said.json()["texts_stored"]) == (200, False), one
        assert [one.opinion for one in here.judged] == [Opinion(5, False)]


async def test_without_the_section_nothing_is_kept_and_no_file_is_made(tmp_path: Path) -> None:
    async with hotline(tmp_path, always(whole("去窗口。")), keep_ratio=0) as here:
        answer = await here.ask()
        assert "x-fenzhen-feedback" not in answer.headers
        said = await here.judge(answer, rating=5)
        assert said.status_code == 404
        assert "feedback.keep_ratio turns it on" in said.json()["error"]["message"]
        assert here.replica._server._answerer.keeping is None
        await asyncio.sleep(0.3)
    assert os.listdir(tmp_path) == []
    refused = CliRunner().invoke(
        from_feedback, ["--config", configured(tmp_path, tmp_path / "state"), "--output", str(tmp_path / "rows")]
    )
    assert "there is no feedback" in str(refused.exception)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"rating": 5}', 400, "request_id"),
        (b'{"request_id": 5, "rating": 5}', 400, "request_id"),
        (b'{"request_id": "a b", "rating": 5}', 400, "request_id"),
        (b'{"request_id": "a"}', 400, "rating"),
        (b'{"request_id": "a", "rating": 0}', 400, "rating"),
        (b'{"request_id": "a", "rating": "up"}', 400, "rating"),
        (b'{"request_id": "a", "rating": true}', 400, "rating"),
        (b'{"request_id": "a", "rating": 5, "consent": "yes"}', 400, "consent"),
        (b'{"request_id": "a", "corrected_answer": ["x"]}', 400, "corrected_answer"),
        (b'{"request_id": "a", "rating": 5, "ratng": 5}', 400, "ratng"),
        ('{"request_id": "a", "我叫王小明": 5}'.encode(), 400, "one field"),
        (b'{"request_id": "a", "comment": "' + b"x" * 70_000 + b'"}', 413, None),
    ],
)
async def test_a_wrong_body_is_refused_by_its_field(
    served: Hotline, body: bytes, status: int, field: str | None
) -> None:
    said = await served.client.post("/v1/feedback", content=body)
    assert (said.status_code, said.json()["error"]["param"]) == (status, field)
    assert said.headers["x-request-id"]


@pytest.fixture(scope="module")
def module_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture
async def served(module_dir: Path) -> AsyncIterator[Hotline]:
    async with hotline(module_dir, always(whole("a"))) as here:
        yield here


async def test_other_methods_are_refused_and_the_address_is_told(served: Hotline) -> None:
    said = await served.client.get("/v1/feedback")
    assert (said.status_code, said.headers["allow"]) == (405, "POST")
    assert "/v1/feedback" in (await served.client.get("/nothing")).text


async def test_a_database_that_is_locked_costs_callers_nothing_and_feedback_is_told_to_come_back(
    tmp_path: Path,
) -> None:
    import sqlite3

    async with hotline(tmp_path, always(whole("去窗口。"))) as here:
        first = await here.ask()
        assert (await here.judge(first, rating=4)).status_code == 200
        lock = sqlite3.connect(tmp_path / "feedback" / "feedback.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(here.judge(first, rating=5, consent=True))
        second = await asyncio.wait_for(here.ask(), 2)
        said = await waiting
        assert (said.status_code, said.headers["retry-after"]) == (503, "5")
        assert said.json()["error"]["code"] == "feedback_not_stored"
        lock.execute("ROLLBACK")
        lock.close()
        # What was answered meanwhile waits for the database.
        kept = here.replica._server.metrics.feedback.kept
        await until(lambda: kept["kept"] == 2, 8)
        assert (await here.judge(second, rating=2)).status_code == 200
        assert [one.opinion.rating for one in here.judged] == [4, 2]


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    store = feedback_store(Feedback(keep_ratio=1), tmp_path)
    asked = Exchange("", "m", "small", 0, "internal", "", (("user", "q"),), "a", True)
    ids = [f"r-{number}" for number in range(400)]
    store.keep([replace(asked, request_id=one) for one in ids])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.feedback_process", tmp_path], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    stored: list[str] = []
    try:
        assert process.stdout is not None
        base_url = f"http://127.0.0.1:{int(process.stdout.readline())}"

        def give(mine: list[str]) -> None:
            with httpx.Client(base_url=base_url, timeout=20, verify=False) as client:
                for one in mine:
                    said = {"request_id": one, "rating": 1, "corrected_answer": f"better {one}", "consent": True}
                    try:
                        answer = client.post("/v1/feedback", json=said)
                    except httpx.HTTPError:
                        return
                    assert answer.status_code == 200
                    stored.append(one)
                    if len(stored) == 60:
                        process.kill()

        threads = [threading.Thread(target=give, args=(ids[at::4],)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert 60 <= len(stored) < len(ids)
    found = {judged.opinion.corrected for judged in store.judged()}
    assert found >= {f"better {one}" for one in stored}
    store.give(ids[-1], Opinion(5, True))
    store.close()
