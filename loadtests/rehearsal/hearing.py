"""Asks an engine for one streamed answer and notes when each piece came. What it costs would be in the figures."""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httptools
import orjson

from cluster.errors import Unavailable, UserError

_EVENT_END: Final = b"\n\n"
_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer. Times in seconds of `time.perf_counter`."""

    sent_s: float
    pieces_s: tuple[float, ...]
    """When each piece came."""
    tokens: int
    """Of the answer, as the engine counted."""

    @property
    def ttft_s(self) -> float:
        """Sent to first piece."""
        return self.pieces_s[0] - self.sent_s

    @property
    def e2e_s(self) -> float:
        """Sent to last piece."""
        return self.pieces_s[-1] - self.sent_s

    @property
    def tpot_s(self) -> float | None:
        """Per token after the first; None for one token."""
        return (self.pieces_s[-1] - self.pieces_s[0]) / (self.tokens - 1) if self.tokens > 1 else None


@dataclass(slots=True)
class Engine:
    """Where to ask."""

    url: str
    """`http://host:port`."""
    model: str
    key: str | None = None
    timeout_s: float = 120.0
    """For one answer, whole."""
    _tls: ssl.SSLContext | None = field(default=None, repr=False)

    async def ask(self, prompt: list[int], answer_tokens: int) -> Heard:
        """A completion of a prompt given by numbers, exactly so long. Raises Unavailable, UserError."""
        body = orjson.dumps(
            {
                "model": self.model,
                "prompt": prompt,
                "max_tokens": answer_tokens,
                "ignore_eos": True,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._ask(body)
        except TimeoutError as error:
            raise Unavailable(f"{self.url} has not answered within {self.timeout_s:g} s") from error
        except OSError as error:
            raise Unavailable(f"{self.url} cannot be asked: {error}") from error

    async def _ask(self, body: bytes) -> Heard:
        parts = urlsplit(self.url)
        if parts.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), ssl=self._tls
        )
        try:
            key = f"authorization: Bearer {self.key}\r\n" if self.key else ""
            head = (
                f"POST {parts.path.rstrip('/')}/v1/completions HTTP/1.1\r\nhost: {parts.netloc}\r\n{key}"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            sent_s = time.perf_counter()
            writer.write(head.encode() + body)
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            while not answer.is_whole and (data := await reader.read(_READ_BYTES)):
                answer.now_s = time.perf_counter()
                parser.feed_data(data)
        finally:
            writer.close()
        return answer.heard(sent_s, parser.get_status_code(), self.url)


class _Answer:
    """What httptools calls."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.is_whole = False
        self._rest = b""
        self._pieces_s: list[float] = []
        self._usage: dict[str, Any] = {}

    def on_body(self, body: bytes) -> None:
        self._rest += body
        *events, self._rest = self._rest.split(_EVENT_END)
        for event in events:
            # The last event holds usage and no choice; every other one is a token.
            if b'"choices":[{' in event:
                self._pieces_s.append(self.now_s)
            elif b'"usage":{' in event:
                self._usage = orjson.loads(event.removeprefix(b"data: ")).get("usage") or {}

    def on_message_complete(self) -> None:
        self.is_whole = True

    def heard(self, sent_s: float, status: int, url: str) -> Heard:
        if status != 200:
            said = self._rest[:300].decode(errors="replace")
            raise UserError(f"{url} answered {status} to a prompt of token numbers on /v1/completions: {said}")
        if not self.is_whole or not self._pieces_s:
            raise Unavailable(f"{url} broke off an answer")
        return Heard(sent_s, tuple(self._pieces_s), self._usage.get("completion_tokens") or len(self._pieces_s))
