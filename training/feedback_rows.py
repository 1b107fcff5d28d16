"""Rows from what people said of answers: with consent, within the grade, masked once more, and never a choice of ours
between two people who contradict each other.

    a corrected answer            a row with the corrected answer; rated low as well: a preference over the one given
    the highest ratings           a row with the answer that was given
    anything else                 nothing, and the reason is counted
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from cluster.errors import UserError
from cluster.feedback_settings import Feedback
from cluster.masking import masked
from registry.disk import write_durably
from registry.feedback_store import Judged
from training.data_findings import Finding
from training.rows import Preference, Row
from training.rows_lines import Record
from training.rows_shape import row_of

LOW_RATING: Final = 2
"""Up to it the answer that was given is worse than one that somebody wrote instead."""
CONTRADICTED: Final = "people contradict each other"
REPEATED: Final = "said more than once"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which opinions become rows."""

    feedback: Feedback
    min_rating: int = 5
    name: str = ""
    """Of these answers only; empty: of all."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A question on which people contradict each other, for a person to decide."""

    prompt: tuple[tuple[str, str], ...]
    liked: tuple[str, ...]
    """Answers that were rated well or written."""
    disliked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FeedbackRows:
    """What feedback teaches, and what it does not."""

    rows: tuple[Row, ...]
    preferences: tuple[Preference, ...]
    left_out: dict[str, int]
    """Opinions by the reason why they are no row."""
    conflicts: tuple[Conflict, ...]
    opinions: int


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What one opinion says of one question."""

    prompt: tuple[tuple[str, str], ...]
    group: str
    liked: str
    """The answer to learn; empty: none."""
    is_written: bool
    """Whether a person wrote it."""
    disliked: str
    """The answer that was rated low; empty: none."""
    why_no_row: str
    is_whole: bool
    """Whether the given answer came to its end."""


def rows_of(judged: Iterable[Judged], wanted: Wanted) -> FeedbackRows:
    """The rows and preferences that these opinions come to."""
    left_out: Counter[str] = Counter()
    by_question: defaultdict[tuple[tuple[str, str], ...], list[_Lesson]] = defaultdict(list)
    opinions = 0
    for one in judged:
        opinions += 1
        reason = _why_not(one, wanted)
        if reason:
            left_out[reason] += 1
        else:
            lesson = _lesson(one, wanted)
            by_question[lesson.prompt].append(lesson)
    rows: list[Row] = []
    preferences: list[Preference] = []
    conflicts = []
    for lessons in by_question.values():
        conflict = _conflict(lessons)
        if conflict is not None:
            conflicts.append(conflict)
            left_out[CONTRADICTED] += len(lessons)
            continue
        known: set[tuple[str, str]] = set()
        for lesson in lessons:
            reason = lesson.why_no_row or _add(lesson, known, rows, preferences)
            if reason:
                left_out[reason] += 1
    return FeedbackRows(tuple(rows), tuple(preferences), dict(left_out), tuple(conflicts), opinions)


def as_lines(rows: Iterable[Row | Preference | Conflict]) -> str:
    """JSON lines as `training.preparing` reads them. No ids, no times, no persons."""
    return "".join(orjson.dumps(_values(row)).decode() + "\n" for row in rows)


def write_rows(found: FeedbackRows, rows: Path, preferences: Path | None = None, conflicts: Path | None = None) -> None:
    """Write each file whole, or not at all; a file for which there is nothing is not written. Raises UserError."""
    wanted = ((rows, found.rows), (preferences, found.preferences), (conflicts, found.conflicts))
    try:
        for path, lines in wanted:
            if path is not None and lines:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_durably(path, as_lines(lines))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written: {error.strerror}") from error


def _why_not(one: Judged, wanted: Wanted) -> str:
    if wanted.name and one.model != wanted.name:
        return "of another name"
    if not one.opinion.has_consent:
        return "no consent"
    return "" if wanted.feedback.may_keep(one.grade) else f"graded {one.grade}"


def _lesson(one: Judged, wanted: Wanted) -> _Lesson:
    """Masked again: what is known of personal data today may be more than when it was stored."""
    opinion = one.opinion
    rating, given = opinion.rating, masked(one.answer).strip()
    written = masked(opinion.corrected).strip()
    prompt = tuple((role, masked(text)) for role, text in one.messages)
    liked, why = "", ""
    if written and written != given:
        liked = written
    elif rating is None:
        why = "neither rated nor corrected"
    elif rating < wanted.min_rating:
        why = f"rated below {wanted.min_rating}, and nobody wrote a better answer"
    elif not one.is_whole:
        why = "rated well, but cut off by its longest length"
    else:
        liked = given
    disliked = given if rating is not None and rating <= LOW_RATING else ""
    return _Lesson(prompt, one.group, liked, bool(liked) and liked == written, disliked, why, one.is_whole)


def _conflict(lessons: Sequence[_Lesson]) -> Conflict | None:
    """Whether one liked what another disliked, or two wrote different answers to the same question."""
    liked = tuple(dict.fromkeys(lesson.liked for lesson in lessons if lesson.liked))
    disliked = tuple(dict.fromkeys(lesson.disliked for lesson in lessons if lesson.disliked))
    written = {lesson.liked for lesson in lessons if lesson.is_written}
    if not set(liked) & set(disliked) and len(written) < 2:
        return None
    return Conflict(lessons[0].prompt, liked, disliked)


def _add(lesson: _Lesson, known: set[tuple[str, str]], rows: list[Row], preferences: list[Preference]) -> str:
    """Add what a lesson teaches; why it is no row, if it is none. `known`: what was learnt of this question so far."""
    messages = [{"role": role, "content": text} for role, text in lesson.prompt]
    group = {"group": lesson.group} if lesson.group else {}
    is_repeated = (lesson.liked, "") in known
    if not is_repeated:
        answer = {"role": "assistant", "content": lesson.liked}
        row = _read({"messages": [*messages, answer], **group}, len(rows) + 1)
        if isinstance(row, Finding):
            return f"no row that can be learnt ({row.kind.replace('_', ' ')})"
        assert isinstance(row, Row)
        rows.append(row)
    rejected = lesson.disliked if lesson.is_written and lesson.is_whole else ""
    if rejected and (lesson.liked, rejected) not in known:
        pair = {"messages": messages, "chosen": lesson.liked, "rejected": rejected, **group}
        preference = _read(pair, len(preferences) + 1)
        if isinstance(preference, Preference):
            preferences.append(preference)
    known |= {(lesson.liked, ""), (lesson.liked, rejected)}
    return REPEATED if is_repeated else ""


def _read(values: dict[str, Any], number: int) -> Row | Preference | Finding:
    # By the same reader as a file's, so that what is written here is never refused there.
    return row_of(Record(number, values), Path("feedback"), "feedback", "dpo" if "chosen" in values else "sft")


def _values(row: Row | Preference | Conflict) -> dict[str, Any]:
    match row:
        case Row():
            values: dict[str, Any] = {"messages": [asdict(message) for message in row.messages]}
        case Preference():
            asked = [asdict(message) for message in row.prompt]
            values = {"messages": asked, "chosen": row.chosen, "rejected": row.rejected}
        case Conflict():
            asked = [{"role": role, "content": text} for role, text in row.prompt]
            return {"messages": asked, "liked": row.liked, "disliked": row.disliked}
    return values | ({"group": row.group} if row.group else {})
