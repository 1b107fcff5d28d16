"""`fenzhen registry drift`: what has changed since versions came on duty."""

import getpass
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from registry.drift import LEVEL_WORDS
from registry.drift_store import DriftEntry, open_drift


@click.command()
@config_options
@json_option
@click.argument("name", required=False)
@click.option("--all", "all_windows", is_flag=True, help="Show windows without an alert, too.")
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), default=90, show_default=True, help="How far back."
)
@click.option("--take", type=int, metavar="ENTRY", help="Say that you see to this entry; --by says who.")
@click.option("--by", default=None, help="Who; without it, the user of this machine.")
def drift(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    name: str | None,
    all_windows: bool,
    days: float,
    take: int | None,
    by: str | None,
) -> None:
    """Show how questions and answers have changed since the versions of NAME, or of all names, came on duty.

    Levels: notice 提示, warning 警告, serious 严重, urgent 紧急. docs/rollout-judge.md says how they come about.
    """
    settings, _ = load(config, profile_name)
    store, output = open_drift(settings), Output(as_json)
    if take is not None:
        entry = store.take_entry(take, by or getpass.getuser())
        output.result(asdict(entry), Text(f"Entry {entry.entry_id} of {entry.name} is seen to by {entry.taken_by}."))
        return
    entries = store.entries_since(time.time() - days * 86400, name, all_windows=all_windows)
    output.result([asdict(entry) for entry in entries], _view(entries))


def _view(entries: tuple[DriftEntry, ...]) -> Group | Text:
    if not entries:
        return Text("No alerts. Each version is watched from its first full window on.")
    table = Table(box=None, pad_edge=False)
    for title in ("entry", "window ended", "name", "version", "level", "changed", "what to do", "seen to by"):
        table.add_column(title, justify="right" if title in ("entry", "version") else "left", overflow="fold")
    for entry in entries:
        ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.until_s))
        level = f"{entry.level} {LEVEL_WORDS[entry.level]}" if entry.level else "-"
        changed = "\n".join(
            f"{one.feature.replace('_', ' ')} {one.psi:.2f} ({one.change})" for one in entry.features if one.level
        )
        table.add_row(
            str(entry.entry_id), ended, entry.name, str(entry.version), level, changed or "-", entry.action or "-",
            entry.taken_by or "-",
        )  # fmt: skip
    return Group(table)
