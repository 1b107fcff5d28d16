"""Whether a candidate judge is better than the one in use, on rows that neither has learned from.

Both rank the same rows; the difference of their APGR is taken again on rows drawn with replacement, the same for both,
and the candidate is better if 95 % of these differences lie on its side. Then it takes the other's place.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.errors import UserError
from router.estimate import Judge
from router.judge_file import DEFAULT, load
from router.judge_folder import JudgeFolder
from router.learning.curve import rating_of
from router.learning.labelled_rows import json_lines
from router.learning.rows_store import mend
from router.query import Query

MIN_ROWS: Final = 100
"""Fewer leave less than ten rows to each of the ten steps of the curve."""
DRAWS: Final = 1000


class FreshRows(NamedTuple):
    """Rows on which two judges can be compared."""

    prompts: Sequence[str]
    small: NDArray[np.float64]
    large: NDArray[np.float64]
    too_old: int
    """Rows left out: a judge may have learned from them."""


class Verdict(NamedTuple):
    """Two judges side by side on the same rows; shares 0 to 1, an APGR can pass 1."""

    rows: int
    in_use_apgr: float
    candidate_apgr: float
    gain: float
    """The candidate's APGR less the other's."""
    ci_low: float
    """The 95 % interval of the gain."""
    ci_high: float
    in_use_large_ratio: float
    """Share of the rows that goes to the large model by the judge in use."""
    candidate_large_ratio: float

    @property
    def is_better(self) -> bool:
        """Whether the candidate is better, and not by chance alone."""
        return self.ci_low > 0


def fresh_rows(paths: Sequence[Path], since: datetime) -> FreshRows:
    """Rows stored after `since` whose question was not among earlier ones. Raises UserError."""
    mend(paths)
    known: set[str] = set()
    rows: list[tuple[datetime, str, float, float]] = []
    for path in paths:
        for number, row in json_lines(path):
            rows.append(_timed(row, path, number))
    rows.sort(key=lambda row: row[0])
    fresh = []
    for at, prompt, small, large in rows:
        if at > since and prompt not in known:
            fresh.append((prompt, small, large))
        # A question that came before may have been learned, and one that comes often must not count often.
        known.add(prompt)
    return FreshRows(
        [prompt for prompt, *_ in fresh],
        np.array([small for _, small, _ in fresh], np.float64),
        np.array([large for *_, large in fresh], np.float64),
        len(rows) - len(fresh),
    )


def known_until(folder: JudgeFolder, in_use: Path) -> datetime:
    """The moment up to which rows may have been learned: when the younger of the two judges was made."""
    # The shipped one has learned from nothing that was stored here, whenever it was installed.
    paths = [folder.candidate, *([] if in_use == DEFAULT else [in_use])]
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in paths), UTC)


def compare(in_use: Judge, candidate: Judge, rows: FreshRows, bar: float, *, draws: int = DRAWS) -> Verdict:
    """Hold two judges against each other. `bar`: the small model's `max_difficulty`. Raises UserError."""
    if len(rows.prompts) < MIN_ROWS:
        left_out = f"; {rows.too_old} more are older than a judge, or repeat a question" if rows.too_old else ""
        raise UserError(
            f"There are {len(rows.prompts)} rows that no judge has learned from{left_out}. At least {MIN_ROWS} are "
            "needed: learn for a while longer (judging.learn_ratio), or label questions and give them with --rows."
        )
    small, large = rows.small, rows.large
    if large.mean() <= small.mean():
        raise UserError(
            "On these rows the large model does no better than the small one, so that no routing can gain anything."
        )
    scores = [_difficulties(judge, rows.prompts) for judge in (in_use, candidate)]
    ratings = [rating_of(score, small, large).apgr for score in scores]
    generator = np.random.default_rng(0)
    gains = []
    for _ in range(draws):
        drawn = generator.integers(0, len(small), len(small))
        if large[drawn].mean() > small[drawn].mean():
            old, new = (rating_of(score[drawn], small[drawn], large[drawn]).apgr for score in scores)
            gains.append(new - old)
    low, high = np.quantile(gains, [0.025, 0.975]).tolist()
    ratios = [float((score >= bar).mean()) for score in scores]
    return Verdict(len(small), ratings[0], ratings[1], ratings[1] - ratings[0], low, high, *ratios)


def read_judge(path: Path) -> Judge:
    """A judge to compare. Raises UserError."""
    return Judge(load(path))


def adopt(folder: JudgeFolder) -> None:
    """Put the candidate in use; the one before it is kept. Raises UserError.

    Each step leaves a whole judge in use, and a kill between two steps can be followed by the same command.
    """
    with _alone(folder):
        if not folder.candidate.exists():
            raise UserError(f"There is no candidate at {folder.candidate}.")
        if folder.in_use.exists():
            _copy(folder.in_use, folder.previous)
        else:
            # What was in use is the shipped one: it comes back when there is nothing to put in its place.
            folder.previous.unlink(missing_ok=True)
        folder.candidate.replace(folder.in_use)
        _settle(folder.folder)


def go_back(folder: JudgeFolder) -> Path:
    """Put the judge before in use again, and keep the present one in its place; gives the file now in use."""
    with _alone(folder):
        if folder.previous.exists():
            kept = folder.folder / f".taken-back-{os.getpid()}"
            if folder.in_use.exists():
                _copy(folder.in_use, kept)
            folder.previous.replace(folder.in_use)
            with contextlib.suppress(FileNotFoundError):
                kept.replace(folder.previous)
        elif folder.in_use.exists():
            folder.in_use.replace(folder.previous)
        else:
            raise UserError(
                "No judge has been adopted here, the shipped one is in use: there is nothing to go back to."
            )
        _settle(folder.folder)
        return folder.chosen(None)


def _timed(row: dict[str, object], path: Path, number: int) -> tuple[datetime, str, float, float]:
    try:
        at = datetime.fromisoformat(str(row["at"]))
        small, large = float(row["small"]), float(row["large"])  # type: ignore[arg-type]
        prompt = str(row["prompt"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}, line {number}: a row to compare judges on has prompt, small, large and the time in `at`."
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)), prompt, small, large


def _difficulties(judge: Judge, prompts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([judge.estimate(Query(prompt)).difficulty for prompt in prompts], np.float64)


def _copy(source: Path, target: Path) -> None:
    """A second name for the same file, put in place in one stroke. It keeps the time at which it was made."""
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    os.link(source, fresh)
    # Where both are one file already, as after a kill, the rename does nothing and leaves the name.
    fresh.replace(target)
    fresh.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(folder: JudgeFolder) -> Iterator[None]:
    """Two who adopt at the same moment would mix up what was in use before."""
    folder.folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError("Another process is adopting a judge right now; look at its outcome first.") from None
    finally:
        os.close(descriptor)
