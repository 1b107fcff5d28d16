import json
import time
from pathlib import Path

import pytest

from cluster.outcomes import Tally
from cluster.release_settings import DriftSettings
from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from registry.database import Database, rollouts_url
from registry.drift_store import DriftStore
from registry.drift_watch import DriftWatch
from tests.unit.fenzhen.router_commands import CONFIG

DAY = 86400.0


class Place:
    """A folder with a configuration, and `fenzhen registry drift` there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._state_dir = folder / "state"
        self._config = folder / "fenzhen.yaml"
        self._config.write_text(CONFIG.format(state_dir=self._state_dir))
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *words: str) -> int:
        invocation = Invocation()
        arguments = ["registry", "drift", "--config", str(self._config), *words]
        code = exit_code_of(
            lambda: fenzhen.main(arguments, "fenzhen", standalone_mode=False, obj=invocation), invocation
        )
        self.out, self.err = self._capsys.readouterr()
        return code

    def watch_two_days(self) -> None:
        """English comes on the second day."""
        watch = DriftWatch(DriftStore(Database(rollouts_url(None, self._state_dir))), DriftSettings())
        start_s = time.time() - 3 * DAY
        for moment in range(17):
            english = 0 if moment < 8 else 100
            tally = Tally("small", 3, 200, (0, 200), (("zh", 200 - english), ("en", english)), (), (0, 200), 2)
            watch.take([tally] if moment < 16 else [], start_s + moment * DAY / 8)


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capsys)


def test_without_alerts_it_says_so(place: Place) -> None:
    assert place.run() == 0
    assert "No alerts." in place.out


def test_an_alert_is_shown_and_taken_once(place: Place) -> None:
    place.watch_two_days()
    assert place.run("small") == 0
    for words in ("urgent", "紧急", "languages", "train"):
        assert words in place.out
    assert place.run("--take", "1", "--by", "training") == 0
    assert place.run("--json") == 0
    (entry,) = json.loads(place.out)
    assert (entry["name"], entry["version"], entry["taken_by"]) == ("small", 3, "training")
    assert place.run("--take", "1", "--by", "somebody") != 0
    assert "taken by training" in place.err
    assert place.run("other") == 0
    assert "No alerts." in place.out
