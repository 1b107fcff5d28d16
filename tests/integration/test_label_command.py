"""`fenzhen router label` against a running router with stand-in engines: a real command, real sockets, real kills."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.directory import Table
from tests.fakes.engine import Request
from tests.fakes.scripted_engine import Script, ScriptedEngine, Step, scripted_engine
from tests.fakes.stack import FakeStack, fake_stack
from tests.integration.test_router_http import until

ROOT = Path(__file__).parents[2]
CONFIGURATION = """\
models:
  - {{name: small, languages: [en, zh], max_difficulty: 0.5, context_tokens: 4096, parameters_b: 0.5}}
  - {{name: large, languages: [en, zh], max_difficulty: 1, context_tokens: 4096, parameters_b: 1.5}}
pools:
  - {{model: small, endpoints: ["http://127.0.0.1:1"]}}
  - {{model: large, endpoints: ["http://127.0.0.1:2"]}}
router: {{port: {port}}}
site: {{state_dir: {home}/state}}
"""


def whole(text: str, finish: str = "stop") -> bytes:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    body = json.dumps({"choices": [choice]}, ensure_ascii=False).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def question_of(request: Request) -> str:
    text: str = json.loads(request.body)["messages"][-1]["content"]
    return text


def saying(answers: Mapping[str, str], *before: Step) -> Script:
    return lambda request: [*before, whole(answers.get(question_of(request), "I do not know"))]


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Office:
    """A stack, and a home folder from which it is asked."""

    home: Path
    stack: FakeStack
    engines: Mapping[str, ScriptedEngine]

    def asked(self, model: str) -> list[str]:
        return [question_of(request) for requests in self.engines[model].requests for request in requests]

    @property
    def rows(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.home / "questions.rows.jsonl").read_text().splitlines()]

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fenzhen", "router", "label", "questions.jsonl", *arguments,
            cwd=self.home, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def label(self, *arguments: str) -> Done:
        process = await self.start(*arguments)
        try:
            async with asyncio.timeout(60):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            raise
        assert process.returncode is not None
        # Whatever the width at which lines are broken.
        return Done(process.returncode, " ".join(out.decode().split()), " ".join(err.decode().split()))

    def write(self, *rows: Mapping[str, object]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.home / "questions.jsonl").write_text(text)


@asynccontextmanager
async def office(home: Path, small: Script, large: Script) -> AsyncIterator[Office]:
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(fake_stack(engines={}))
        engines = {
            name: await exits.enter_async_context(scripted_engine(script, name))
            for name, script in (("small", small), ("large", large))
        }
        endpoints = [engine.endpoint for engine in engines.values() if engine.endpoint is not None]
        stack.router.update(Table(1, tuple(endpoints)))
        (home / "fenzhen.yaml").write_text(CONFIGURATION.format(port=stack.port, home=home))
        yield Office(home, stack, engines)


SUMS = [{"prompt": f"{number} + 1?", "reference": str(number + 1), "kind": "sum"} for number in range(12)]
RIGHT = {f"{number} + 1?": f"It is {number + 1}." for number in range(12)}


async def test_both_models_are_asked_and_judged_by_the_references(tmp_path: Path) -> None:
    some = dict(list(RIGHT.items())[:3])
    async with office(tmp_path, saying(some), saying(RIGHT)) as here:
        here.write(*SUMS)
        done = await here.label("--json")
        assert done.code == 0, done.err
        rows = here.rows
        assert sorted(here.asked("small")) == sorted(here.asked("large")) == sorted(RIGHT)
    assert sum(float(str(row["small"])) for row in rows) == 3
    assert all((row["large"], row["how"], row["kind"]) == (1.0, "reference", "sum") for row in rows)
    summary = json.loads(done.out)
    assert (summary["labelled"], summary["small_mean"], summary["large_mean"]) == (12, 0.25, 1.0)
    assert "small and large are asked, judged by the references" in done.err
    assert (tmp_path / "questions.rows.jsonl").stat().st_mode & 0o777 == 0o600


async def test_what_is_labelled_is_not_asked_again(tmp_path: Path) -> None:
    async with office(tmp_path, saying(RIGHT), saying(RIGHT)) as here:
        here.write(*SUMS[:4], SUMS[0])
        assert (await here.label()).code == 0
        here.write(*SUMS[:6])
        done = await here.label()
        assert "2 rows added to questions.rows.jsonl, 4 were there already or stand twice." in done.out
        assert len(here.rows) == len(here.asked("small")) == 6


async def test_personal_data_is_not_stored_and_the_masked_question_counts_as_known(tmp_path: Path) -> None:
    async with office(tmp_path, saying({}), saying({})) as here:
        here.write({"prompt": "My phone is 13800138000, who am I?"})
        for _ in range(2):
            assert (await here.label("--by", "agreement")).code == 0
        assert [row["prompt"] for row in here.rows] == ["My phone is [phone], who am I?"]
        assert here.asked("small") == ["My phone is 13800138000, who am I?"]


async def test_a_kill_at_any_moment_costs_at_most_the_questions_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "questions.rows.jsonl"
    questions = [{"prompt": f"{'long ' * 1500}{number}"} for number in range(40)]
    async with office(tmp_path, saying({}, 0.02), saying({}, 0.02)) as here:
        here.write(*questions)
        for wanted in (4, 12, 20):
            process = await here.start("--at-once", "2")
            await until(lambda wanted=wanted: path.exists() and path.read_bytes().count(b"\n") >= wanted, 60)
            process.send_signal(signal.SIGKILL)
            await process.communicate()
            assert all(json.loads(line) for line in path.read_text().splitlines())
        with path.open("ab") as file:
            file.write(b'{"prompt": "half')
        done = await here.label("--at-once", "2")
        assert done.code == 0, done.err
        assert sorted(str(row["prompt"]) for row in here.rows) == sorted(str(row["prompt"]) for row in questions)
        # Three kills with two in flight each: no other question was asked twice.
        assert len(here.asked("small")) <= 40 + 3 * 2


async def test_an_engine_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    busy = b"HTTP/1.1 429 Busy\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}"
    answers = iter([busy, busy, whole("It is 1.")])
    async with office(tmp_path, lambda _: [next(answers)], saying(RIGHT)) as here:
        here.write(SUMS[0])
        began_s = asyncio.get_running_loop().time()
        done = await here.label()
        assert done.code == 0, done.err
        # A second as it was told, then two by its own back-off.
        assert asyncio.get_running_loop().time() - began_s > 3
        assert here.rows[0]["small"] == 1.0


async def test_a_question_that_is_refused_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    body = json.dumps({"error": {"message": "This model's maximum context length is 4096 tokens."}}).encode()
    refusal = b"HTTP/1.1 400 Bad\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    def small(request: Request) -> list[Step]:
        return [refusal] if question_of(request) == "1 + 1?" else [whole("It is 1.")]

    async with office(tmp_path, small, saying(RIGHT)) as here:
        here.write(*SUMS[:3])
        done = await here.label()
    assert done.code == 0
    assert "1 refused, the last one because: This model's maximum context length is 4096 tokens." in done.out


async def test_answers_that_are_cut_off_give_no_row_by_agreement(tmp_path: Path) -> None:
    async with office(tmp_path, lambda _: [whole("It is", "length")], saying(RIGHT)) as here:
        here.write(SUMS[0])
        done = await here.label("--by", "agreement")
        assert done.code == 0
        assert "1 with an answer that was cut off, left out" in done.out
        assert here.rows == []


async def test_a_judge_model_compares_in_both_orders(tmp_path: Path) -> None:
    def large(request: Request) -> list[Step]:
        text = question_of(request)
        if "<answer_a>" not in text:
            return [whole("It is one.")]
        return [whole("A" if text.index("It is 1.") < text.index("It is one.") else "C")]

    async with office(tmp_path, saying(RIGHT), large) as here:
        here.write(SUMS[0])
        missing = await here.label("--by", "judge")
        assert (missing.code, "needs to know who judges" in missing.err) == (2, True)
        done = await here.label("--by", "judge", "--judge-model", "large")
        assert done.code == 0, done.err
        (row,) = here.rows
    assert (row["small"], row["large"], row["how"]) == (1.0, 1.0, "judge")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "reference"), "1 of 1 questions have no reference, the first is 'Hi'"),
        (("--small", "huge"), "there is no chat model 'huge'; there are small, large"),
        (("--small", "large"), "two models are needed to compare"),
        (("--out", "/nowhere/rows"), "/nowhere/rows cannot be written: No such file"),
    ],
)
async def test_a_mistake_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    async with office(tmp_path, saying({}), saying({})) as here:
        here.write({"prompt": "Hi"})
        done = await here.label(*arguments)
        assert here.asked("small") == []
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "questions.rows.jsonl").exists()
