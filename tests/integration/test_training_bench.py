import json
from pathlib import Path

import pytest

from tests.fakes.tiny_lm import make_tiny_lm
from training.bench.__main__ import main


# Three processes that import torch and TRL: 25 s on two idle cores.
@pytest.mark.timeout(600)
def test_the_bench_of_speed_trains_the_same_batches_thrice_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside other tests threads would wait for one another.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    base, report = make_tiny_lm(tmp_path / "tiny"), tmp_path / "training.json"
    assert main(["speed", "--quick", "--base", str(base), "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["tokens_per_s_ratio"] > 0
    assert found["peak_memory_ratio"] > 0
    speed = found["speed"]
    # It would not have compared them else; learnt was something, too, and by each as much as by the others.
    first, last = speed["first_loss"], speed["last_loss"]
    assert all(last[kind] < first[kind] for kind in first)
    assert max(last.values()) - min(last.values()) < 0.05
    assert found["environment"]["torch"]
