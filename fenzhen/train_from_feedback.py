"""`fenzhen train from-feedback`: rows of what people said of answers; and erasing what somebody takes back."""

import time
from pathlib import Path
from typing import Final

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cluster.errors import NotFound
from fenzhen.durations import Duration
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from registry.feedback_store import FeedbackStore, open_feedback
from training.feedback_rows import FeedbackRows, Wanted, rows_of, write_rows

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_NO_ROWS: Final = 1


@click.command()
@config_options
@json_option
@click.option("--output", type=_FILE, metavar="FILE", help="Where the rows go, JSON lines.")
@click.option("--preferences", type=_FILE, metavar="FILE", help="Where pairs of a better and a worse answer go.")
@click.option("--conflicts", type=_FILE, metavar="FILE", help="Where questions go on which people contradict others.")
@click.option("--since", type=Duration(most_days=3650), metavar="AGE", help="Only what was said in this time: 30d.")
@click.option(
    "--min-rating", type=click.IntRange(1, 5), default=5, show_default=True, help="From it on a given answer is learnt."
)
@click.option("--name", default="", metavar="NAME", help="Only of answers by this model, adapter or prompt.")
@click.option("--forget", metavar="REQUEST_ID", help="Instead: erase this answer and all that was said of it.")
def from_feedback(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    output: Path | None,
    preferences: Path | None,
    conflicts: Path | None,
    since: float | None,
    min_rating: int,
    name: str,
    forget: str | None,
) -> int:
    """Make rows of what people said of answers, for `fenzhen train run`.

    A corrected answer becomes a row, and so does an answer that was rated well; a corrected answer that was rated low
    is a preference as well. Nothing without consent, above feedback.max_grade, or on which people contradict each
    other. What is left out is counted by its reason.
    """
    settings, _ = load(config, profile_name)
    if (output is None) == (forget is None):
        raise click.UsageError("give either --output FILE or --forget REQUEST_ID", click.get_current_context())
    store, shown = open_feedback(settings), Output(as_json)
    try:
        if forget is not None:
            _forget(store, forget, shown)
            return 0
        assert output is not None
        while store.prune():
            # Where nothing is kept any more, nobody else erases what is too old.
            pass
        since_s = 0.0 if since is None else time.time() - since
        found = rows_of(store.judged(since_s), Wanted(settings.feedback, min_rating, name))
    finally:
        store.close()
    write_rows(found, output, preferences, conflicts)
    document = {
        "rows": len(found.rows),
        "output": str(output) if found.rows else None,
        "preferences": len(found.preferences),
        "conflicts": len(found.conflicts),
        "opinions": found.opinions,
        "left_out": found.left_out,
    }
    shown.result(document, _view(found, output, preferences, conflicts))
    return 0 if found.rows or found.preferences else _NO_ROWS


def _forget(store: FeedbackStore, request_id: str, shown: Output) -> None:
    if not store.forget(request_id):
        raise NotFound("nothing is kept under this request id; it was not drawn, is erased already, or is no such id")
    said = "Erased. Rows files and adapters that were made before still have it: make them anew where it must go."
    shown.result({"erased": True}, Text(said))


def _view(found: FeedbackRows, output: Path, preferences: Path | None, conflicts: Path | None) -> Group:
    parts: list[Text | Table] = []
    if found.rows:
        parts.append(Text(f"{len(found.rows)} rows of {found.opinions} opinions: {output}"))
        parts.append(Text("A recipe takes them under data.rows."))
    else:
        parts.append(Text(f"No rows of {found.opinions} opinions; {output} is not written."))
    where = str(preferences) if preferences else "--preferences FILE writes them"
    if found.preferences:
        parts.append(Text(f"{len(found.preferences)} preferences: {where}"))
    if found.conflicts:
        where = str(conflicts) if conflicts else "--conflicts FILE writes them, for a person to decide"
        parts.append(Text(f"{len(found.conflicts)} questions on which people contradict each other: {where}"))
    if found.left_out:
        table = Table(box=None, pad_edge=False)
        table.add_column("left out", justify="right")
        table.add_column("why", overflow="fold")
        for reason, count in sorted(found.left_out.items(), key=lambda pair: (-pair[1], pair[0])):
            table.add_row(str(count), reason)
        parts.append(table)
    return Group(*parts)
