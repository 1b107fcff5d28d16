"""`fenzhen train scheduled`: train again each month, or when questions drift."""

import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from rich.table import Table
from rich.text import Text

from fenzhen.errors import INTERRUPTED, Invocation, exit_code_of
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.train_needs import require_packages
from fenzhen.train_schedule_hands import ScheduleHands
from fenzhen.train_stop import StopRequest
from training.recipe_file import read_recipe
from training.schedule import read_schedule
from training.schedule_journal import Entry, Journal, document_of
from training.scheduled import Scheduled, Turn, journal_of

# Alerts come at the end of a window of hours; a minute later is soon enough.
_LOOK_S: Final = 60.0
_NEEDS_A_PERSON: Final = 1
_LATER: Final = 3


@click.command()
@config_options
@json_option
@click.argument("schedule_file", metavar="SCHEDULE", type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Look once, do what is due, and end: for cron.")
@click.option("--history", is_flag=True, help="Only show what was decided and why.")
def scheduled(
    config: Path | None, profile_name: str | None, as_json: bool, schedule_file: Path, once: bool, history: bool
) -> int:
    """Train by SCHEDULE, a YAML file, when a month, a week or a day is over, or when questions drift.

    What was trained is measured and published; then its canary starts, or a line says why not. Without --once it stays
    and watches until SIGTERM, which lets a run save its checkpoint. docs/training-publish.md has an example.

    With --once the exit code is 1 when nothing came of a run and a person should look, and 3 when it is tried again.
    """
    settings, _ = load(config, profile_name)
    schedule = read_schedule(schedule_file)
    output = Output(as_json)
    journal = journal_of(settings.site.state_dir, schedule.name)
    if history:
        entries = journal.read()
        output.result([document_of(entry) for entry in entries], _view(entries))
        return 0
    require_packages(read_recipe(schedule.recipe))
    stop = StopRequest(output.say)
    work = Scheduled(schedule, journal, ScheduleHands(schedule, settings, output, stop), _now)
    with stop.listening():
        if once:
            return _once(work, journal, output)
        return _watch(work, output, as_json=as_json)


def _once(work: Scheduled, journal: Journal, output: Output) -> int:
    turn = work.turn()
    next_s = None if turn.wait is None or turn.wait.until is None else turn.wait.until.isoformat()
    document = {
        "done": [document_of(entry) for entry in turn.entries],
        "waits": None if turn.wait is None else {"why": turn.wait.why, "until": next_s},
        "journal": [document_of(entry) for entry in journal.read()],
    }
    output.result(document, Text("\n".join(_lines(turn))))
    if not turn.entries:
        return 0
    last = turn.entries[-1]
    if last.what == "failed":
        return _LATER
    return _NEEDS_A_PERSON if last.what in ("not_trained", "gave_up") else 0


def _watch(work: Scheduled, output: Output, *, as_json: bool) -> int:
    """Look each minute until somebody wants it to stop. A fault of ours is written down and does not end it."""
    said = ""

    def look() -> int:
        nonlocal said
        turn = work.turn()
        for entry in turn.entries if as_json else ():
            sys.stdout.write(json.dumps(document_of(entry), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        for line in _lines(turn):
            if line != said:
                output.say(line)
            said = line
        return 0

    context = click.get_current_context(silent=True)
    invocation = (context.find_object(Invocation) if context else None) or Invocation()
    try:
        while True:
            if exit_code_of(look, invocation) == INTERRUPTED:
                raise KeyboardInterrupt  # noqa: TRY301
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        output.say("Stopped; the same command goes on.")
        return 0


def _now() -> datetime:
    """By the wall clock, with its time zone."""
    return datetime.now().astimezone()


def _lines(turn: Turn) -> Sequence[str]:
    if turn.wait is not None:
        until = f" (until {turn.wait.until:%Y-%m-%d %H:%M})" if turn.wait.until is not None else ""
        return [*(_line(entry) for entry in turn.entries), f"Nothing is due: {turn.wait.why}{until}."]
    return [_line(entry) for entry in turn.entries]


def _line(entry: Entry) -> str:
    run = f" {entry.run}" if entry.run else ""
    return f"{entry.what.replace('_', ' ')}{run}: {entry.why}"


def _view(entries: Sequence[Entry]) -> Table | Text:
    if not entries:
        return Text("Nothing was decided yet: it has never been watched.")
    table = Table(box=None, pad_edge=False)
    for title in ("at", "what", "run", "why"):
        table.add_column(title, overflow="fold")
    for entry in entries:
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M}", entry.what.replace("_", " "), entry.run, entry.why)
    return table
