"""End to end on a real engine: a good version is promoted by itself, and each of five broken ones rolled back.

One engine serves the profile `tiny`'s small model with LoRA adapters; people ask without pause for `hotline`. Versions
that are empty, gibberish or in a wrong format are adapters whose weights do that; errors and slowness come from a
faulty server before the same engine, which has the same adapter answer as stable has.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.errors import OurFault
from cluster.settings_file import profile
from loadtests.rollout_bench.crowd import Asked, Crowd
from loadtests.rollout_bench.stage import BASE, BEHIND, REPOSITORY, Stage
from registry.history import Entry
from registry.progress import Silent
from registry.store import ModelStore

NAME: Final = "hotline"
_PEOPLE: Final = 6
_MAKING_S: Final = 300.0
_LOADED_S: Final = 120.0
# On two cores, while other things run as well.
_PROMOTED_S: Final = 900.0
_ROLLED_BACK_S: Final = 600.0
# Until what was in flight at the verdict has been answered.
_AFTERMATH_S: Final = 8.0
_ERROR_RATIO: Final = 0.3
_DELAY_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Broken:
    """What became of one broken version; the keys of `broken_versions` in the report."""

    kind: str
    rolled_back: bool
    detect_s: float
    """From the first request that the version answered, or failed, to the verdict."""
    back_on_stable_s: float
    """From the verdict to the sending of the last request that it answered; 0: none was sent after the verdict."""
    share_touched_ratio: float
    """Of the requests from the start of its rollout to the verdict, those that it answered, or failed and stable
    answered."""
    requests_failed: int
    """Answered with an error."""
    requests_lost: int
    """Not answered at all."""
    requests: int
    reason: str
    """The judge's."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """What became of the good version."""

    promoted: bool
    seconds: float
    """From the start of the rollout to all traffic."""
    requests: int
    requests_failed: int
    requests_lost: int


@dataclass(frozen=True, slots=True)
class Found:
    """All of it."""

    promoted: Promoted
    broken: tuple[Broken, ...]


class Bench:
    """The rollouts, one after the other."""

    def __init__(
        self, stage: Stage, crowd: Crowd, folders: dict[str, Path], steps: str, say: Callable[[str], None]
    ) -> None:
        self._stage = stage
        self._steps = steps
        self._crowd = crowd
        self._folders = folders
        self._say = say

    def promote_good(self) -> Promoted:
        """The second version, by the judge."""
        version = self._register("good-2")
        begun_s = time.time()
        self._start(version, "--shadow", "5s", "--shadow-ratio", "0.3", "--steps", self._steps, "--bake", "10s")
        last = self._stage.wait_over(NAME, version, _PROMOTED_S)
        entries = self._stage.entries(last.rollout_id)
        promoted_s = [entry.at_s for entry in entries if entry.note.event == "promoted"]
        asked = self._crowd.since(begun_s)
        self._say(f"good-2: {last.stage} after {time.time() - begun_s:.0f} s: {entries[-1].note.said}")
        return Promoted(
            last.stage == "done",
            round(promoted_s[0] - begun_s, 1) if promoted_s else 0.0,
            len(asked),
            *_failed_and_lost(asked),
        )

    def roll_back(self, kind: str) -> Broken:
        """One that is broken in this way."""
        version = self._broken_version(kind)
        begun_s = time.time()
        self._start(version, "--shadow", "0", "--steps", self._steps, "--bake", "20s")
        last = self._stage.wait_over(NAME, version, _ROLLED_BACK_S)
        time.sleep(_AFTERMATH_S)
        entries = self._stage.entries(last.rollout_id)
        back = next((entry for entry in entries if entry.note.event == "rolling back"), None)
        verdict_s = back.at_s if back else time.time()
        in_canary_s = next((entry.at_s for entry in entries if entry.note.event.startswith("canary")), begun_s)
        asked = self._crowd.since(begun_s)
        touched = [each for each in asked if each.version == str(version)]
        # One that always fails answers nobody: then from the moment on at which requests went to it.
        first_s = min([each.sent_s for each in touched], default=in_canary_s)
        before = [each for each in asked if each.sent_s <= verdict_s]
        failed, lost = _failed_and_lost(asked)
        found = Broken(
            kind=kind,
            rolled_back=last.stage == "rolled back",
            detect_s=round(verdict_s - first_s, 1),
            back_on_stable_s=round(max([0.0, *(each.sent_s - verdict_s for each in touched)]), 2),
            share_touched_ratio=round(max(len(touched), _judged(back)) / max(1, len(before)), 3),
            requests_failed=failed,
            requests_lost=lost,
            requests=len(asked),
            reason=getattr(last.state, "reason", ""),
        )
        self._say(f"{kind}: {last.stage} after {found.detect_s} s: {found.reason}")
        return found

    def _broken_version(self, kind: str) -> int:
        if kind in self._folders:
            return self._register(kind)
        stable = self._stage.rollout(NAME).stable if self._was_rolled_back() else self._stage.rollout(NAME).canary
        misbehaviour = {"error_ratio": _ERROR_RATIO} if kind == "errors" else {"delay_s": _DELAY_S}
        self._stage.behave(stable.side.served_name, **misbehaviour)
        # What its engine has loaded already needs no files; a card says what it is.
        with tempfile.TemporaryDirectory() as folder:
            card = Path(folder) / "card.txt"
            card.write_text(f"{kind}: {misbehaviour}, served beside us\n")
            return int(self._stage.register(NAME, "model", BEHIND, Path(folder))["version"])

    def _was_rolled_back(self) -> bool:
        return self._stage.rollout(NAME).stage == "rolled back"

    def _register(self, adapter: str) -> int:
        return int(self._stage.register(NAME, "adapter", BASE, self._folders[adapter])["version"])

    def _start(self, version: int, *words: str) -> None:
        self._stage.command("rollout", "start", NAME, str(version), *words)


KINDS: Final = ("errors", "slow", "empty", "gibberish", "wrong-format")


def put_on_duty(stage: Stage, folder: Path) -> None:
    """The first version, by hand: beside the plain base it would count as slow, since on a CPU adapters cost time."""
    version = int(stage.register(NAME, "adapter", BASE, folder)["version"])
    stage.command("rollout", "start", NAME, str(version), "--shadow", "0", "--steps", "50", "--bake", "1s")
    ends_s = time.monotonic() + _LOADED_S
    while not stage.rollout(NAME).stage.startswith("canary"):
        if time.monotonic() > ends_s:
            raise OurFault(f"the first version is not loaded: {stage.rollout(NAME)}")
        time.sleep(0.2)
    stage.command("rollout", "promote", NAME, "--reason", "the first")
    stage.wait_over(NAME, version, _LOADED_S)


def measure(say: Callable[[str], None], kinds: Iterable[str] = KINDS, steps: str = "25,50") -> Found:
    """Everything, in a folder that is thrown away. `steps` of all rollouts, percent: larger ones end sooner."""
    with tempfile.TemporaryDirectory(prefix="fenzhen-rollouts-") as name:
        folder = Path(name)
        folders = _made_adapters(folder / "adapters")
        say("The stack starts")
        with Stage(folder / "stack") as stage:
            put_on_duty(stage, folders["good-1"])
            with Crowd(stage.base_url, NAME, _PEOPLE) as crowd:
                bench = Bench(stage, crowd, folders, steps, say)
                promoted = bench.promote_good()
                broken = tuple(bench.roll_back(kind) for kind in kinds)
    return Found(promoted, broken)


def table(broken: Sequence[Broken]) -> str:
    """The figures for a person."""
    head = f"{'kind':<14}{'rolled back':>12}{'detect':>9}{'back':>8}{'touched':>9}{'failed':>8}{'lost':>6}{'asked':>7}"
    return "\n".join([head, *map(_row, broken)])


def _row(one: Broken) -> str:
    times = f"{one.detect_s:>7.1f} s{one.back_on_stable_s:>6.2f} s"
    counts = f"{one.requests_failed:>8}{one.requests_lost:>6}{one.requests:>7}"
    return f"{one.kind:<14}{'yes' if one.rolled_back else 'NO':>12}{times}{one.share_touched_ratio:>9.1%}{counts}"


def _made_adapters(into: Path) -> dict[str, Path]:
    settings = profile("tiny")
    model = next(each for each in settings.models if each.name == BASE)
    base = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, Silent()).fetch(model).folder
    # As a process: torch and the model's weights are given back when it ends.
    words = [sys.executable, "-m", "tests.fakes.adapters", str(base), str(into)]
    subprocess.run(words, check=True, timeout=_MAKING_S, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    return {folder.name: folder for folder in into.iterdir()}


def _judged(verdict: Entry | None) -> int:
    """How many requests to the canary the verdict rests on; 0 where there is none."""
    document = json.loads(verdict.note.document) if verdict and verdict.note.document else {}
    return int((document.get("verdict") or {}).get("canary_requests", 0))


def _failed_and_lost(asked: Sequence[Asked]) -> tuple[int, int]:
    return sum(each.status not in (0, 200) for each in asked), sum(each.status == 0 for each in asked)
