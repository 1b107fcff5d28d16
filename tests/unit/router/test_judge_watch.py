"""A judge's file is taken over when it changes, once, and only if it is one."""

import logging
from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.settings import Judging
from router.estimate import Judge
from router.judge_file import save
from router.judge_watch import Judges, JudgeWatch
from tests.fakes import judges


class Taken:
    """Who takes what a watch hands over."""

    def __init__(self) -> None:
        self.judges: list[Judge | None] = []

    def __call__(self, judge: Judge | None) -> None:
        self.judges.append(judge)


def put(seed: int, path: Path) -> None:
    """Replace a judge as `adopt` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    save(judges.weights(seed), fresh)
    fresh.replace(path)


async def test_each_change_is_handed_over_once(tmp_path: Path) -> None:
    path, taken = tmp_path / "a.judge", Taken()
    watch = JudgeWatch(lambda: path, taken)
    await watch.look()
    assert taken.judges == []
    for seed in (1, 2):
        put(seed, path)
        await watch.look()
        await watch.look()
    assert len(taken.judges) == 2
    path.unlink()
    await watch.look()
    await watch.look()
    assert taken.judges[2:] == [None]


async def test_a_broken_file_is_told_once_and_the_next_good_one_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, taken = tmp_path / "a.judge", Taken()
    watch = JudgeWatch(lambda: path, taken)
    put(1, path)
    with caplog.at_level(logging.ERROR):
        path.write_bytes(path.read_bytes()[:-1])
        await watch.look()
        await watch.look()
    assert caplog.text.count("The judge before it stays.") == 1
    assert taken.judges == []
    put(2, path)
    await watch.look()
    assert len(taken.judges) == 1


async def test_what_a_replica_began_with_is_not_taken_again(tmp_path: Path) -> None:
    put(1, tmp_path / "judges" / "in_use.judge")
    both, taken = Judges(Judging(), tmp_path), Taken()
    assert both.begin().card.name == "test"
    watch = both.in_use(taken)
    await watch.look()
    assert taken.judges == []
    (tmp_path / "judges" / "in_use.judge").unlink()
    await watch.look()
    (shipped,) = taken.judges
    assert shipped is not None
    assert shipped.card.name != "test"


async def test_a_named_judge_is_the_one_whatever_is_adopted(tmp_path: Path) -> None:
    put(1, tmp_path / "judges" / "in_use.judge")
    named = tmp_path / "named.judge"
    both = Judges(Judging(judge=named), tmp_path)
    with pytest.raises(UserError, match=r"named\.judge cannot be read"):
        both.begin()
    put(2, named)
    both.begin()
    taken = Taken()
    watch = both.in_use(taken)
    put(1, tmp_path / "judges" / "in_use.judge")
    await watch.look()
    assert taken.judges == []
    put(3, named)
    await watch.look()
    assert len(taken.judges) == 1


def test_a_broken_adopted_judge_gives_way_to_the_shipped_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "judges" / "in_use.judge"
    path.parent.mkdir()
    path.write_bytes(b"no judge")
    assert Judges(Judging(), tmp_path).begin().card.name != "test"
    assert "The shipped judge is used instead." in caplog.text
    assert Judges(Judging(), None).begin().card.name != "test"
