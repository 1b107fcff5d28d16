"""How often a change of wording that does not change the question changes the choice.

Paraphrases were written by hand for questions of their own, on which no judge is trained; other changes are made here.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from opencc import OpenCC

from router.estimate import Judge
from router.learning.labelled_rows import json_lines
from router.query import Query

FILE: Final = Path(__file__).with_name("rewordings.jsonl")
BORDER: Final = 0.5


class Wording(NamedTuple):
    """A question and other ways to put it."""

    question: str
    paraphrases: tuple[str, ...]
    language: str


class Flips(NamedTuple):
    """How many changes of one class changed the choice."""

    flipped: int
    cases: int

    @property
    def ratio(self) -> float:
        """0 where there was no case."""
        return self.flipped / self.cases if self.cases else 0.0


def wordings() -> list[Wording]:
    """The questions that come with the package."""
    return [Wording(row["question"], tuple(row["paraphrases"]), row["language"]) for _, row in json_lines(FILE)]


def _widened(text: str) -> str:
    """Every ASCII character in its full-width form."""
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


def _narrowed(text: str) -> str:
    """Chinese marks in their ASCII form."""
    return text.translate(str.maketrans("，。？！：；（）", ",.?!:;()"))


def _spaced(text: str) -> str:
    """Spaces where people put them by mistake."""
    for mark in "，。？、,?.":
        text = text.replace(mark, f" {mark}  ")
    return f"\n  {text}\t"


_TO_TRADITIONAL: Final = OpenCC("s2t")
MECHANICAL: Final[Mapping[str, Callable[[str, str], str]]] = {
    "spaces": lambda text, language: _spaced(text),
    "full width": lambda text, language: _widened(text),
    "half width": lambda text, language: _narrowed(text),
    "traditional characters": lambda text, language: _TO_TRADITIONAL.convert(text),
    "capitals": lambda text, language: text.upper(),
    "courtesy before": lambda text, language: (
        f"您好，请问{text}" if language == "zh" else f"Hello, could you please tell me: {text}"
    ),
    "courtesy behind": lambda text, language: (
        f"{text}谢谢您！" if language == "zh" else f"{text} Thank you very much in advance!"
    ),
}
"""Changes that a program can make. What a change leaves as it was is no case."""
PARAPHRASE: Final = "paraphrase"


def flips_of(judge: Judge, border: float = BORDER) -> dict[str, Flips]:
    """By class of change: how often the choice between a small and a large model changed."""

    def is_hard(text: str) -> bool:
        return judge.estimate(Query(text)).difficulty >= border

    found: dict[str, list[bool]] = {name: [] for name in (*MECHANICAL, PARAPHRASE)}
    for wording in wordings():
        before = is_hard(wording.question)
        for name, change in MECHANICAL.items():
            changed = change(wording.question, wording.language)
            if changed != wording.question:
                found[name].append(is_hard(changed) != before)
        found[PARAPHRASE] += [is_hard(other) != before for other in wording.paraphrases]
    return {name: Flips(sum(flipped), len(flipped)) for name, flipped in found.items()}


def all_of(flips: Mapping[str, Flips]) -> Flips:
    """All classes together."""
    return Flips(sum(one.flipped for one in flips.values()), sum(one.cases for one in flips.values()))
