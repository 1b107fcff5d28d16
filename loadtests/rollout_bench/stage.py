"""A stack of our own for the bench: one real engine with adapters, and a faulty server before the same engine."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx

from cluster.errors import OurFault
from cluster.release_settings import Thresholds
from cluster.settings import ExternalPool, Model, Pool, Settings
from cluster.settings_file import as_yaml, profile
from registry.history import Entry
from registry.rollout import Rollout
from registry.rollout_store import open_rollouts

REPOSITORY: Final = Path(__file__).resolve().parents[2]
BASE: Final = "smollm2-135m"
BEHIND: Final = "behind-a-fault"
"""The model that the faulty server claims to be."""
_ADAPTERS: Final = 4
_UP_S: Final = 600.0
_COMMAND_S: Final = 120.0
_LOOK_S: Final = 0.1

# Two cores answer two or three requests a second. With the margins of the settings, which are made for real traffic, a
# promotion would need an hour of that; what rolls back is left as it is.
_JUDGE: Final = Thresholds(min_requests=40, fault_margin_ratio=0.2, habit_margin_ratio=0.45)


class Stage:
    """The stack; use as a context manager. `folder` takes its state and may be thrown away afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "fenzhen.yaml"
        self._faulty_port = _free_port()
        self._settings = _settings(folder, _free_port(), self._faulty_port)
        self._faulty: subprocess.Popen[bytes] | None = None
        self.base_url = f"http://127.0.0.1:{self._settings.router.port}"

    def __enter__(self) -> "Stage":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(as_yaml(self._settings), encoding="utf-8")
        words = ["--port", str(self._faulty_port), "--model", BEHIND]
        self._faulty = subprocess.Popen(
            [sys.executable, "-m", "loadtests.rollout_bench.faulty_server", *words], cwd=REPOSITORY
        )
        try:
            self.command("up", "--detach", timeout_s=_UP_S)
        except BaseException:
            self.__exit__()
            raise
        self._store = open_rollouts(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.command("down")
        finally:
            if self._faulty:
                self._faulty.kill()
                self._faulty.wait()

    def command(self, *words: str, timeout_s: float = _COMMAND_S) -> str:
        """Run `fenzhen` with these words on this stack; gives what it printed. Raises OurFault if it failed."""
        groups = {"registry", "rollout"}
        head = words[:2] if words[0] in groups else words[:1]
        command = [sys.executable, "-m", "fenzhen", *head, "--config", str(self._config), *words[len(head) :]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, cwd=REPOSITORY, check=False)
        if done.returncode != 0:
            raise OurFault(f"fenzhen {' '.join(words)} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def register(self, name: str, kind: str, serves: str, folder: Path) -> dict[str, Any]:
        """Register a version; gives its document."""
        words = ("registry", "register", "--json", name, str(folder), "--kind", kind, "--serves", serves)
        document: dict[str, Any] = json.loads(self.command(*words))
        return document

    def behave(self, as_model: str, *, error_ratio: float = 0.0, delay_s: float = 0.0) -> None:
        """Tell the faulty server to ask the real engine for `as_model`, and how to misbehave."""
        rows = json.loads(self.command("status", "--json"))["engines"]
        engine = next(row["base_url"] for row in rows if row["model"] == BASE)
        told = {"engine": engine, "as_model": as_model, "error_ratio": error_ratio, "delay_s": delay_s}
        httpx.post(f"http://127.0.0.1:{self._faulty_port}/behave", json=told, timeout=10).raise_for_status()

    def rollout(self, name: str) -> Rollout:
        """The last one of a name."""
        (last,) = self._store.latest(name)
        return last

    def entries(self, rollout_id: str) -> list[Entry]:
        """What was decided in one rollout, in order."""
        return [entry for entry in self._store.history() if entry.note.rollout_id == rollout_id]

    def wait_over(self, name: str, version: int, within_s: float) -> Rollout:
        """Wait until the rollout of that version is over."""
        ends_s = time.monotonic() + within_s
        while not (last := self.rollout(name)).is_over or last.canary.side.version != version:
            if time.monotonic() > ends_s:
                seen = self.command("rollout", "status", name)
                raise OurFault(f"{name} {version} is still {last.stage} after {within_s:g} s:\n{seen}")
            time.sleep(_LOOK_S)
        return last


def _settings(folder: Path, port: int, faulty_port: int) -> Settings:
    like = profile("tiny")
    base = next(model for model in like.models if model.name == BASE)
    pool = next(pool for pool in like.pools if isinstance(pool, Pool) and pool.model == BASE)
    # The dearer of two models must be trusted with everything; nobody asks for it by difficulty here.
    behind = Model(
        name=BEHIND,
        languages=base.languages,
        max_difficulty=1,
        context_tokens=base.context_tokens,
        parameters_b=base.parameters_b,
    )
    faulty = ExternalPool(model=BEHIND, endpoints=(f"http://127.0.0.1:{faulty_port}",))
    return like.model_copy(
        update={
            "models": (base, behind),
            "pools": (pool.model_copy(update={"max_adapters": _ADAPTERS}), faulty),
            "router": like.router.model_copy(update={"port": port}),
            "rollouts": like.rollouts.model_copy(update={"judge": _JUDGE}),
            "site": like.site.model_copy(update={"state_dir": folder / "state"}),
        }
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
