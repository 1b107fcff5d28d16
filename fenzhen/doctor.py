"""`fenzhen doctor`: the checks before a start, as a table."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.checks import doctor as checked
from cluster.finding import Finding, worst
from cluster.settings import FolderSource, Model, Settings
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from registry.store import DamagedError, ModelStore
from serving.remote import look_once

# What keeps one server away mostly keeps its neighbours away, too.
_MAX_NAMED = 5
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@config_options
@json_option
def doctor(config: Path | None, profile_name: str | None, as_json: bool) -> int:
    """Check whether this machine can run the configuration.

    Looks only, changes nothing. Exit code 0: it can, 1: a check failed.
    """
    settings, label = load(config, profile_name)
    output = Output(as_json)
    findings = (*checked(settings, present_models(settings, output)), *_endpoints(settings))
    verdict = worst(findings)
    document = {"configuration": label, "verdict": verdict, "findings": [asdict(finding) for finding in findings]}
    output.result(document, _view(label, findings))
    return 1 if verdict == "fail" else 0


def _endpoints(settings: Settings) -> list[Finding]:
    """Whether the servers that run already answer. Not a failure: `fenzhen up` waits for them."""
    if not settings.external_pools:
        return []
    troubles = asyncio.run(look_once(settings.external_pools))
    total = sum(len(pool.endpoints) for pool in settings.external_pools)
    if not troubles:
        return [Finding("endpoints", "ok", f"all {total} answer")]
    named = [f"{name} {words}" for name, words in troubles.items()]
    more = f"; and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    fact = f"{len(named)} of {total} do not answer as they should: {'; '.join(named[:_MAX_NAMED])}{more}"
    return [Finding("endpoints", "warn", fact, "start them, or mend endpoints under pools")]


def present_models(settings: Settings, output: Output) -> frozenset[str]:
    """Names of the models for engines here that need not be fetched. A damaged one must."""
    with reporter(output.progress) as progress:
        store = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, progress)
        return frozenset(model.name for model in settings.engine_models if _is_present(model, store))


def _is_present(model: Model, store: ModelStore) -> bool:
    if any(isinstance(source, FolderSource) and source.path.is_dir() for source in model.sources):
        return True
    try:
        return store.find(model) is not None
    except DamagedError:
        return False


def _view(label: str, findings: Sequence[Finding]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        cell = Text(finding.fact)
        if finding.remedy:
            cell.append(f"\n→ {finding.remedy}", style="bold")
        table.add_row(Text(finding.verdict, style=_STYLES[finding.verdict]), finding.name, cell)
    return Group(Text(f"Checked for {label}\n"), table, Text(f"\n{_summary(findings)}"))


def _summary(findings: Sequence[Finding]) -> str:
    failed = sum(finding.verdict == "fail" for finding in findings)
    warned = sum(finding.verdict == "warn" for finding in findings)
    if failed:
        return f"{failed} of {len(findings)} checks failed: mend what → says, then run `fenzhen doctor` again."
    if warned:
        return f"Ready to start, {warned} of {len(findings)} checks have a remark."
    return f"Ready to start, all {len(findings)} checks passed."
