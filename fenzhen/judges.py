"""Which judge a command is about, which rows, and which models stand on both sides of its border."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import UserError
from cluster.settings import Model, Settings
from router.estimate import Judge
from router.judge_file import load as load_judge
from router.judge_folder import JudgeFolder, rows_dir
from router.policy import Candidate, candidates_of

if TYPE_CHECKING:
    from router.learning.labelled_rows import RowSet


def judge_of(settings: Settings, named: Path | None) -> tuple[Judge, Path]:
    """The judge that is named, else the one in use by the configuration; and its file. Raises UserError."""
    path = named or JudgeFolder(settings.site.state_dir).chosen(settings.judging.judge)
    return Judge(load_judge(path)), path


def stored_rows(settings: Settings) -> list[Path]:
    """The files of rows that were stored while serving, oldest first."""
    return sorted(rows_dir(settings.site.state_dir).glob("*.jsonl*"))


def chat_models(settings: Settings) -> list[tuple[Model, Candidate]]:
    """The chat models that are served, cheapest first, as the choice sees them."""
    cards = [card for card in settings.served_models if card.task == "chat"]
    return list(zip(cards, candidates_of(cards), strict=True))


def both_ends(settings: Settings) -> tuple[tuple[Model, Candidate], tuple[Model, Candidate]]:
    """The cheapest and the dearest chat model. Raises UserError if there is only one."""
    chats = chat_models(settings)
    if len(chats) < 2:
        raise UserError(f"only {chats[0][0].name} is served for chat: there is nothing to choose between")
    return chats[0], chats[-1]


def rows_of(files: Sequence[Path], settings: Settings) -> list["RowSet"]:
    """The rows of the files that are named, a set each, else all that were stored while serving. Raises UserError."""
    # Imported late, as all of `router.learning` by commands: scipy takes its time.
    from router.learning.labelled_rows import read_rows, read_stored

    if files:
        return [read_rows(file) for file in files]
    stored = stored_rows(settings)
    if not stored:
        raise UserError(
            f"no rows are named and none are stored in {rows_dir(settings.site.state_dir)}; name a file with --rows, "
            "make one with `fenzhen router label`, or let `judging.learn_ratio` collect some"
        )
    return [read_stored(stored)]
