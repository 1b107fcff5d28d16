"""`fenzhen loadtest compare`: what differs between two runs beyond noise."""

from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.errors import UserError
from fenzhen.loadtest_needs import require_packages
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from loadtests.judging.comparison import Comparison, Row, as_document, shown
from loadtests.judging.comparison import compare as compared
from loadtests.page.comparison_page import write_comparison
from loadtests.records.run import Run
from loadtests.records.run_folder import find_run, read_run


@click.command()
@config_options
@json_option
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write it as a page for people, too.")
@click.option("--allow-different", is_flag=True, help="Compare runs of different plans all the same, and say so.")
def compare(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    run_a: str,
    run_b: str,
    page: Path | None,
    allow_different: bool,
) -> int:
    """Say what is better or worse in RUN_B than in RUN_A, and how sure that is.

    A run is named by its folder, its name, the beginning of one, or `last`. The exit code is 1 if anything is worse
    outside noise: CI can ask for it.
    """
    if page is not None:
        require_packages()
    settings, _ = load(config, profile_name)
    folders = [find_run(settings.site.state_dir, name) for name in (run_a, run_b)]
    if folders[0] == folders[1]:
        raise UserError(f"{run_a} and {run_b} are the same run")
    a, b = (read_run(folder) for folder in folders)
    comparison = compared(a, b, allow_different)
    output = Output(as_json)
    names = {"a": str(folders[0].path), "b": str(folders[1].path)}
    output.result(names | as_document(comparison), view_of(comparison, folders[0].path.name, folders[1].path.name))
    if page is not None:
        _write(page, comparison, a, b)
        output.say(f"page: {page}")
    return 1 if comparison.is_worse else 0


def _write(page: Path, comparison: Comparison, a: Run, b: Run) -> None:
    try:
        write_comparison(page.expanduser().absolute(), comparison, a, b)
    except OSError as error:
        raise UserError(f"{page} cannot be written: {error.strerror}") from error


def view_of(comparison: Comparison, name_a: str, name_b: str) -> RenderableType:
    """For a person: the result, all rows, and what must be known."""
    table = Table(box=None, pad_edge=False)
    for title in ("figure", "A", "B", "B less A", "95 % interval", ""):
        table.add_column(title, justify="left" if title in ("figure", "") else "right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(
            row.title, shown(row.a, row.unit), shown(row.b, row.unit), _less(row), _interval(row), row.finding
        )
    return Group(
        Text(f"A: {name_a}\nB: {name_b}\n{comparison.sentences[0]}"),
        table,
        *(Text(note) for note in comparison.notes),
    )


def _less(row: Row) -> str:
    # A share's difference is told in points: 2 % of 1 % helps nobody.
    if row.relative is None or row.unit == "ratio":
        return shown(row.difference, row.unit, sign=True)
    return f"{100 * row.relative:+.1f} %"


def _interval(row: Row) -> str:
    if row.low is None:
        return ""
    return f"{shown(row.low, row.unit, sign=True)} to {shown(row.high, row.unit, sign=True)}"
