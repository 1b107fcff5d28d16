"""Whether a candidate takes over: fresh rows count, a sure gain counts, and each step leaves a whole judge in use."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import UserError
from router.estimate import Estimate, Judge
from router.judge_file import DEFAULT, load, save
from router.judge_folder import JudgeFolder
from router.learning import adoption
from router.learning.adoption import FreshRows, adopt, compare, fresh_rows, go_back, known_until
from router.query import Query
from tests.fakes import judges

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class FakeJudge(Judge):
    """Finds each question as difficult as it was told."""

    def __init__(self, difficulties: Mapping[str, float]) -> None:
        super().__init__(judges.weights())
        self._difficulties = difficulties

    def estimate(self, query: Query) -> Estimate:
        return super().estimate(query)._replace(difficulty=self._difficulties[query.text])


def rows(count: int = 200) -> FreshRows:
    """Every second question is too hard for the small model."""
    small = np.array([float(place % 2) for place in range(count)])
    return FreshRows([f"q{place}" for place in range(count)], small, np.ones(count), 0)


def good_judge(fresh: FreshRows, *, slips: int = 0) -> Judge:
    """Knows which are hard, but for the first few."""
    return FakeJudge(
        {
            prompt: (1 - small if place >= slips else small) * 0.8 + place / 10_000
            for place, (prompt, small) in enumerate(zip(fresh.prompts, fresh.small.tolist(), strict=True))
        }
    )


def blind_judge(fresh: FreshRows) -> Judge:
    """Knows nothing."""
    values = np.random.default_rng(1).random(len(fresh.prompts)).tolist()
    return FakeJudge(dict(zip(fresh.prompts, values, strict=True)))


def test_a_judge_that_sees_more_is_better_and_the_other_way_round_is_not() -> None:
    fresh = rows()
    verdict = compare(blind_judge(fresh), good_judge(fresh), fresh, 0.5, draws=200)
    assert verdict.is_better
    assert verdict.candidate_apgr > verdict.in_use_apgr + 0.1
    assert verdict.ci_low < verdict.gain < verdict.ci_high
    assert verdict.candidate_large_ratio == pytest.approx(0.5)
    back = compare(good_judge(fresh), blind_judge(fresh), fresh, 0.5, draws=200)
    assert not back.is_better
    assert back.ci_high < 0
    assert back.gain == pytest.approx(-verdict.gain)


def test_a_difference_that_may_be_chance_is_no_gain() -> None:
    fresh = rows()
    verdict = compare(good_judge(fresh, slips=2), good_judge(fresh), fresh, 0.5, draws=200)
    assert verdict.ci_high > 0
    assert not verdict.is_better
    same = compare(good_judge(fresh), good_judge(fresh), fresh, 0.5, draws=200)
    assert (same.gain, same.ci_low, same.ci_high) == (0, 0, 0)
    assert not same.is_better


def test_too_few_rows_are_refused_with_what_to_do() -> None:
    few = rows(adoption.MIN_ROWS - 1)._replace(too_old=7)
    with pytest.raises(UserError, match=r"99 rows that no judge has learned from; 7 more are older .* At least 100"):
        compare(good_judge(few), good_judge(few), few, 0.5)


def test_rows_on_which_the_large_model_is_no_better_are_refused() -> None:
    level = rows()._replace(large=rows().small)
    with pytest.raises(UserError, match="does no better than the small one"):
        compare(good_judge(level), good_judge(level), level, 0.5)


def stored(path: Path, *given: tuple[str, timedelta]) -> Path:
    lines = [
        json.dumps({"prompt": prompt, "small": 0.5, "large": 1, "at": (NOW + later).isoformat()})
        for prompt, later in given
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_only_new_questions_after_both_judges_count(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    one = stored(tmp_path / "1.jsonl", ("old", -hour), ("new", hour), ("again", hour))
    two = stored(tmp_path / "2.jsonl", ("again", 2 * hour), ("old", hour), ("newer", 3 * hour))
    with two.open("a") as file:
        file.write('{"prompt": "half')
    fresh = fresh_rows([two, one], NOW)
    assert list(fresh.prompts) == ["new", "again", "newer"]
    assert fresh.too_old == 3
    assert (fresh.small.tolist(), fresh.large.tolist()) == ([0.5] * 3, [1.0] * 3)


@pytest.mark.parametrize(
    "line", ['{"prompt": "a", "small": 1, "large": 1}', '{"small": 1, "large": 1, "at": "2026-01-01"}',
             '{"prompt": "a", "small": "x", "large": 1, "at": "2026-01-01"}',
             '{"prompt": "a", "small": 1, "large": 1, "at": "yesterday"}'],
)  # fmt: skip
def test_a_row_without_what_is_needed_is_named(tmp_path: Path, line: str) -> None:
    path = stored(tmp_path / "rows.jsonl", ("good", timedelta()))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"line 2: a row to compare judges on has prompt, small, large and the time"):
        fresh_rows([path], NOW)


@pytest.fixture
def folder(tmp_path: Path) -> JudgeFolder:
    """A state folder with a candidate, seed 1, and nothing adopted."""
    folder = JudgeFolder(tmp_path)
    folder.folder.mkdir()
    save(judges.weights(1), folder.candidate)
    return folder


def seed_of(path: Path) -> int | None:
    """Which of the test's judges lies there, by its digest; None if none lies there."""
    if not path.exists():
        return None
    ngrams = load(path).ngrams
    return next(seed for seed in range(5) if np.array_equal(judges.weights(seed).ngrams, ngrams))


def lying(folder: JudgeFolder) -> tuple[int | None, ...]:
    return tuple(seed_of(path) for path in (folder.in_use, folder.previous, folder.candidate))


def test_an_adopted_judge_is_in_use_and_the_one_before_is_kept(folder: JudgeFolder) -> None:
    assert folder.chosen(None) == DEFAULT
    adopt(folder)
    assert lying(folder) == (1, None, None)
    save(judges.weights(2), folder.candidate)
    adopt(folder)
    assert lying(folder) == (2, 1, None)
    assert folder.chosen(None) == folder.in_use
    with pytest.raises(UserError, match="There is no candidate"):
        adopt(folder)
    assert lying(folder) == (2, 1, None)
    assert sorted(path.name for path in folder.folder.iterdir()) == [".lock", "in_use.judge", "previous.judge"]


def test_going_back_and_back_again_changes_nothing(folder: JudgeFolder) -> None:
    adopt(folder)
    save(judges.weights(2), folder.candidate)
    adopt(folder)
    assert go_back(folder) == folder.in_use
    assert lying(folder) == (1, 2, None)
    go_back(folder)
    assert lying(folder) == (2, 1, None)


def test_going_back_from_the_first_adopted_judge_ends_at_the_shipped_one(folder: JudgeFolder) -> None:
    with pytest.raises(UserError, match="there is nothing to go back to"):
        go_back(folder)
    adopt(folder)
    assert go_back(folder) == DEFAULT
    assert lying(folder) == (None, 1, None)
    assert go_back(folder) == folder.in_use
    assert lying(folder) == (1, None, None)


def test_what_was_before_the_shipped_one_is_not_mistaken_for_it(folder: JudgeFolder) -> None:
    adopt(folder)
    go_back(folder)
    save(judges.weights(3), folder.candidate)
    adopt(folder)
    assert go_back(folder) == DEFAULT


def test_a_kill_between_two_steps_can_be_followed_by_the_same_command(
    folder: JudgeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt(folder)
    save(judges.weights(2), folder.candidate)
    # As if it had been killed when the present one had been kept.
    adoption._copy(folder.in_use, folder.previous)
    assert lying(folder) == (1, 1, 2)
    adopt(folder)
    assert lying(folder) == (2, 1, None)


def test_two_do_not_adopt_at_once(folder: JudgeFolder) -> None:
    with adoption._alone(folder), pytest.raises(UserError, match="Another process is adopting"):
        adopt(folder)
    assert lying(folder) == (None, None, 1)


def test_rows_count_from_when_the_younger_judge_was_made_and_adopting_does_not_make_it_younger(
    folder: JudgeFolder,
) -> None:
    os.utime(folder.candidate, (1000, 1000))
    assert known_until(folder, DEFAULT).timestamp() == 1000
    adopt(folder)
    save(judges.weights(2), folder.candidate)
    os.utime(folder.candidate, (3000, 3000))
    assert known_until(folder, folder.in_use).timestamp() == 3000
    adopt(folder)
    save(judges.weights(3), folder.candidate)
    os.utime(folder.candidate, (2000, 2000))
    assert known_until(folder, folder.in_use).timestamp() == 3000
    assert [path.stat().st_mtime for path in _files(folder)] == [3000, 1000]


def _files(folder: JudgeFolder) -> Sequence[Path]:
    return folder.in_use, folder.previous
