"""A real Alertmanager for tests, on loopback, with one receiver: our webhook."""

import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import yaml

_START_S = 30.0


class Alertmanager:
    """Runs until the `with` block ends. Notifies within a second."""

    def __init__(self, folder: Path, webhook_url: str, token_file: Path) -> None:
        found = shutil.which("prometheus-alertmanager")
        if found is None:
            raise RuntimeError("these tests need Alertmanager: .ci/servers installs it")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{free.getsockname()[1]}"
        folder.mkdir(parents=True)
        config = {
            "route": {
                "receiver": "fenzhen",
                "group_by": ["alertname", "fenzhen_name"],
                "group_wait": "100ms",
                "group_interval": "1s",
                "repeat_interval": "1s",
            },
            "receivers": [
                {
                    "name": "fenzhen",
                    "webhook_configs": [
                        {
                            "url": webhook_url,
                            "http_config": {
                                "authorization": {"type": "Bearer", "credentials_file": str(token_file)},
                            },
                        }
                    ],
                }
            ],
        }
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._command = [
            str(found),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={self._url.removeprefix('http://')}",
            "--cluster.listen-address=",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends_s = time.monotonic() + _START_S
        while time.monotonic() < ends_s:
            assert self._process.poll() is None, "Alertmanager ended while it was starting"
            try:
                if httpx.get(f"{self._url}/-/ready", timeout=2).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("Alertmanager did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def alert(self, labels: dict[str, str], *, is_firing: bool = True) -> None:
        """Tell it of an alert, as Prometheus does."""
        now = datetime.now(UTC)
        ends = now + timedelta(minutes=5) if is_firing else now - timedelta(seconds=1)
        row = {"labels": labels, "startsAt": (now - timedelta(minutes=1)).isoformat(), "endsAt": ends.isoformat()}
        httpx.post(f"{self._url}/api/v2/alerts", json=[row], timeout=5).raise_for_status()
