"""The parts of a stack are built from settings alone, and what would fail in a replica is told before."""

from pathlib import Path

import pytest

from cluster.clock import MonotonicClock
from cluster.directory_holder import DirectoryHolder
from cluster.errors import UserError
from cluster.settings_file import profile
from fenzhen.app import router_part

TINY = profile("tiny")


@pytest.mark.parametrize("content", [None, b"", b"not a judge"])
def test_a_router_without_a_judge_is_refused_before_it_starts(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.judge"
    if content is not None:
        path.write_bytes(content)
    judging = TINY.judging.model_copy(update={"judge": path})
    with pytest.raises(UserError, match=r"own\.judge"):
        router_part(TINY.model_copy(update={"judging": judging}), DirectoryHolder(MonotonicClock()))


def test_the_shipped_judge_is_there() -> None:
    assert router_part(TINY, DirectoryHolder(MonotonicClock())).arguments["judging"].judge is None
