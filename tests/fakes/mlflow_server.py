"""A real MLflow server for tests, on loopback, with its database and its artifacts in a folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

_START_S = 90.0


class MlflowServer:
    """Runs until the `with` block ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.artifacts = folder / "artifacts"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, again after `kill`, with what it kept."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port),
                 "--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}",
                 "--artifacts-destination", str(self.artifacts), "--workers", "1"],
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        ends_s = time.monotonic() + _START_S
        while True:
            try:
                httpx.get(f"{self.url}/health", timeout=2).raise_for_status()
            except httpx.HTTPError:
                log_text = (self._folder / "server.log").read_text(errors="replace")[-2000:]
                assert self._process.poll() is None, log_text
                assert time.monotonic() < ends_s, log_text
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """End it and its workers at once."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP: connections are still accepted by the kernel, and nothing ever answers. SIGCONT ends that."""
        assert self._process
        os.killpg(self._process.pid, number)
