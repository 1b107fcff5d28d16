import io

import pytest
from rich.console import Console

from fenzhen.progress import BarReporter, LineReporter, reporter


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_line_comes_at_the_start_at_each_tenth_and_at_the_end() -> None:
    said: list[str] = []
    clock = Clock()
    with LineReporter(said.append, clock) as progress:
        progress.stage("small: downloading", 100_000_000)
        for done in range(5_000_000, 100_000_001, 5_000_000):
            clock.now_s += 2.0
            progress.advance(done)
    assert said[0] == "small: downloading (100.0 MB)"
    assert said[1] == "  10%, 10.0 MB of 100.0 MB, 2.5 MB/s, 36 s left"
    assert said[-1] == "  done, 100.0 MB in 40 s"
    assert len(said) == 11


def test_a_transfer_that_is_over_in_seconds_has_no_steps() -> None:
    said: list[str] = []
    clock = Clock()
    with LineReporter(said.append, clock) as progress:
        progress.stage("small: checking", 100_000_000)
        for done in range(5_000_000, 100_000_001, 5_000_000):
            clock.now_s += 0.1
            progress.advance(done)
    assert said == ["small: checking (100.0 MB)", "  done, 100.0 MB in 2 s"]


def test_a_slow_transfer_is_heard_of_every_15_s() -> None:
    said: list[str] = []
    clock = Clock()
    progress = LineReporter(said.append, clock)
    progress.stage("small: downloading", 1_000_000_000)
    for second in range(1, 46):
        clock.now_s = float(second)
        progress.advance(second * 1000)
    assert len(said) == 1 + 3


def test_an_amount_not_known_beforehand_has_no_share() -> None:
    said: list[str] = []
    clock = Clock()
    with LineReporter(said.append, clock) as progress:
        progress.stage("small: converting", None)
        clock.now_s = 20.0
        progress.advance(40_000_000)
        progress.note("half of it")
    assert said == ["small: converting", "  40.0 MB, 2.0 MB/s", "half of it", "  done, 40.0 MB in 20 s"]


def test_a_stage_that_an_error_ended_is_not_called_done() -> None:
    said: list[str] = []
    with pytest.raises(OSError, match="disk full"), LineReporter(said.append) as progress:  # noqa: PT012
        progress.stage("small: downloading", 10)
        raise OSError("disk full")
    assert said == ["small: downloading (10 bytes)"]


def test_a_new_stage_ends_the_one_before() -> None:
    said: list[str] = []
    with LineReporter(said.append, Clock()) as progress:
        progress.stage("one", None)
        progress.stage("two", None)
    assert said == ["one", "  done, in 0 s", "two", "  done, in 0 s"]


def test_a_bar_moves_on_a_terminal_only() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    pipe = Console(file=io.StringIO(), force_terminal=False)
    assert isinstance(reporter(terminal), BarReporter)
    assert isinstance(reporter(pipe), LineReporter)


def test_a_bar_leaves_the_first_and_the_last_line_and_fits_80_columns() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None, markup=False, highlight=False)
    with reporter(console) as progress:
        progress.stage("small: downloading [weights]", 491_400_064)
        progress.advance(245_700_032)
        progress.note("a remark")
        progress.advance(491_400_064)
    text = out.getvalue()
    assert "small: downloading [weights] (491.4 MB)\n" in text
    assert "a remark\n" in text
    assert "  done, 491.4 MB in 0 s\n" in text
    assert "…" not in text
