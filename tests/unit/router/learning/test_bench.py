"""The benchmark's frame: its targets, its table and its answer to data that is not there."""

from pathlib import Path

import pytest

from router.learning.bench import TARGETS, as_json, line, main
from router.learning.curve import RatingWithInterval
from router.learning.measuring import Measured, protocols
from tests.fakes.judges import rows

RATING = RatingWithInterval(0.6612345, 0.25, 0.5, 0.6, 0.7)


def test_every_target_has_a_protocol() -> None:
    small = Measured(rows(40))
    sets = dict.fromkeys(("mmlu", "gsm8k", "mt_bench", "lexeval", "llm_router"), small)
    names = [protocol.name for protocol in protocols(sets)]
    assert set(TARGETS) <= set(names)
    assert len(set(names)) == len(names)


def test_the_document_holds_what_was_agreed() -> None:
    assert as_json({"mmlu_5fold": RATING}) == {
        "mmlu_5fold": {"apgr": 0.6612, "cpt50": 0.25, "cpt80": 0.5, "ci_low": 0.6, "ci_high": 0.7}
    }


def test_a_line_says_whether_the_target_is_met() -> None:
    assert line("mmlu_5fold", RATING).endswith("0.66 met")
    assert line("lexeval_5fold", RATING).endswith("1.20 MISSED")
    assert "0.661" in line("anything else", RATING)


def test_data_that_is_not_there_is_one_sentence_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 2
    assert "routellm_mmlu.jsonl.gz cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
