"""`fenzhen rollout history`."""

import json
import time
from pathlib import Path

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cluster.errors import OurFault
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from registry.history import Entry
from registry.rollout_store import open_rollouts


@click.command()
@config_options
@json_option
@click.argument("name", required=False)
@click.option("--verify", is_flag=True, help="Check that no entry was altered, added or removed.")
def history(config: Path | None, profile_name: str | None, as_json: bool, name: str | None, verify: bool) -> int:
    """Show who decided what, when and why, of one NAME or of all.

    Each entry is sealed with all before it. With --verify all seals are checked: exit code 1 if one does not fit. The
    last seal is printed, so that it can be kept elsewhere.
    """
    settings, _ = load(config, profile_name)
    store, output = open_rollouts(settings), Output(as_json)
    if verify:
        words, seal = store.verify()
        if words:
            raise OurFault(f"the history of rollouts was altered: {words}")
        count = len(store.history())
        output.result(
            {"entries": count, "last_seal": seal, "is_whole": True},
            Text(f"All {count} entries fit their seals. The last seal: {seal or 'none yet'}"),
        )
        return 0
    entries = store.history(name)
    output.result([_document(entry) for entry in entries], _view(entries))
    return 0


def _document(entry: Entry) -> dict[str, object]:
    note = entry.note
    return {
        "entry": entry.seq,
        "at_s": entry.at_s,
        "name": note.name,
        "rollout_id": note.rollout_id,
        "event": note.event,
        "by": note.by,
        "said": note.said,
        "figures": json.loads(note.document) if note.document else None,
        "seal": entry.seal,
    }


def _view(entries: tuple[Entry, ...]) -> Group | Text:
    if not entries:
        return Text("Nothing was rolled out yet.")
    table = Table(box=None, pad_edge=False)
    for title in ("entry", "when", "name", "what", "by", "why"):
        table.add_column(title, justify="right" if title == "entry" else "left", overflow="fold")
    for entry in entries:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at_s))
        note = entry.note
        table.add_row(str(entry.seq), when, note.name, note.event, note.by, note.said)
    return Group(table)
