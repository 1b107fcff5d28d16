"""The parts of a stack are built from settings alone, and what would fail in a replica is told before."""

from pathlib import Path

import pytest

from cluster.directory import Endpoint, Table
from cluster.errors import UserError
from cluster.settings_file import profile
from fenzhen.app import router_part

TINY = profile("tiny")


class EmptyDirectory:
    """Nobody reports."""

    async def report(self, *endpoints: Endpoint) -> None:
        """Not kept."""

    async def forget(self, *endpoint_ids: str) -> None:
        """Nothing is there."""

    async def read(self, known_version: int, timeout_s: float) -> Table:
        """The empty table."""
        return Table(0, ())


@pytest.mark.parametrize("content", [None, b"", b"not a judge"])
def test_a_router_without_a_judge_is_refused_before_it_starts(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.judge"
    if content is not None:
        path.write_bytes(content)
    judging = TINY.judging.model_copy(update={"judge": path})
    with pytest.raises(UserError, match=r"own\.judge"):
        router_part(TINY.model_copy(update={"judging": judging}), EmptyDirectory())


def test_the_shipped_judge_is_there() -> None:
    assert router_part(TINY, EmptyDirectory()).arguments["judging"].judge is None
