"""A desk for each test of `fenzhen router`."""

from pathlib import Path

import pytest

from tests.unit.fenzhen.router_commands import Desk


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)
