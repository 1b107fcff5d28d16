"""`fenzhen loadtest search`: the highest load at which the promise is kept, and what happens beyond."""

from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fenzhen.loadtest_needs import require_packages
from fenzhen.loadtest_progress import LoadView
from fenzhen.loadtest_run import planned, tested_by
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from loadtests.plan import Plan
from loadtests.plan_file import read_plan
from loadtests.records.run import Run
from loadtests.records.run_folder import RunFolder, new_run
from loadtests.search.probe import shape_of
from loadtests.search.report import ProbeReport, SearchReport
from loadtests.search.search import search as searched
from loadtests.search.seeker import Aim
from registry.disk import write_durably

_INTERRUPTED = 130
# A probe that needs more requests is made so much longer at most.
_LONGER = 5


@click.command()
@config_options
@json_option
@click.argument("plan_name", metavar="[PLAN]", default="mixed")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Say otherwise: --set slo.ttft_s=1")
@click.option("--url", metavar="URL", help="Whom to ask. [default: the stack that runs here]")
@click.option("--elsewhere", is_flag=True, help="URL is another machine, and it is meant to be put under load.")
@click.option("--model", metavar="NAME", help="The model asked for. [default: the plan's, usually auto]")
@click.option(
    "--from-rate",
    type=click.FloatRange(0.01, 10_000),
    metavar="RATE",
    help="Begin with so many requests a second. [default: the plan's]",
)
@click.option(
    "--precision",
    type=click.FloatRange(0.02, 1),
    default=0.1,
    show_default=True,
    help="End once the lowest rate that failed is so little above the highest that held.",
)
@click.option(
    "--probe-seconds", type=click.FloatRange(5, 3600), default=60, show_default=True, help="Measured, for each rate."
)
@click.option(
    "--max-minutes", type=click.FloatRange(1, 24 * 60), default=60, show_default=True, help="For the whole search."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="[default: STATE_DIR/loadtests/search-NAME-TIME]",
)
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the generator, here.")
def search(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    plan_name: str,
    overrides: tuple[str, ...],
    url: str | None,
    elsewhere: bool,
    model: str | None,
    from_rate: float | None,
    precision: float,
    probe_seconds: float,
    max_minutes: float,
    output: Path | None,
    processes: int,
) -> int:
    """Find the highest rate at which PLAN's promise (its `slo`) is kept; then look at 1.5 and 3 times that.

    The rate that is searched is that of the plan's first stage that counts; all else stays as the plan says. A probe
    ends early once the queue only grows. The exit code is 1 if no rate keeps the promise. Ctrl-C keeps what was found.
    """
    from loadtests.page.search_page import write_search_page
    from loadtests.run import Workers, run_plan

    printed = Output(as_json)
    require_packages()
    plan = planned(read_plan(plan_name, overrides), model)
    aim = aim_of(plan, from_rate, precision, probe_seconds, max_minutes)
    settings, _ = load(config, profile_name)
    place = tested_by(settings, plan, url, elsewhere=elsewhere)
    folder = output.expanduser().absolute() if output else new_run(settings.site.state_dir, f"search-{plan.name}").path
    printed.say(
        f"{plan.name}: searching from {aim.start_per_s:g} requests/s on {place.url} "
        f"({place.tested or 'not a stack of this machine'}), {max_minutes:g} minutes at most"
    )

    def test(probe: Plan, name: str) -> Run:
        with LoadView(printed.progress, probe) as view:
            return run_plan(probe, place, RunFolder(folder / name), Workers(processes), view.show)

    def tell(report: SearchReport) -> None:
        # After each run: a search that is killed leaves what it knew.
        keep(folder, report)
        if not report.beyond:
            printed.say(f"  {report.probes[-1].sentence}")

    report, runs = searched(plan, aim, test, tell)
    keep(folder, report)
    write_search_page(folder / "search.html", report, runs)
    printed.result(report.model_dump(mode="json"), view_of(report))
    printed.say(f"report: {folder / 'search.html'}")
    return status_of(report)


def aim_of(plan: Plan, from_rate: float | None, precision_ratio: float, probe_s: float, most_minutes: float) -> Aim:
    """What the options say. Raises UserError for a plan without a rate."""
    return Aim(
        start_per_s=from_rate or shape_of(plan).rate_per_s,
        precision_ratio=precision_ratio,
        probe_s=probe_s,
        longest_s=_LONGER * probe_s,
        # Below it the longest probe has too few requests to tell anything.
        least_per_s=20 / (_LONGER * probe_s),
        most_s=most_minutes * 60,
    )


def keep(folder: Path, report: SearchReport) -> None:
    """Write search.json, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / "search.json", report.model_dump_json(indent=1) + "\n")


def view_of(report: SearchReport) -> RenderableType:
    """For a person: what it means, and each rate that was tried, the lowest first."""
    table = Table(box=None, pad_edge=False)
    for title in ("rate/s", "requests", "in time", "goodput/s", "errors", "first p50", "first p99", "promise"):
        table.add_column(title, justify="left" if title == "promise" else "right", no_wrap=True)
    for probe in sorted(report.probes, key=lambda probe: probe.rate_per_s):
        table.add_row(
            f"{probe.rate_per_s:g}", f"{probe.requests:,}", f"{probe.met_ratio:.1%}", f"{probe.goodput_rps:.2f}",
            f"{sum(probe.errors.values()):,}", _ms(probe.first_p50_s), _ms(probe.first_p99_s), _word(probe),
        )  # fmt: skip
    return Group(table, Text(""), Text("\n".join(report.sentences)))


def _word(probe: ProbeReport) -> str:
    if probe.is_generator:
        return "generator"
    if probe.saturated_at_s is not None:
        return "too much"
    return {True: "kept", False: "NOT kept", None: "unsure"}[probe.was_met]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"


def status_of(report: SearchReport) -> int:
    """The exit code of a search."""
    if report.ending == "interrupted":
        return _INTERRUPTED
    return 0 if report.safe_per_s is not None and report.ending != "failed" else 1
