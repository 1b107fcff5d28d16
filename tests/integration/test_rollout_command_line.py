"""`fenzhen rollout` as people use it, on a real registry and a real database; a controller runs beside it."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.settings import Settings
from cluster.settings_file import read_settings
from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from registry.controller import Controller
from registry.leading import Pace
from registry.rollout_store import open_rollouts
from registry.stores import open_versions, versions_dir
from registry.versions import Draft, Gate
from tests.fakes.rollouts import NAME, ScriptedEngines, ScriptedJudges

SETTINGS: dict[str, Any] = {
    "models": [
        {"name": "small", "languages": ["en"], "max_difficulty": 1.0, "context_tokens": 2048, "parameters_b": 0.5},
    ],
    "pools": [{"model": "small", "endpoints": ["http://127.0.0.1:9"]}],
}


@dataclass
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Desk:
    """Where the commands are given."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.write({})

    def write(self, more: dict[str, Any]) -> None:
        """The configuration."""
        document = SETTINGS | {"site": {"state_dir": str(self.folder / "state")}} | more
        (self.folder / "fenzhen.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    @property
    def settings(self) -> Settings:
        """As the commands read it."""
        return read_settings(self.folder / "fenzhen.yaml")

    def run(self, *arguments: str) -> Said:
        """`fenzhen rollout ...`"""
        invocation = Invocation()
        command, *rest = arguments
        words = ["rollout", command, "--config", str(self.folder / "fenzhen.yaml"), *rest]
        code = exit_code_of(lambda: fenzhen.main(words, "fenzhen", standalone_mode=False, obj=invocation), invocation)
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def register(self, text: str, *gates: Gate) -> int:
        """A prompt's next version."""
        file = self.folder / "prompt.txt"
        file.write_text(text, encoding="utf-8")
        return open_versions(self.settings).register(Draft(NAME, "prompt", "small", gates=gates), file).version

    @contextmanager
    def controller(self) -> Iterator[None]:
        """One that runs in a thread, with an engine that answers."""
        loop = asyncio.new_event_loop()
        settings = self.settings

        async def live() -> None:
            directory = DirectoryHolder(MonotonicClock(), settle_s=0.0)
            controller = Controller(
                open_rollouts(settings),
                directory,
                lambda: open_versions(settings),
                versions_dir(settings),
                ScriptedJudges(),
                owner="a",
                pace=Pace(tick_s=0.05),
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ScriptedEngines(directory).run())
                tasks.create_task(controller.run())

        task = loop.create_task(live())

        def run() -> None:
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError:
                pass
            finally:
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(20)


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to make its tables, so that is done once."""
    state_dir = tmp_path_factory.mktemp("empty") / "state"
    document = SETTINGS | {"site": {"state_dir": str(state_dir)}}
    open_versions(Settings.model_validate(document)).versions()
    return state_dir / "registry"


@pytest.fixture
def desk(tmp_path: Path, empty_registry: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    shutil.copytree(empty_registry, tmp_path / "state" / "registry")
    return Desk(tmp_path, capsys)


def test_a_rollout_s_life_by_hand(desk: Desk) -> None:
    version = desk.register("Be kind.")
    with desk.controller():
        begun = desk.run(
            "start", NAME, str(version), "--shadow", "0", "--steps", "25,50", "--bake", "1h", "--reason", "x"
        )
        assert (begun.code, begun.out) == (0, "")
        assert "version 1 over the model as configured; 2 steps" in begun.err
        again = desk.run("start", NAME, "1")
        assert again.code == 2
        assert "runs already" in again.err
        _until_stage(desk, "canary 1/2")
        assert desk.run("hold", NAME, "--reason", "lunch").code == 0
        refused = desk.run("promote", NAME)
        assert (refused.code, "lunch" in refused.err) == (2, True)
        assert desk.run("resume", NAME).code == 0
        assert "canary 2/2" in desk.run("promote", NAME).err
        shown = desk.run("status", NAME)
        assert (shown.code, "canary 2/2" in shown.out, "50%" in shown.out) == (0, True, True)
        back = desk.run("rollback", NAME, "--reason", "complaints")
        assert back.code == 0
        _until_stage(desk, "rolled back")
        assert desk.run("rollback", NAME).code == 2
    events = [entry["event"] for entry in json.loads(desk.run("history", NAME, "--json").out)]
    assert [event for event in events if event != "files at hand"] == [
        "started", "loading", "shadow", "canary 1/2", "held", "refused", "resumed", "canary 2/2", "rolling back",
        "rolled back",
    ]  # fmt: skip
    whole = desk.run("history", "--verify")
    assert (whole.code, f"All {len(events)} entries fit" in whole.out) == (0, True)


def _until_stage(desk: Desk, stage: str) -> None:
    for _ in range(600):
        if json.loads(desk.run("status", NAME, "--json").out)["rollouts"][0]["stage"] == stage:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"it never came to {stage}")


def test_gates_that_were_not_passed_stop_a_start_unless_somebody_says_why(desk: Desk) -> None:
    version = desk.register("Be kind.", Gate("accuracy", ">= 0.9", 0.7, is_passed=False))
    refused = desk.run("start", NAME, str(version))
    assert refused.code == 2
    assert "accuracy must be >= 0.9, is 0.7" in refused.err
    assert desk.run("status").out.startswith("Nothing was rolled out yet")
    with desk.controller():
        assert desk.run("start", NAME, str(version), "--despite-gates", "the test set is wrong").code == 0
    (first, *_) = json.loads(desk.run("history", "--json").out)
    assert first["said"].endswith("despite its gates: the test set is wrong")


def test_while_the_registry_is_down_nothing_is_begun_and_the_rest_works(desk: Desk) -> None:
    desk.write({"registry": {"tracking_uri": "http://127.0.0.1:9", "timeout_s": 1}})
    refused = desk.run("start", NAME, "1")
    assert refused.code == 3
    assert "registry" in refused.err
    assert desk.run("status").code == 0
    assert json.loads(desk.run("history", "--json").out) == []
    assert desk.run("hold", NAME).code == 2
    assert desk.run("rollback", NAME).code == 2


def test_without_a_controller_it_is_said_plainly(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fenzhen.rollout_start.ANSWER_S", 0.3)
    monkeypatch.setattr("fenzhen.rollout_orders.ANSWER_S", 0.3)
    version = desk.register("Be kind.")
    begun = desk.run("start", NAME, str(version))
    assert begun.code == 3
    assert "no controller of rollouts runs" in begun.err
    assert desk.run("rollback", NAME).code == 3
    assert desk.run("status").code == 3
    with desk.controller():
        _until_stage(desk, "rolled back")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bake", "30"), "30m"),
        (("--bake", "soon"), "no duration"),
        (("--shadow", "99d"), "longer than 30 days"),
        (("--steps", "5,x"), "no list of percentages"),
        (("--steps", "25,5"), "larger than the one before"),
        (("--steps", "5,100"), "below 100 percent"),
        (("--shadow-ratio", "2"), "range"),
    ],
)
def test_what_cannot_be_planned_is_said_before_anything_is_asked(
    desk: Desk, arguments: tuple[str, ...], words: str
) -> None:
    refused = desk.run("start", NAME, "1", *arguments)
    assert refused.code == 2
    assert words in refused.err


@pytest.mark.parametrize("wrong", ["@canary", "one", "7"])
def test_a_version_that_is_not_there_is_said(desk: Desk, wrong: str) -> None:
    desk.register("Be kind.")
    assert desk.run("start", NAME, wrong).code == 2
