"""A client that does what a city's applications do in a day, mistakes included: `python -m ... mix LOAD.json`.

Named models and `auto`, each question another one; streams; requests that are wrong (400, 404, 405); clients that leave
in the middle of a stream, before an answer, or of their own request; connections for one request only. Each answer is
looked at. It prints a line of JSON every so many requests, {"done": ...}, and a last one, {"report": ...}.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, assert_never

import uvloop
from pydantic import BaseModel, ConfigDict, Field

from loadtests import questions
from loadtests.router_bench.asker import Asker, BrokenError, post
from loadtests.router_bench.made_up import body
from loadtests.router_bench.wire import ANSWER

Kind = Literal[
    "named", "auto", "stream", "new connection", "not JSON", "unknown model", "unknown path", "wrong method",
    "left in a stream", "left before an answer", "left in the request",
]  # fmt: skip
# Of a hundred requests.
SHARES: Final[dict[Kind, int]] = {
    "named": 30,
    "auto": 30,
    "stream": 12,
    "new connection": 5,
    "not JSON": 4,
    "unknown model": 4,
    "unknown path": 3,
    "wrong method": 2,
    "left in a stream": 4,
    "left before an answer": 4,
    "left in the request": 2,
}
_STATUS: Final[dict[Kind, int]] = {"not JSON": 400, "unknown model": 404, "unknown path": 404, "wrong method": 405}
_CHUNKS: Final = 8
_TIMEOUT_S: Final = 30.0
_PAUSE_S: Final = 0.05
_ANSWER: Final = ANSWER.encode()
# Where a request's number goes, so that no two are alike.
_HOLE: Final = "@number@"


class MixLoad(BaseModel):
    """What to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int
    model: str
    """Of named requests."""
    total: int = Field(gt=0)
    at_least_s: float = Field(default=0.0, ge=0)
    """More than `total` if that takes less time."""
    clients: int = Field(default=32, gt=0)
    told_every: int = Field(default=2500, gt=0)
    seed: int = 1


class MixReport(BaseModel):
    """What came of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    done: int
    kinds: dict[str, int]
    wrong: dict[str, int]
    """What was not as it should be, by kind of request and reason; empty if all was."""
    connections_made: int


class Mix:
    """All clients together."""

    def __init__(self, load: MixLoad) -> None:
        self._load = load
        self._until_s = time.monotonic() + load.at_least_s
        self._numbers = itertools.count()
        lot = random.Random(load.seed)  # noqa: S311 - an order, no secret
        kinds: list[Kind] = [kind for kind, share in SHARES.items() for _ in range(share)]
        lot.shuffle(kinds)
        self._kinds = kinds
        self._templates = {
            (model, is_stream): list(_templates(model, is_stream))
            for model in ("auto", load.model, "no-such-model")
            for is_stream in (False, True)
        }
        self._slow = _template(load.model, f"{_HOLE} (pace-20ms)", {"stream": True, "max_tokens": 50})
        self.done = 0
        self.kinds: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.connections_made = 0

    async def run(self) -> None:
        """Until all is done."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._load.clients):
                tasks.create_task(self._client())

    async def _client(self) -> None:
        asker: Asker | None = None
        while (number := next(self._numbers)) < self._load.total or time.monotonic() < self._until_s:
            kind = self._kinds[number % len(self._kinds)]
            try:
                if asker is None or not asker.is_open:
                    asker = await Asker.open("127.0.0.1", self._load.port)
                    self.connections_made += 1
                async with asyncio.timeout(_TIMEOUT_S):
                    complaint = await self._one(kind, number, asker)
            except BrokenError as error:
                complaint = f"connection {error}"
            except (OSError, TimeoutError) as error:
                complaint = type(error).__name__
                asker = None
                # A router that is gone is not hammered.
                await asyncio.sleep(_PAUSE_S)
            if complaint:
                self.wrong[f"{kind}: {complaint}"] += 1
            self.kinds[kind] += 1
            self.done += 1
            if self.done % self._load.told_every == 0:
                print(json.dumps({"done": self.done}), flush=True)
        if asker is not None:
            asker.close()

    async def _one(self, kind: Kind, number: int, asker: Asker) -> str:
        """Ask once; what was wrong, or nothing."""
        port, model = self._load.port, self._load.model
        match kind:
            case "named" | "auto":
                answer = await asker.send(post(port, self._body("auto" if kind == "auto" else model, number)))
                return "" if answer.status == 200 and _ANSWER in answer.body else f"status {answer.status}"
            case "new connection":
                answer = await asker.send(post(port, self._body("auto", number), b"connection: close\r\n"))
                return "" if answer.status == 200 and not answer.keeps_alive else f"status {answer.status}, or kept"
            case "stream":
                answer = await asker.send(post(port, self._body("auto", number, is_stream=True)))
                return "" if answer.is_stream_of(_CHUNKS) else f"status {answer.status}, or not whole"
            case "not JSON":
                answer = await asker.send(post(port, b'{"model": "auto", "messages": [%d' % number))
            case "unknown model":
                answer = await asker.send(post(port, self._body("no-such-model", number)))
            case "unknown path":
                answer = await asker.send(post(port, b"{}", path=b"/v1/%d" % number))
            case "wrong method":
                answer = await asker.send(b"PUT /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            case "left in a stream":
                asker.send(post(port, self._slow.replace(_HOLE.encode(), b"%d" % number)))
                await asker.first_byte()
                asker.close()
                return ""
            case "left before an answer":
                asker.send(post(port, self._body("auto", number)))
                asker.close()
                return ""
            case "left in the request":
                whole = post(port, self._body("auto", number))
                asker.send(whole[: number % len(whole) or 1])
                asker.close()
                return ""
            case _:
                assert_never(kind)
        return "" if answer.status == _STATUS[kind] else f"status {answer.status}"

    def _body(self, model: str, number: int, *, is_stream: bool = False) -> bytes:
        templates = self._templates[model, is_stream]
        return templates[number % len(templates)].replace(_HOLE.encode(), b"%d" % number)

    def report(self) -> MixReport:
        """The figures."""
        return MixReport(
            done=self.done, kinds=dict(self.kinds), wrong=dict(self.wrong), connections_made=self.connections_made
        )


def _templates(model: str, is_stream: bool) -> Iterator[bytes]:
    more: dict[str, object] = {"stream": True, "max_tokens": _CHUNKS} if is_stream else {}
    for question in itertools.islice(questions.load(), 40):
        yield _template(model, f"{_HOLE}. {question.question}", more)


def _template(model: str, text: str, more: Mapping[str, object]) -> bytes:
    return body(model, text, more=more).encode()


if __name__ == "__main__":
    the_mix = Mix(MixLoad.model_validate_json(Path(sys.argv[1]).read_bytes()))
    uvloop.run(the_mix.run())
    print(json.dumps({"report": the_mix.report().model_dump()}), flush=True)
