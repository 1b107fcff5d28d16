"""A server that says exactly what it is told, byte for byte, however wrong. It has threads of its own, so that callers
under gevent can be tested with it: gevent and asyncio do not share a thread.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, Self

from tests.fakes.engine import Request
from tests.fakes.scripted_engine import CLOSE, RESET, Step

HALF_CLOSE = "half-close"
"""Nothing more is sent, but still read."""

Script = Callable[[int, int], list[Step]]
"""What to do for the request with this number on the connection with this number, both from 0."""


class ScriptedAnswers:
    """Bytes are sent, each piece in a packet of its own; a number is waited in seconds; CLOSE, RESET and HALF_CLOSE do
    what they say. Nothing outlasts the `with` block.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._ended = threading.Semaphore(0)
        self._is_over = threading.Event()
        self._is_reading = True
        self._refusal = b""
        self.requests: list[list[Request]] = []
        """By connection."""
        host, self.port = self._listener.getsockname()
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *reason: object) -> None:
        self._is_over.set()
        # Closing alone does not wake up the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive(), "a scripted answer does not end"
        self._listener.close()

    def stop_reading(self) -> None:
        """From the next connection on not even requests are read."""
        self._is_reading = False

    def refuse_bodies(self, refusal: bytes) -> None:
        """Answer the next request with this when its head has come, and close without having read its body."""
        self._refusal = refusal

    def wait_for_end(self) -> None:
        """Wait until one connection more has been closed, or half closed, by the script."""
        assert self._ended.acquire(timeout=30), "the script did not end a connection"

    def is_left(self) -> bool:
        """Whether, before long, all callers have closed their connections."""
        until_s = time.monotonic() + 30
        while self._open and time.monotonic() < until_s:
            time.sleep(0.01)
        return not self._open

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.requests.append([])
            self._open.add(connection)
            self._start(self._serve, connection, len(self.requests) - 1)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self._is_reading:
                    self._is_over.wait(30)
                elif self._tls is None:
                    self._answer(connection, number)
                else:
                    self._handshake(connection, number, self._tls)
            except OSError:
                # The caller has gone, or the test is over.
                pass
            finally:
                self._open.discard(connection)

    def _handshake(self, connection: socket.socket, number: int, tls: ssl.SSLContext) -> None:
        # What is wrapped is detached: the one to be closed at the end of the test is the new one.
        with tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as spoken:
            self._open.add(spoken)
            try:
                spoken.do_handshake()
                self._answer(spoken, number)
            finally:
                self._open.discard(spoken)

    def _answer(self, spoken: socket.socket, number: int) -> None:
        seen = self.requests[number]
        with spoken.makefile("rb") as reader:
            while (request := _head(reader)) is not None:
                seen.append(request)
                if self._refusal:
                    refusal, self._refusal = self._refusal, b""
                    spoken.sendall(refusal)
                    self._end(spoken, CLOSE)
                    return
                request.body = reader.read(int(request.headers.get("content-length", "0")))
                for step in self._script(number, len(seen) - 1):
                    if isinstance(step, bytes):
                        spoken.sendall(step)
                    elif isinstance(step, int | float):
                        self._is_over.wait(step)
                    else:
                        self._end(spoken, step)
                        if step != HALF_CLOSE:
                            return

    def _end(self, spoken: socket.socket, how: str) -> None:
        assert how in (CLOSE, RESET, HALF_CLOSE), how
        if how == RESET:
            spoken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # A socket with a reader on it is closed only when the reader is; a descriptor at once.
            socket.close(spoken.detach())
        else:
            spoken.shutdown(socket.SHUT_WR if how == HALF_CLOSE else socket.SHUT_RDWR)
        self._ended.release()


def _head(reader: BinaryIO) -> Request | None:
    first = reader.readline().decode().split()
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := reader.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(first[0], first[1], headers, b"")
