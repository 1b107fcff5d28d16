"""Learning while serving, with real sockets: a replica, two engines, rows on the disk."""

import asyncio
import gc
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.settings import Judging, Model
from cluster.settings import Router as RouterSettings
from router.deployment import RouterReplica
from router.judge_file import save
from router.learning.rows_store import rows_files
from tests.fakes import judges
from tests.fakes.engine import Request
from tests.fakes.scripted_engine import Script, ScriptedEngine, Step, scripted_engine
from tests.fakes.stack import LARGE, SMALL, card
from tests.integration.test_router_http import until

EASY = "What is the capital of France?"
STOP: Callable[[RouterReplica], Awaitable[None]] = RouterReplica.__del__


def whole(text: str, finish: str = "stop") -> bytes:
    """An engine's answer as one document."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    body = json.dumps({"choices": [choice]}, ensure_ascii=False).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def streamed(*pieces: str) -> bytes:
    """An engine's answer as server-sent events."""
    events: list[object] = [
        {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces
    ]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


def always(*steps: Step) -> Script:
    """The same answer to every question."""
    return lambda _: list(steps)


@dataclass
class Town:
    """A replica with its two engines, and what it has stored."""

    replica: RouterReplica
    client: httpx.AsyncClient
    engines: Mapping[str, ScriptedEngine]
    state_dir: Path

    async def ask(
        self, question: str = EASY, headers: Mapping[str, str] | None = None, **more: object
    ) -> httpx.Response:
        body = {"model": "auto", "messages": [{"role": "user", "content": question}], **more}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    async def outcome(self, name: str, count: int = 1) -> None:
        """Wait until so many chats have come to this."""
        outcomes = self.replica._server.metrics.learning.outcomes
        await until(lambda: dict(outcomes).get(name) == count, 5)  # type: ignore[call-overload]

    @property
    def outcomes(self) -> dict[str, int]:
        return {name: count for name, count in self.replica._server.metrics.learning.outcomes.items() if count}

    @property
    def rows(self) -> list[dict[str, object]]:
        lines = [line for path in rows_files(self.state_dir / "rows") for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def asked(self, model: str) -> list[Request]:
        return [request for connection in self.engines[model].requests for request in connection]


@pytest.fixture(autouse=True)
def _no_second_stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Ray Serve awaits it; Python, freeing the object, would call it again and await nothing.
    monkeypatch.delattr(RouterReplica, "__del__")
    yield
    gc.collect()


@asynccontextmanager
async def town(
    state_dir: Path,
    small: Script,
    large: Script,
    *,
    cards: tuple[Model, ...] = (SMALL, LARGE),
    others: Mapping[str, Script] | None = None,
    full_at: Mapping[str, float] | None = None,
    **judging: object,
) -> AsyncIterator[Town]:
    """A replica that learns from every chat, unless told otherwise."""
    directory = DirectoryHolder(MonotonicClock(), settle_s=0)
    scripts = {"small": small, "large": large} | dict(others or {})
    async with _engines(scripts) as engines:
        for engine in engines.values():
            assert engine.endpoint is not None
            await directory.report(engine.endpoint)
        replica = RouterReplica.__new__(RouterReplica)
        settings = RouterSettings(port=1, drain_s=2, drain_idle_s=0, host="127.0.0.1")
        wanted = Judging.model_validate({"learn_ratio": 1.0} | judging)
        port = _free_port()
        settings = settings.model_copy(update={"port": port})
        await replica.__init__(  # type: ignore[misc]
            cards, settings, directory, wanted, state_dir, full_at or {}
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, verify=False) as client:
                yield Town(replica, client, engines, state_dir)
        finally:
            await STOP(replica)
            await until(lambda: not replica._thread.is_alive(), 2)


@asynccontextmanager
async def _engines(scripts: Mapping[str, Script]) -> AsyncIterator[dict[str, ScriptedEngine]]:
    (name, script), *rest = scripts.items()
    async with scripted_engine(script, name) as engine:
        if not rest:
            yield {name: engine}
            return
        async with _engines(dict(rest)) as others:
            yield {name: engine} | others


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_chat_is_answered_by_both_compared_and_kept_without_personal_data(tmp_path: Path) -> None:
    question = "What is the capital of France? My phone is 13800138000."
    async with town(tmp_path, always(whole("Paris.")), always(whole("paris"))) as here:
        answer = await here.ask(question, temperature=0.3, max_tokens=50)
        assert answer.json()["choices"][0]["message"]["content"] == "Paris."
        await here.outcome("kept")
        (row,) = here.rows
        (second,) = here.asked("large")
        assert here.outcomes == {"kept": 1}
    assert row["prompt"] == "What is the capital of France? My phone is [phone]."
    assert (row["small"], row["large"], row["how"]) == (1.0, 1.0, "agreement")
    assert row["difficulty"] == pytest.approx(float(answer.headers["x-fenzhen-difficulty"]), abs=0.001)
    assert "at" in row
    body = json.loads(second.body)
    assert body["model"] == "large"
    assert (body["temperature"], body["max_tokens"], body["messages"][0]["content"]) == (0.3, 50, question)
    for path in [*rows_files(tmp_path / "rows")]:
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_streamed_answer_is_read_and_the_second_is_asked_for_whole(tmp_path: Path) -> None:
    async with town(tmp_path, always(streamed("The capital ", "is Paris")), always(whole("London"))) as here:
        answer = await here.ask(stream=True, stream_options={"include_usage": True})
        assert b"is Paris" in answer.content
        await here.outcome("kept")
        (row,) = here.rows
        body = json.loads(here.asked("large")[0].body)
    assert row["small"] == 0.0
    assert "stream" not in body
    assert "stream_options" not in body


async def test_what_is_not_sampled_leaves_no_trace(tmp_path: Path) -> None:
    async with town(tmp_path, always(whole("a")), always(whole("b")), learn_ratio=0) as here:
        await here.ask()
        await asyncio.sleep(0.2)
        assert here.asked("large") == []
        assert here.outcomes == {}
    assert not (tmp_path / "rows").exists()


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"x-fenzhen-no-learning": "1"}},
        {"model": "small"},
        {"tools": TOOLS},
        {"question": "x" * 40_000},
    ],
    ids=["the caller's wish", "a named model", "tools", "a long body"],
)
async def test_some_chats_are_never_listened_to(tmp_path: Path, more: dict[str, object]) -> None:
    async with town(tmp_path, always(whole("a")), always(whole("b"))) as here:
        assert (await here.ask(**more)).status_code == 200  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        assert here.outcomes == {}
        assert len(here.asked("small")) + len(here.asked("large")) == 1


@pytest.mark.parametrize("more", [{"messages": IMAGE}, {"n": 2}], ids=["an image", "two answers"])
async def test_what_cannot_be_compared_is_counted_and_not_asked(tmp_path: Path, more: dict[str, object]) -> None:
    async with town(tmp_path, always(whole("a")), always(whole("b"))) as here:
        await here.ask(**more)  # type: ignore[arg-type]
        await here.outcome("unfit")
        assert len(here.asked("small")) + len(here.asked("large")) == 1


async def test_half_an_answer_is_not_compared(tmp_path: Path) -> None:
    async with town(tmp_path, always(whole("It is P", "length")), always(whole("b"))) as here:
        await here.ask()
        await here.outcome("cut_off")
        assert here.asked("large") == []


async def test_a_question_that_the_other_model_cannot_read_is_not_asked(tmp_path: Path) -> None:
    english = card("small", size_b=0.5, max_difficulty=0.5, languages=("en",))
    async with town(tmp_path, always(whole("a")), always(whole("b")), cards=(english, LARGE)) as here:
        await here.ask("法国的首都是哪里？")
        await here.outcome("unfit")
        assert here.asked("small") == []


async def test_a_busy_model_is_not_asked_and_callers_keep_it(tmp_path: Path) -> None:
    async with town(tmp_path, always(whole("a")), always(1.0, whole("b")), full_at={"small": 8, "large": 2}) as here:
        named = asyncio.create_task(here.ask(model="large"))
        await until(lambda: here.replica._server.pools.of("large").in_flight == 1, 2)
        await here.ask()
        await here.outcome("dropped_busy")
        assert len(here.asked("large")) == 1
        assert (await named).status_code == 200
    assert not (tmp_path / "rows").exists()


async def test_a_model_that_is_away_is_not_asked(tmp_path: Path) -> None:
    async with town(tmp_path, always(whole("a")), always(whole("b"))) as here:
        slot = here.replica._server.pools.of("large").slots[0]
        here.replica._loop.call_soon_threadsafe(slot.report, replace(slot.endpoint, state="restarting"))
        await here.ask()
        await here.outcome("dropped_busy")


async def test_a_second_model_that_hangs_delays_nobody_and_is_given_up(tmp_path: Path) -> None:
    async with town(tmp_path, always(whole("a")), always(30.0), learn_timeout_s=0.5) as here:
        for _ in range(3):
            began_s = time.monotonic()
            assert (await here.ask()).status_code == 200
            assert time.monotonic() - began_s < 0.4
        await here.outcome("timed_out", 3)
        await until(lambda: here.replica._server.pools.of("large").in_flight == 0, 2)
    assert not (tmp_path / "rows").exists()


async def test_what_comes_while_the_queue_is_full_is_dropped(tmp_path: Path) -> None:
    async with town(
        tmp_path, always(whole("a")), always(30.0), learn_timeout_s=1, learn_max_in_flight=1, learn_max_queue=1
    ) as here:
        for _ in range(4):
            await here.ask()
            await asyncio.sleep(0.05)
        await here.outcome("dropped_queue", 2)
        await here.outcome("timed_out", 2)


async def test_an_engine_that_fails_or_speaks_nonsense_costs_a_row_only(tmp_path: Path) -> None:
    answers = iter([b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", b"nonsense\r\n\r\n", whole("Paris")])
    async with town(tmp_path, always(whole("Paris")), lambda _: [next(answers)]) as here:
        for count in (1, 2):
            await here.ask()
            await here.outcome("failed", count)
        await here.ask()
        await here.outcome("kept")
    assert len(rows_files(tmp_path / "rows")) == 1


async def test_a_client_that_hangs_up_is_forgotten(tmp_path: Path) -> None:
    async with town(tmp_path, always(5.0, whole("a")), always(whole("b"))) as here:
        with pytest.raises(httpx.ReadTimeout):
            await here.client.post(
                "/v1/chat/completions", timeout=0.3,
                json={"model": "auto", "messages": [{"role": "user", "content": EASY}]},
            )  # fmt: skip
        listening = here.replica._server._answerer.listening
        assert listening is not None
        await until(lambda: len(listening._held) == 0, 2)
        assert here.outcomes == {}


async def test_a_middle_model_s_answer_is_followed_by_both_ends(tmp_path: Path) -> None:
    cards = (card("small", size_b=0.5, max_difficulty=0), card("middle", size_b=1, max_difficulty=1), LARGE)
    scripts = {"middle": always(whole("Lyon"))}
    async with town(tmp_path, always(whole("Paris")), always(whole("Paris")), cards=cards, others=scripts) as here:
        answer = await here.ask()
        assert answer.headers["x-fenzhen-model"] == "middle"
        await here.outcome("kept")
        assert here.rows[0]["small"] == 1.0
        assert [len(here.asked(model)) for model in ("small", "middle", "large")] == [1, 1, 1]


def verdicts(*letters: str) -> Script:
    """A large model that answers, and judges by these letters in turn."""
    left = list(letters)
    return lambda request: [whole(left.pop(0) if b"answer_a" in request.body else "Paris, on the Seine")]


@pytest.mark.parametrize(
    ("letters", "points"), [(("A", "B"), 1.0), (("C", "c."), 1.0), (("B", "A"), 0.0), (("A", "A"), 0.5)]
)
async def test_a_judge_model_is_asked_in_both_orders(tmp_path: Path, letters: tuple[str, str], points: float) -> None:
    async with town(tmp_path, always(whole("Paris")), verdicts(*letters), judge_model="large") as here:
        await here.ask()
        await here.outcome("kept")
        (row,) = here.rows
        _, first, second = (json.loads(request.body) for request in here.asked("large"))
    assert (row["small"], row["large"], row["how"]) == (points, 1.0, "judge")
    assert first["max_tokens"] <= 16
    texts = [body["messages"][-1]["content"] for body in (first, second)]
    assert texts[0].index("Paris\n") < texts[0].index("on the Seine")
    assert texts[1].index("Paris\n") > texts[1].index("on the Seine")


async def test_a_judge_model_that_keeps_to_no_form_gives_no_row(tmp_path: Path) -> None:
    async with town(tmp_path, always(whole("Paris")), verdicts("Both are", "fine"), judge_model="large") as here:
        await here.ask()
        await here.outcome("failed")


async def test_a_candidate_says_its_opinion_beside_the_judge_in_use(tmp_path: Path) -> None:
    (tmp_path / "judges").mkdir()
    save(judges.weights(1), tmp_path / "judges" / "candidate.judge")
    async with town(tmp_path, always(whole("Paris")), always(whole("Paris"))) as here:
        await asyncio.sleep(0.3)
        await here.ask()
        await here.outcome("kept")
        (row,) = here.rows
        page = (await here.client.get("/metrics")).text
    assert row["candidate_difficulty"] != row["difficulty"]
    lines = [line for line in page.splitlines() if line.startswith("fenzhen_candidate_choices_total")]
    assert sum(float(line.split()[-1]) for line in lines) == 1
    assert 'fenzhen_second_opinions_total{outcome="kept"} 1.0' in page


async def test_another_judge_is_taken_over_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("router.judge_watch.LOOK_S", 0.05)
    in_use = tmp_path / "judges" / "in_use.judge"
    in_use.parent.mkdir()

    async with town(tmp_path, always(whole("a")), always(whole("b")), learn_ratio=0) as here:

        async def difficulty() -> float:
            return float((await here.ask()).headers["x-fenzhen-difficulty"])

        shipped = await difficulty()
        fresh = in_use.with_suffix(".new")
        save(judges.weights(2), fresh)
        fresh.replace(in_use)
        await until(lambda: here.replica._server._answerer._chats.judge.card.name == "test", 5)
        adopted = await difficulty()
        assert adopted != shipped
        caplog.set_level(logging.ERROR)
        in_use.write_bytes(in_use.read_bytes()[:5000])
        await until(lambda: "The judge before it stays" in caplog.text, 5)
        assert await difficulty() == adopted
        await here.replica.check_health()
        in_use.unlink()
        await until(lambda: here.replica._server._answerer._chats.judge.card.name != "test", 5)
        assert await difficulty() == shipped


async def test_a_broken_adopted_judge_does_not_keep_a_replica_from_starting(tmp_path: Path) -> None:
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "in_use.judge").write_bytes(b"no judge")
    async with town(tmp_path, always(whole("a")), always(whole("b")), learn_ratio=0) as here:
        assert (await here.ask()).status_code == 200


async def test_a_full_disk_or_a_folder_that_is_none_costs_rows_only(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("this is a file")
    async with town(tmp_path, always(whole("a")), always(whole("a"))) as here:
        assert (await here.ask()).status_code == 200
        await here.outcome("failed")
