"""Charts as they stand in a page."""

import re

import matplotlib as mpl
import pytest

from loadtests.page.drawing import SERIES, counts, log_durations, seconds_axis, sheet, y_title


def drawn(label: str = "a chart", marker: str = "o") -> str:
    with sheet(heights=(1.0, 1.0)) as one:
        for axes in one.axes:
            axes.plot([0, 50, 100], [0.001, 0.25, 40], color=SERIES[0], marker=marker)
        log_durations(one.axes[0])
        counts(one.axes[1])
        y_title(one.axes[0], "first token")
        seconds_axis(one.axes[1], 0, 100)
        return str(one.svg(label))


def test_text_stays_text_and_the_page_chooses_its_font() -> None:
    svg = drawn()
    assert ">first token</text>" in svg
    assert "font-family" not in svg
    assert ">10 ms</text>" in svg


def test_colours_are_the_pages_variables() -> None:
    svg = drawn()
    assert "var(--c1)" in svg
    assert not re.findall(r"#[0-9a-f]{6}\b(?!\w)", svg)


def test_no_id_stands_there_unless_something_refers_to_it() -> None:
    svg = drawn()
    ids = set(re.findall(r' id="([^"]+)"', svg))
    assert ids == set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    assert not [name for name in ids if name.startswith(("figure", "axes", "patch"))]


def test_a_chart_is_the_same_each_time() -> None:
    assert drawn() == drawn()


def test_the_label_is_escaped() -> None:
    assert 'aria-label="a &#34;b&#34; &lt;c&gt;"' in drawn('a "b" <c>')


def test_figures_in_labels_are_not_rounded_with_the_paths() -> None:
    with sheet() as one:
        y_title(one.axes[0], "limit 0.12345")
        assert "limit 0.12345" in one.svg("x")


@pytest.mark.parametrize(
    ("end_s", "title", "tick"),
    [(8.0, "seconds", "2"), (180.0, "seconds", "100"), (3600.0, "minutes", "50"), (86400.0, "hours", "12")],
)
def test_time_is_counted_in_what_people_would_count_it_in(end_s: float, title: str, tick: str) -> None:
    with sheet() as one:
        one.axes[0].plot([0, end_s], [1, 2])
        seconds_axis(one.axes[0], 0, end_s)
        svg = one.svg("x")
    assert f"{title} since the run began</text>" in svg
    assert f">{tick}</text>" in svg


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    def settings() -> dict[str, object]:
        # Which backend it is gets settled by the first figure of whomever.
        return {name: value for name, value in mpl.rcParams.copy().items() if name != "backend"}

    before = settings()
    drawn()
    assert settings() == before
