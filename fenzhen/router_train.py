"""`fenzhen router train`: a judge out of labelled rows."""

import os
import shlex
from pathlib import Path

import click
from rich.table import Table

from cluster.errors import UserError
from fenzhen.judges import rows_of
from fenzhen.options import config_options, json_option, load, public_option, rows_option
from fenzhen.output import Output
from fenzhen.progress import reporter
from router.judge_file import save
from router.judge_folder import JudgeFolder


@click.command()
@config_options
@json_option
@rows_option
@public_option
@click.option("--output", type=click.Path(path_type=Path), metavar="PATH", help="Write the judge here.")
@click.option("--candidate", is_flag=True, help="Write it where the running stack tries it out beside the one in use.")
@click.option("--name", default=None, metavar="NAME", help="What its card calls it.")
def train(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    rows_files: tuple[Path, ...],
    public: Path | None,
    output: Path | None,
    candidate: bool,
    name: str | None,
) -> None:
    """Make a judge out of labelled rows, one JSON object a line: {"prompt": "...", "small": 0, "large": 1}.

    `small` and `large` say how well the small and the large model answered, 0 to 1. Our own everyday questions are
    always among the rows. The same rows make the same judge, to the last bit.
    """
    if candidate == (output is not None):
        raise click.UsageError("give either --output PATH or --candidate", click.get_current_context(silent=True))
    settings, _ = load(config, profile_name)
    # Imported late: scipy takes its time, and a wrong option should be told at once.
    from router.learning.recipe import Recipe, judge_by

    path = output or JudgeFolder(settings.site.state_dir).candidate
    _check_place(path)
    printed = Output(as_json)
    # Public sets alone are a judge, too: the one that is shipped.
    rows = [] if public and not rows_files else rows_of(rows_files, settings)
    recipe = Recipe(name or path.stem, _command(rows_files, public, name), public, rows)
    with reporter(printed.progress) as progress:
        progress.stage("training", None)
        trained = judge_by(recipe, progress.note)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = save(trained.weights, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    card = trained.weights.card
    table = Table(box=None, pad_edge=False)
    table.add_column("trained on")
    table.add_column("rows", justify="right")
    for one in card.trained_on:
        table.add_row(one.name, f"{one.rows:,}")
    document = {
        "path": str(path), "sha256": digest, "bytes": path.stat().st_size, "border": round(trained.weights.border, 6),
        **card.model_dump(mode="json"),
    }  # fmt: skip
    printed.result(document, table)
    printed.say(f"{path}: {path.stat().st_size / 1e6:.2f} MB. {_what_next(candidate)}")


def _check_place(path: Path) -> None:
    """Say before minutes of training that the judge cannot be written; nothing is made yet. Raises UserError."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written: {above} is no folder that may be written to")


def _command(rows_files: tuple[Path, ...], public: Path | None, name: str | None) -> str:
    """How the judge is made again. Names of files only: where they lay is nobody's business."""
    words = ["fenzhen", "router", "train"]
    for file in rows_files:
        words += ["--rows", file.name]
    if public:
        words += ["--public", "DATA"]
    if name:
        words += ["--name", name]
    return shlex.join(words)


def _what_next(candidate: bool) -> str:
    if candidate:
        return "The running stack tries it out; `fenzhen router adopt` compares it and takes it over."
    return "`fenzhen router evaluate --judge` measures it."
