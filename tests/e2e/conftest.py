"""A whole stack, as a newcomer starts it: the `tiny` profile on real vLLM engines, through the command line."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.settings import Settings
from cluster.settings_file import as_yaml, profile
from tests.e2e.small_model import made_adapters

# Fetching and converting the two models the first time takes about two minutes here, starting them one.
UP_TIMEOUT_S = 900
DOWN_TIMEOUT_S = 120
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RunningStack:
    """A stack that was started with `fenzhen up --detach`."""

    config: Path
    base_url: str
    state_dir: Path

    def run(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one `fenzhen` command against this stack."""
        head = words[:2] if words[0] in ("loadtest", "registry", "rollout", "train") else words[:1]
        return subprocess.run(
            [sys.executable, "-m", "fenzhen", *head, "--config", str(self.config), *words[len(head) :]],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=REPOSITORY,
        )

    def status(self) -> dict[str, Any]:
        """`fenzhen status --json`."""
        document = json.loads(self.run("status", "--json").stdout)
        assert isinstance(document, dict)
        return document

    def engine(self, model: str) -> dict[str, Any]:
        """One engine's row of the status."""
        return next(engine for engine in self.status()["engines"] if engine["model"] == model)

    def engine_metric(self, model: str, name: str) -> float:
        """One gauge out of the engine's own metrics."""
        page = httpx.get(f"{self.engine(model)['base_url']}/metrics", timeout=5).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(f"{name}{{"))


def free_port() -> int:
    """A port that nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_stack(folder: Path, settings: Settings | None = None) -> RunningStack:
    """Start these settings, or the `tiny` profile, with their state in `folder`. Models stay in the user's cache."""
    settings = settings or profile("tiny")
    port = free_port()
    settings = settings.model_copy(
        update={
            "router": settings.router.model_copy(update={"port": port}),
            "site": settings.site.model_copy(update={"state_dir": folder / "state"}),
        }
    )
    config = folder / "fenzhen.yaml"
    config.write_text(as_yaml(settings), encoding="utf-8")
    stack = RunningStack(config, f"http://127.0.0.1:{port}", folder / "state")
    started = stack.run("up", "--detach", timeout_s=UP_TIMEOUT_S)
    # Shown by pytest where a test fails; the logs say the rest.
    print(started.stdout, started.stderr, sep="\n")
    if started.returncode != 0:
        stack.run("down", timeout_s=DOWN_TIMEOUT_S)
        pytest.fail(f"fenzhen up ended with {started.returncode}:\n{started.stderr}\n{_logs(stack.state_dir)}")
    return stack


def _logs(state_dir: Path) -> str:
    logs = sorted((state_dir / "logs").glob("*.log"))
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for a module of tests; stopped after them, with nothing left."""
    os.environ.pop("FENZHEN_PORT", None)
    running = start_stack(tmp_path_factory.mktemp("stack"))
    yield running
    stopped = running.run("down", timeout_s=DOWN_TIMEOUT_S)
    assert stopped.returncode == 0, stopped.stderr


@pytest.fixture(scope="session")
def adapter_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """LoRA adapters for the small model, sound and broken, by name; see `tests.fakes.adapters`."""
    return made_adapters(tmp_path_factory.mktemp("adapters"))
