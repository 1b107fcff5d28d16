"""Questions of known difficulty whose answers a plain function can mark."""

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from cluster.errors import UserError

QUESTIONS_FILE = Path(__file__).with_name("questions.jsonl")

Level = Literal["easy", "hard"]


@dataclass(frozen=True, slots=True)
class ContainsAny:
    """Right if the answer holds one of these."""

    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """Right if the answer's final number is this one."""

    wanted: float


@dataclass(frozen=True, slots=True)
class OneChoice:
    """Right if the answer chooses this letter."""

    wanted: str


Reference = ContainsAny | Number | OneChoice


@dataclass(frozen=True, slots=True)
class Question:
    """One question of our own. Counterparts in two languages share their id up to the last dash."""

    id: str
    language: str
    kind: str
    level_of_difficulty: Level
    question: str
    reference: Reference


def load(path: Path = QUESTIONS_FILE) -> tuple[Question, ...]:
    """Read a file of questions, one JSON object a line. Raises UserError with the line's number."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the questions in {path}: {error}") from error
    questions = [_question(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    ids = [question.id for question in questions]
    if doubled := sorted({name for name in ids if ids.count(name) > 1}):
        raise UserError(f"{path}: the id {doubled[0]!r} stands there twice")
    if not questions:
        raise UserError(f"{path} holds no question")
    return tuple(questions)


def _question(line: str, place: str) -> Question:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place}: not JSON: {error}") from error
    fields = ("id", "language", "kind", "level_of_difficulty", "question")
    if not isinstance(row, dict) or row.keys() != {*fields, "reference"}:
        raise UserError(f"{place}: a question has exactly the fields {', '.join(fields)} and reference")
    for field in fields:
        if not isinstance(row[field], str) or not row[field]:
            raise UserError(f"{place}: {field} must be a text, got {row[field]!r}")
    if row["level_of_difficulty"] not in ("easy", "hard"):
        raise UserError(f"{place}: level_of_difficulty must be easy or hard, got {row['level_of_difficulty']!r}")
    level = cast(Level, row["level_of_difficulty"])
    reference = _reference(row["reference"], place)
    return Question(row["id"], row["language"], row["kind"], level, row["question"], reference)


def _reference(value: object, place: str) -> Reference:
    if isinstance(value, dict) and len(value) == 1:
        match value:
            case {"contains_any": [*words]} if words and all(isinstance(word, str) and word for word in words):
                return ContainsAny(tuple(words))
            case {"number": int() | float() as number} if not isinstance(number, bool):
                return Number(float(number))
            case {"choice": str(letter)} if re.fullmatch("[A-H]", letter):
                return OneChoice(letter)
    raise UserError(
        f'{place}: reference must be {{"contains_any": [...]}}, {{"number": 42}} or {{"choice": "B"}}, got {value!r}'
    )


def is_right(question: Question, answer: str) -> bool:
    """Mark one answer."""
    match question.reference:
        case ContainsAny(words):
            text = _folded(answer)
            return any(_holds(text, _folded(word)) for word in words)
        case Number(wanted):
            number = number_in(answer)
            return number is not None and abs(number - wanted) <= 1e-6 * max(1.0, abs(wanted))
        case OneChoice(wanted):
            return choice_in(answer) == wanted


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower().replace("\u2212", "-").replace("’", "'")


def _holds(text: str, word: str) -> bool:
    # "0" is not in "100", nor "hi" in "this"; Chinese has no such borders.
    before = r"(?<![a-z0-9])(?<![0-9][.,])" if word[0].isascii() and word[0].isalnum() else ""
    after = r"(?![a-z0-9])(?![.,][0-9])" if word[-1].isascii() and word[-1].isalnum() else ""
    return re.search(before + re.escape(word) + after, text) is not None


_MARKER = re.compile(r"(?:final answer|answer|答案|答)\W{0,4}(?:is|are|为|是|应为|選|选)?\W{0,4}")
# A minus sign counts only where it cannot be a dash between two numbers or inside a date.
_NUMBER = re.compile(r"((?<![\w.])-)?(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(\.\d+)?\s*([万亿]?)")
_MULTIPLES = {"": 1.0, "万": 1e4, "亿": 1e8}


def number_in(answer: str) -> float | None:
    """The number an answer ends on: the one after "Answer:" if it says so, else the last; None if there is none."""
    text = _folded(answer)
    markers = list(_MARKER.finditer(text))
    if markers:
        # Of a sum, what counts is its result.
        line = text[markers[-1].end() :].strip().split("\n")[0]
        minus = "-" if text[markers[-1].end() - 1 : markers[-1].end()] == "-" else ""
        if found := _NUMBER.findall(minus + line.rsplit("=", 1)[-1]):
            return _value(found[0])
    found = _NUMBER.findall(text)
    return _value(found[-1]) if found else None


def _value(found: tuple[str, str, str, str]) -> float:
    sign, whole, fraction, multiple = found
    return float(sign + whole.replace(",", "") + fraction) * _MULTIPLES[multiple]


_CHOSEN = re.compile(
    r"(?:answer|option|choice|答案|选择|選擇|选项|選項|应选|應選|选|選)\s*(?:is|为|為|是)?[\s:*(\[\"“]*([A-H])(?![A-Za-z])",
    re.IGNORECASE,
)
_OPENING = re.compile(r"[\s*(\[]*([A-H])(?:[\s.):*\],、。]|$)")
_LONE = re.compile(r"(?<![A-Za-z'])(?:\(([A-H])\)|([A-H])(?=[.):,。、*]|\s*$))")


def choice_in(answer: str) -> str | None:
    """The letter an answer chooses: after "Answer:" or the like, else at its beginning, else the last one alone."""
    text = unicodedata.normalize("NFKC", answer).strip()
    # In lower case "a" is also an article: only a marker makes it a choice, and then the last marker counts.
    if found := [hit for hit in _CHOSEN.finditer(text) if hit[1].isupper() or hit.end() == len(text)]:
        return found[-1][1].upper()
    opening = _OPENING.match(text)
    # "A resident of ..." opens with the article.
    if opening and not re.match(r"A\s+[a-z]", text):
        return opening[1]
    lone = _LONE.findall(text)
    return (lone[-1][0] or lone[-1][1]) if lone else None
