"""`fenzhen loadtest runs`: the load tests that were run here."""

import time
from pathlib import Path
from typing import Any

import click
import orjson
from rich.table import Table

from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from loadtests.records.run_folder import RunFolder, run_folders


@click.command()
@config_options
@json_option
def runs(config: Path | None, profile_name: str | None, as_json: bool) -> None:
    """List the runs, the last one at the end."""
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    documents = [_document(folder) for folder in run_folders(settings.site.state_dir)]
    if not documents:
        output.say("There are no runs yet; `fenzhen loadtest run` makes one.")
    output.result(documents, _table(documents) if documents else "")


def _document(folder: RunFolder) -> dict[str, Any]:
    """A run's figures; without a report only its name and when it began."""
    document: dict[str, Any] = {
        "run": folder.path.name,
        "folder": str(folder.path),
        "began_unix_s": folder.plan.stat().st_mtime,
        "verdict": None,
        "figures": None,
    }
    if folder.figures.exists():
        report = orjson.loads(folder.figures.read_bytes())
        document |= {"verdict": report["verdict"], "figures": report["figures"]}
    return document


def _table(documents: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("run", "began", "requests", "errors", "goodput/s", "first p99", "promise"):
        table.add_column(title, justify="left" if title in ("run", "began", "promise") else "right", no_wrap=True)
    for document in documents:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(document["began_unix_s"]))
        figures, verdict = document["figures"], document["verdict"]
        if figures is None:
            table.add_row(document["run"], began, "", "", "", "", "no report: it runs, or was killed")
            continue
        first = figures["first"]
        table.add_row(
            document["run"], began, f"{figures['requests']:,}", f"{sum(figures['errors'].values()):,}",
            f"{figures['goodput_rps']:.2f}", "-" if first is None else f"{first['p99_s'] * 1000:,.0f} ms",
            {True: "kept", False: "not kept", None: "too few to tell"}[verdict["is_met"]],
        )  # fmt: skip
    return table
