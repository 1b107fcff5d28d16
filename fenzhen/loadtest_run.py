"""`fenzhen loadtest run`: put a plan's load on a stack, and report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.settings import Settings
from fenzhen.loadtest_needs import require_packages
from fenzhen.loadtest_progress import LoadView
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from loadtests.place import Place, place_of
from loadtests.plan import Plan
from loadtests.plan_file import read_plan
from loadtests.records.run import Run
from loadtests.records.run_folder import RunFolder, new_run

_INTERRUPTED = 130


@click.command()
@config_options
@json_option
@click.argument("plan_name", metavar="[PLAN]", default="mixed")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Say otherwise: --set stages.0.seconds=30")
@click.option("--url", metavar="URL", help="Whom to ask. [default: the stack that runs here]")
@click.option("--elsewhere", is_flag=True, help="URL is another machine, and it is meant to be put under load.")
@click.option("--model", metavar="NAME", help="The model asked for. [default: the plan's, usually auto]")
@click.option("--fault", "faults", multiple=True, metavar="FAULT", help="Break something: kill-engine:NAME@30s")
@click.option("--may-fill-disk", is_flag=True, help="Let fill-disk fill a disk that others use, too.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="[default: STATE_DIR/loadtests/NAME-TIME]"
)
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the generator, here.")
@click.option(
    "--expect-workers", type=click.IntRange(0), default=0, help="Wait for `fenzhen loadtest worker` elsewhere."
)
@click.option("--master-bind-host", default="127.0.0.1", show_default=True, help="Where those workers connect.")
@click.option("--master-bind-port", type=click.IntRange(1, 65535), default=5557, show_default=True)
@click.option("--fail-on", type=click.Choice(["slo", "errors", "never"]), default="slo", show_default=True)
def run(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    plan_name: str,
    overrides: tuple[str, ...],
    url: str | None,
    elsewhere: bool,
    model: str | None,
    faults: tuple[str, ...],
    may_fill_disk: bool,
    output: Path | None,
    processes: int,
    expect_workers: int,
    master_bind_host: str,
    master_bind_port: int,
    fail_on: str,
) -> int:
    """Put the load of PLAN, a file or a name of `fenzhen loadtest plan --list`, on the running stack, and report.

    The exit code is 1 if the promise (the plan's `slo`) is not kept; with --fail-on errors only if a request failed,
    so that the speed of a machine decides nothing. Ctrl-C ends the load in order, with a report on what there is.
    """
    from loadtests.run import Workers, document_in, run_plan

    printed = Output(as_json)
    require_packages()
    plan = planned(read_plan(plan_name, overrides), model, faults)
    settings, _ = load(config, profile_name)
    place = tested_by(settings, plan, url, elsewhere=elsewhere)
    folder = RunFolder(output.expanduser().absolute()) if output else new_run(settings.site.state_dir, plan.name)
    workers = Workers(processes, expect_workers, master_bind_host, master_bind_port)
    printed.say(
        f"{plan.name}: {plan.seconds:g} s of load on {place.url} ({place.tested or 'not a stack of this machine'})"
    )
    with LoadView(printed.progress, plan) as view:
        done = run_plan(
            plan,
            place,
            folder,
            workers,
            view.show,
            on_workers=lambda count: (
                view.say(f"{count} of {expect_workers} workers have come") if expect_workers else None
            ),
            may_fill_disk=may_fill_disk,
        )
    document = document_in(folder)
    printed.result(document, view_of(done, document))
    printed.say(f"report: {folder.page}")
    return status_of(done, document, fail_on)


def planned(plan: Plan, model: str | None, faults: Sequence[str] = ()) -> Plan:
    """The plan with what the command line says otherwise."""
    if model is not None:
        plan = plan.model_copy(update={"target": plan.target.model_copy(update={"model": model})})
    return plan.model_copy(update={"faults": (*plan.faults, *faults)}) if faults else plan


def tested_by(settings: Settings, plan: Plan, url: str | None, *, elsewhere: bool) -> Place:
    """What the load is put on. Raises UserError, Unavailable."""
    return place_of(settings, url or plan.target.url, plan.target.engine_urls, elsewhere=elsewhere)


def view_of(done: Run, document: dict[str, Any]) -> RenderableType:
    """For a person: the verdict, and the figures of all and of each model."""
    table = Table(box=None, pad_edge=False)
    # Two lines a heading: it all stands in 80 columns.
    titles = (
        "",
        "asked",
        "failed",
        "goodput\n1/s",
        "first\np50",
        "first\np99",
        "TPOT\np50",
        "whole\np50",
        "tokens\n1/s",
    )
    for title in titles:
        table.add_column(title, justify="left" if not title else "right", no_wrap=bool(title))
    rows = {"all": document["figures"], **document["slices"].get("model", {})}
    for name, figures in rows.items():
        table.add_row(
            name or "(none)",
            f"{figures['requests']:,}",
            f"{sum(figures['errors'].values()):,}",
            f"{figures['goodput_rps']:.2f}",
            _ms(figures["first"], "p50_s"),
            _ms(figures["first"], "p99_s"),
            _ms(figures["tpot"], "p50_s"),
            _ms(figures["e2e"], "p50_s"),
            f"{figures['output_tokens_per_s']:,.0f}",
        )
    lines = [document["verdict"]["sentence"], document["generator"]["sentence"], done.about.message]
    lines += [f"{mark.at_s:.0f} s: {mark.text}" for mark in done.marks]
    return Group(table, Text("\n".join(line for line in lines if line)))


def _ms(spread: dict[str, float] | None, name: str) -> str:
    return "-" if spread is None else f"{spread[name] * 1000:,.0f} ms"


def status_of(done: Run, document: dict[str, Any], fail_on: str) -> int:
    """The exit code of a run."""
    if done.about.outcome == "interrupted":
        return _INTERRUPTED
    if done.about.outcome == "failed":
        return 1
    if fail_on == "never":
        return 0
    if fail_on == "errors":
        figures = document["figures"]
        return 1 if figures["errors"] or not figures["answered"] else 0
    return 0 if document["verdict"]["is_met"] is not False else 1
