"""What was compiled is kept, for this state of the sources only."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core import config

from router import compiled


def test_each_state_of_the_sources_has_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CACHE_DIR", tmp_path)
    kept = config.CACHE_DIR
    try:
        place = compiled.keep_compiled()
        assert place.parent == tmp_path
        assert compiled.keep_compiled() == place
        (tmp_path / "sources").mkdir()
        for source in Path(compiled.__file__).parent.glob("*.py"):
            (tmp_path / "sources" / source.name).write_bytes(source.read_bytes() + b"\n# changed")
        monkeypatch.setattr(compiled, "__file__", str(tmp_path / "sources" / "compiled.py"))
        assert compiled.keep_compiled() != place
    finally:
        config.CACHE_DIR = kept


def test_what_no_start_has_used_for_a_month_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CACHE_DIR", tmp_path)
    kept = config.CACHE_DIR
    try:
        old, young, now = tmp_path / "old", tmp_path / "young", time.time()
        for place, days in ((old, 31), (young, 29)):
            place.mkdir()
            (place / "a.nbi").write_bytes(b"")
            os.utime(place, (now - days * 86400,) * 2)
        place = compiled.keep_compiled()
        assert set(tmp_path.iterdir()) == {young, place}
    finally:
        config.CACHE_DIR = kept


def test_without_a_place_to_write_it_is_compiled_for_this_start_only(tmp_path: Path) -> None:
    blocked = tmp_path / "home"
    blocked.write_text("not a folder")
    script = "from router.affinity import place_of; import numpy as np; print(place_of(np.zeros(1, np.uint32)))"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env={"HOME": str(blocked), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) > 0
    assert list(tmp_path.iterdir()) == [blocked], "what was compiled goes with the process"
