"""A stand-in for engines that costs next to nothing, so that what is in front of it is the limit.

    python -m loadtests.router_bench.stand_in --ports 9101-9108 --models small,large

It answers at once and with the same words. A streamed answer has as many chunks as `max_tokens` asks for, and the words
`pace-5ms` anywhere in the request's body put 5 ms between them: a proxy may drop a field that it does not know, but not
a word of the question. When all ports are open it prints one line of JSON, `{"ports": [...], "pid": ...}`; GET /count
tells what has been asked, so that lost and doubled requests show. It ends on SIGTERM, or with --until-stdin-ends when
whoever started it is gone.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import uvloop

from loadtests.router_bench.wire import (
    JSON_HEAD,
    STREAM_END,
    STREAM_HEAD,
    answer_to,
    chunk_of,
    content_length,
    is_streamed,
    model_of,
    number_of,
    pace_s_of,
)

_BACKLOG: Final = 4096


@dataclass(slots=True)
class Counts:
    """What has been asked since the start."""

    answers: int = 0
    """Answered whole, not streamed."""
    streams: int = 0
    """Begun."""
    streams_done: int = 0
    streams_broken: int = 0
    """The other side went away before the end."""
    refused: int = 0
    """What is no HTTP/1 request with a length."""
    by_port: dict[int, int] = field(default_factory=dict)

    def as_json(self) -> bytes:
        """For GET /count."""
        document = {name: getattr(self, name) for name in self.__slots__ if name != "by_port"}
        return json.dumps({**document, "by_port": self.by_port}).encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection. One request at a time is answered; a later one waits in the buffer."""

    __slots__ = (
        "_chunks", "_counts", "_index", "_is_chat", "_is_paused", "_loop", "_model", "_options", "_pace_s", "_port",
        "_rest", "_timer", "_transport", "_wanted",
    )  # fmt: skip

    def __init__(self, counts: Counts, port: int, options: argparse.Namespace, loop: asyncio.AbstractEventLoop) -> None:
        self._counts = counts
        self._port = port
        self._options = options
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        # No look at the buffer is worth while before it holds so many bytes.
        self._wanted = 0
        self._is_paused = False
        # A stream is open while chunks are left.
        self._chunks = 0
        self._index = 0
        self._model = b""
        self._is_chat = True
        self._pace_s = 0.0
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._chunks:
            self._counts.streams_broken += 1
            self._chunks = 0
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._rest = self._rest + data if self._rest else data
        if len(self._rest) >= self._wanted and not self._chunks:
            self._read()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._chunks and self._timer is None:
            self._step()

    def _read(self) -> None:
        """Answer what the buffer holds whole."""
        while self._rest and not self._chunks and self._transport is not None:
            data = self._rest
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = data[:end].lower()
            if b"\r\ntransfer-encoding:" in head:
                # Every proxy here knows the length of what it passes on.
                self._refuse(411, b"Length Required", b"the stand-in wants a content-length")
                return
            if b" http/1." not in head:
                # Some proxies ask first whether gRPC is spoken.
                self._refuse(400, b"Bad Request", b"the stand-in speaks HTTP/1 only")
                return
            total = end + 4 + content_length(head)
            if len(data) < total:
                self._wanted = total
                return
            self._wanted = 0
            self._rest = data[total:]
            if head.startswith(b"post /v1/"):
                self._complete(head.startswith(b"post /v1/chat/"), data[end + 4 : total])
            else:
                self._get(head)

    def _complete(self, is_chat: bool, body: bytes) -> None:
        assert self._transport is not None
        by_port = self._counts.by_port
        by_port[self._port] = by_port.get(self._port, 0) + 1
        if not is_streamed(body):
            self._counts.answers += 1
            self._transport.write(answer_to(model_of(body), is_chat))
            return
        self._counts.streams += 1
        asked = number_of(body, b"max_tokens") or number_of(body, b"max_completion_tokens")
        pace_s = pace_s_of(body)
        self._model = model_of(body)
        self._is_chat = is_chat
        self._chunks = asked or self._options.chunks
        self._pace_s = self._options.interval_ms / 1000 if pace_s is None else pace_s
        self._index = 0
        self._transport.write(STREAM_HEAD)
        self._step()

    def _step(self) -> None:
        """Send the next chunk, in a packet of its own, and see to the one after."""
        self._timer = None
        if self._transport is None or self._is_paused:
            return
        chunk = chunk_of(self._model, self._is_chat, self._index)
        self._index += 1
        if self._index < self._chunks:
            self._transport.write(chunk)
            if self._pace_s:
                self._timer = self._loop.call_later(self._pace_s, self._step)
            else:
                self._timer = self._loop.call_soon(self._step)
            return
        self._transport.write(chunk + STREAM_END)
        self._chunks = 0
        self._counts.streams_done += 1
        if self._rest:
            self._read()

    def _get(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1].split(b"?")[0]
        models = self._options.models.split(",")
        if path in (b"/health", b"/ping"):
            self._say(200, b"OK", b"{}")
        elif path == b"/v1/models":
            cards = [{"id": name, "object": "model", "created": 1700000000, "owned_by": "stand-in"} for name in models]
            self._say(200, b"OK", json.dumps({"object": "list", "data": cards}).encode())
        elif path == b"/count":
            self._say(200, b"OK", self._counts.as_json())
        elif path == b"/metrics":
            lines = [f'vllm:num_requests_{state}{{model_name="{m}"}} 0\n' for m in models for state in _STATES]
            self._say(200, b"OK", "".join(lines).encode())
        else:
            self._say(404, b"Not Found", b'{"error":{"message":"the stand-in does not know this path"}}')

    def _refuse(self, status: int, phrase: bytes, why: bytes) -> None:
        """Answer what cannot be read on, and close."""
        self._counts.refused += 1
        self._say(status, phrase, b'{"error":{"message":"%b"}}' % why)
        if self._transport is not None:
            self._transport.close()

    def _say(self, status: int, phrase: bytes, body: bytes) -> None:
        assert self._transport is not None
        self._transport.write(JSON_HEAD % (status, phrase, len(body), body))


_STATES: Final = ("running", "waiting")


def ports_of(text: str) -> list[int]:
    """Read `9101-9108,9200`. Raises ValueError."""
    ports: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        ports.extend(range(int(first), int(last or first) + 1))
    if not ports or len(set(ports)) < len(ports):
        raise ValueError(f"each port once: {text!r}")
    return ports


async def serve(options: argparse.Namespace) -> None:
    """Listen on all ports until told to end."""
    loop = asyncio.get_running_loop()
    counts = Counts()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_stdin_ends:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    wanted = options.ports or [0] * options.free_ports
    ports: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        for wish in wanted:
            # A free port is known only once it is bound, and then it goes into the factory.
            ports.append(wish)
            slot = len(ports) - 1
            server = await loop.create_server(
                lambda slot=slot: Connection(counts, ports[slot], options, loop),  # type: ignore[misc]
                "127.0.0.1",
                wish,
                backlog=_BACKLOG,
            )
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            ports[slot] = server.sockets[0].getsockname()[1]
        print(json.dumps({"ports": ports, "pid": os.getpid()}), flush=True)
        # Nothing made so far is garbage; what requests leave behind has no cycles.
        gc.freeze()
        await stop.wait()


def options_of(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.router_bench.stand_in")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--ports", type=ports_of, help="such as 9101-9108,9200, on 127.0.0.1")
    where.add_argument("--free-ports", type=int, help="so many ports that are free")
    parser.add_argument("--models", default="small,large", help="what /v1/models lists")
    parser.add_argument("--chunks", type=int, default=16, help="of a stream that sets no max_tokens")
    parser.add_argument("--interval-ms", type=float, default=0.0, help="between chunks, if the request names no pace")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end with whoever started it")
    return parser.parse_args(words)


def raise_open_files() -> None:
    """Allow this process as many open files as the system lets it: a connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    raise_open_files()
    uvloop.run(serve(options_of(None)))
