"""A Hugging Face hub small enough for tests: one repository, as much HTTP as the real client library asks for."""

import contextlib
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

FILES = {
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "model.safetensors": b"weights" * 100_000,
    "pytorch_model.bin": b"a pickle",
    "onnx/model.json": b"{}",
}


class FakeHub:
    """Serves `files` of `repository` at `revision` until the `with` block ends."""

    def __init__(self, repository: str, revision: str, files: dict[str, bytes] | None = None) -> None:
        self.repository = repository
        self.revision = revision
        self.files = dict(FILES if files is None else files)
        self.spoilt: dict[str, bytes] = {}
        """Content sent in the place of what the listing promises."""
        self.cuts_left = 0
        """How many downloads of weights end halfway, the connection closed."""
        self.drips = False
        """Send a byte now and then and never finish, which no time-out of a single read ends."""
        self.status = 0
        """Answer everything with this status, if not 0."""
        self.asked: list[str] = []
        """Method and path of each request."""
        self.tokens: set[str | None] = set()
        """What stood in the Authorization headers."""
        hub = self

        class Handler(_Handler):
            fake = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drips = False
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.fake.asked.append(f"{self.command} {path}")
        self.fake.tokens.add(self.headers.get("Authorization"))
        self._drip()
        model = f"/api/models/{self.fake.repository}"
        content = re.fullmatch(rf"/{self.fake.repository}/resolve/{self.fake.revision}/(.+)", path)
        if self.fake.status:
            self._send(self.fake.status, b"{}")
        elif not path.startswith((model, f"/{self.fake.repository}/")):
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path == f"{model}/revision/{self.fake.revision}":
            self._send(200, json.dumps({"id": self.fake.repository, "siblings": self._siblings()}).encode())
        elif path == f"{model}/tree/{self.fake.revision}":
            self._send(200, json.dumps(self._tree()).encode())
        elif content and content[1] in self.fake.files:
            self._send_file(content[1])
        else:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})

    def _drip(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drops: " if self.fake.drips else b"")
            while self.fake.drips:
                self.wfile.write(b".")
                time.sleep(0.05)

    def _siblings(self) -> list[dict[str, object]]:
        return [
            {"rfilename": path, "blobId": _git_sha1(data), "size": len(data), **_lfs(path, data)}
            for path, data in self._files()
        ]

    def _tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": path, "oid": _git_sha1(data), "size": len(data), **_lfs(path, data)}
            for path, data in self._files()
        ]

    def _files(self) -> list[tuple[str, bytes]]:
        return sorted(self.fake.files.items())

    def _send_file(self, path: str) -> None:
        promised = self.fake.files[path]
        data = self.fake.spoilt.get(path, promised)
        etag = hashlib.sha256(promised).hexdigest() if _lfs(path, promised) else _git_sha1(promised)
        self._send(
            200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": self.fake.revision}, may_be_cut=bool(_lfs(path, data))
        )

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, may_be_cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if may_be_cut and self.fake.cuts_left > 0:
            self.fake.cuts_left -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it.
        """Say nothing: a test reads `asked`."""


def _lfs(path: str, data: bytes) -> dict[str, object]:
    if not path.endswith((".safetensors", ".bin")):
        return {}
    sha256 = hashlib.sha256(data).hexdigest()
    return {"lfs": {"oid": sha256, "sha256": sha256, "size": len(data), "pointerSize": 134}}


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
