"""Our answers before httplint, the judge inside REDbot: headers, dates, lengths, and what caches may make of them."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import httptools
import pytest

from tests.conformance.packages import NotReachable, cache, go_without, pip
from tests.conformance.test_connections import CHAT, said_whole
from tests.fakes.stack import fake_stack

_WANTED = Path(__file__).with_name("httplint.txt")
_HOST = b"host: a\r\nconnection: close\r\n"
_STREAM = json.dumps(json.loads(CHAT) | {"stream": True}).encode()
REQUESTS = {
    "health": b"GET /healthz HTTP/1.1\r\n%b\r\n" % _HOST,
    "health for HTTP/1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
    "ready": b"GET /readyz HTTP/1.1\r\n%b\r\n" % _HOST,
    "metrics": b"GET /metrics HTTP/1.1\r\n%b\r\n" % _HOST,
    "head": b"HEAD /v1/models HTTP/1.1\r\n%b\r\n" % _HOST,
    "chat": b"POST /v1/chat/completions HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (_HOST, len(CHAT), CHAT),
    "stream": b"POST /v1/chat/completions HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (_HOST, len(_STREAM), _STREAM),
    "wrong method": b"POST /healthz HTTP/1.1\r\n%b\r\n" % _HOST,
    "wrong address": b"GET /nowhere HTTP/1.1\r\n%b\r\n" % _HOST,
    "wrong body": b"POST /v1/chat/completions HTTP/1.1\r\n%bcontent-length: 1\r\n\r\n{" % _HOST,
    "no HTTP": b"nonsense\r\n\r\n",
    "too large a head": b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 40_000),
    "a coding": b"POST / HTTP/1.1\r\n%btransfer-encoding: gzip, chunked\r\n\r\n" % _HOST,
    "an expectation": b"POST / HTTP/1.1\r\n%bexpect: wonders\r\ncontent-length: 1\r\n\r\n" % _HOST,
}
# It warns of every refusal as such, and of an engine's answers, which we pass on without a date of expiry: no cache
# keeps what answers a POST.
_MEANT = {"STATUS_BAD_REQUEST", "FRESHNESS_HEURISTIC"}


class _Answer:
    """One answer, taken apart."""

    def __init__(self, raw: bytes, is_head: bool) -> None:
        self.reason, self.headers, self.body = b"", list[tuple[str, str]](), b""
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(raw)
        self.told: dict[str, object] = {
            "status": parser.get_status_code(),
            "reason": self.reason.decode(),
            "headers": self.headers,
            "body": base64.b64encode(self.body).decode(),
            "is_head": is_head,
        }

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode(), value.decode()))

    def on_body(self, body: bytes) -> None:
        self.body += body


@pytest.fixture(scope="module")
def httplint() -> Path:
    """The folder into which httplint is installed, once."""
    version = next(line.split()[0] for line in _WANTED.read_text().splitlines() if line.startswith("httplint=="))
    folder = cache() / version
    if not folder.exists():
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as fresh:
            try:
                pip(["install", "--no-deps", "--no-build-isolation"], _WANTED, ["--target", f"{fresh}/lib"])
            except NotReachable as error:
                go_without(error)
            (Path(fresh) / "lib").replace(folder)
    return folder


def judged_by(httplint: Path, answers: list[dict[str, object]]) -> list[list[list[str]]]:
    """For each answer what was noted: name and level."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.lint_answers"],
        input=json.dumps(answers),
        env=os.environ | {"PYTHONPATH": str(httplint)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    notes: list[list[list[str]]] = json.loads(done.stdout)
    return notes


async def test_a_public_judge_finds_nothing_wrong_with_our_answers(httplint: Path) -> None:
    answers = []
    async with fake_stack() as stack:
        for title, raw in REQUESTS.items():
            answers.append(_Answer(await said_whole(stack, raw), is_head=title == "head").told)
    notes = dict(zip(REQUESTS, judged_by(httplint, answers), strict=True))
    assert {title: [note for note in of_one if note[1] == "BAD"] for title, of_one in notes.items()} == {
        title: [] for title in REQUESTS
    }
    assert {name for of_one in notes.values() for name, level in of_one if level == "WARN"} <= _MEANT
    # It did look: each of our answers tells a date that it finds right.
    assert all(["DATE_CORRECT", "GOOD"] in of_one for of_one in notes.values())
