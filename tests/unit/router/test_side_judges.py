"""The judges that versions of `auto` bring along."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.traffic import Side, Split, Traffic
from router import side_judges
from router.estimate import Judge
from router.judge_file import save
from router.side_judges import SideJudges
from tests.fakes.judges import weights


def traffic(*paths: Path | str) -> Traffic:
    first, *others = [Side(number, "", "", judge=str(path)) for number, path in enumerate(paths)]
    return Traffic(1, (Split("auto", first, others[0] if others else None),), ())


class Taken:
    def __init__(self) -> None:
        self.all: list[Mapping[str, Judge]] = []

    def __call__(self, judges: Mapping[str, Judge]) -> None:
        self.all.append(judges)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[SideJudges, Taken]]:
    taken = Taken()
    judges = SideJudges(taken)
    task = asyncio.create_task(judges.run())
    try:
        yield judges, taken
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=2)


async def wanted(judges: SideJudges, *paths: Path | str) -> None:
    judges.want(traffic(*paths))
    await asyncio.wait_for(judges.settled(), 5)


async def test_what_splits_name_is_loaded_and_what_they_name_no_more_is_let_go_of(tmp_path: Path) -> None:
    one, two = tmp_path / "one.judge", tmp_path / "two.judge"
    for seed, path in enumerate((one, two)):
        save(weights(seed), path)
    async with running() as (judges, taken):
        await asyncio.wait_for(judges.settled(), 1)
        await wanted(judges, one)
        await wanted(judges, one, two)
        await wanted(judges, two, "")
        await wanted(judges, "")
    assert [set(each) for each in taken.all] == [{str(one)}, {str(one), str(two)}, {str(two)}, set()]
    assert taken.all[0][str(one)] is taken.all[1][str(one)]


async def test_a_file_that_is_missing_or_damaged_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_judges, "_RETRY_S", 0.02)
    good, late = tmp_path / "good.judge", tmp_path / "late.judge"
    save(weights(0), good)
    late.write_bytes(b"not a judge")
    async with running() as (judges, taken):
        await wanted(judges, good, late)
        assert set(taken.all[-1]) == {str(good)}
        await asyncio.sleep(0.2)
        assert caplog.text.count("takes no requests") == 1
        save(weights(1), late)
        async with asyncio.timeout(5):
            while set(taken.all[-1]) != {str(good), str(late)}:
                await asyncio.sleep(0.02)
