"""The first difficulty judge: how likely a question is to need the large model, told from its surface.

Each feature adds to the log-odds of "hard"; the table `WEIGHTS` says how much, and what to tell a person. The judge
knows neither HTTP nor models, and stands in until one is trained on answers.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from router.features import Row, row_of
from router.query import Query
from router.scan import weigh
from router.scan_tables import FEATURES

BORDER = 0.5
"""From this value on a question is for the large model."""

# A question of middling length about which nothing else is known is for the small model: most of those are look-ups.
BIAS = -0.9


class Weight(NamedTuple):
    """What one unit of a feature adds to the log-odds, and how a person is told."""

    log_odds: float
    reason: str


# Set by hand on our own questions, then checked against public routing data; the counts come from `features_of`.
WEIGHTS: Mapping[str, Weight] = {
    # Kinds of task, from cue words. Hard ones.
    "proof": Weight(2.6, "asks for a proof"),
    "code": Weight(1.6, "is about code"),
    "reasoning": Weight(1.4, "asks for reasoning"),
    "law": Weight(1.3, "asks for a legal judgement"),
    "comparison": Weight(1.5, "asks for a comparison"),
    "analysis": Weight(1.4, "asks for an analysis"),
    "planning": Weight(1.5, "asks for a plan"),
    "drafting": Weight(1.3, "asks for a text to be drafted"),
    "calculation": Weight(1.0, "asks for a calculation"),
    "condition": Weight(0.8, "states conditions to reason from"),
    "rule": Weight(0.7, "asks to apply a rule"),
    "order": Weight(0.7, "asks for an order of things"),
    "constraint": Weight(0.6, "sets conditions for the answer"),
    "quantity": Weight(0.3, "speaks of quantities"),
    "open_question": Weight(0.7, "open question"),
    "statements": Weight(1.0, "asks which statements hold"),
    "amount": Weight(0.0, "asks for an amount"),
    # Easy ones. What stands in a given text need only be found.
    "material": Weight(-0.6, "is about a given text"),
    "given_text": Weight(-1.4, "is about a given text"),
    "look_up": Weight(-0.9, "look-up question"),
    "definition": Weight(-0.6, "asks what something is"),
    "translation": Weight(-1.5, "asks for a translation"),
    "wording": Weight(-1.4, "asks about a word"),
    "listing": Weight(-0.6, "asks for a short list"),
    "thanks": Weight(-1.5, "courtesy only"),
    "yes_no": Weight(-0.3, "yes-or-no question"),
    "closed": Weight(-0.3, "yes-or-no question"),
    "empty": Weight(-2.0, "greeting or no question"),
    # Shape.
    "sums": Weight(0.9, "asks for a calculation in several steps"),
    "numbers": Weight(0.3, "holds several numbers"),
    "symbols": Weight(0.3, "holds formulas"),
    "clauses": Weight(0.35, "has many clauses"),
    "length": Weight(0.25, "long question"),
    "questions": Weight(0.3, "asks several questions at once"),
    "items": Weight(0.3, "holds a list"),
    "choice": Weight(0.3, "multiple choice"),
    "fence": Weight(1.2, "holds a block of code"),
    # Surroundings. A follow-up leans on what was said before.
    "context": Weight(0.3, "stands on a long conversation"),
    "follow_up": Weight(0.2, "goes on with a conversation"),
    "tools": Weight(0.3, "may call tools"),
    "json": Weight(0.2, "wants JSON"),
}
# Below this a feature is not worth a word.
WORTH_TELLING = 0.3
LOG_ODDS = np.array([WEIGHTS[name].log_odds for name in FEATURES])
# Of two that weigh alike, the one later in the alphabet is told first.
RANK = np.array([sorted(FEATURES).index(name) for name in FEATURES], np.uint16)


class Difficulty(NamedTuple):
    """How difficult a question is, and what weighed most."""

    value: float
    """0 (anyone can answer) to 1; from `BORDER` on the large model should."""
    reason: str
    """One short line of ASCII for a person."""


def judge(query: Query) -> Difficulty:
    """Estimate the difficulty of one question."""
    return judge_row(row_of(query))


def judge_row(row: Row) -> Difficulty:
    """The same for one whose features have been counted."""
    value, first, second, side = weigh(row, LOG_ODDS, RANK, BIAS, WORTH_TELLING)
    return Difficulty(value, told(int(first), int(second), side > 0))


@functools.cache
def told(first: int, second: int, is_hard: bool) -> str:
    """Name the one or two features that pushed furthest towards the side on which the question fell."""
    if first < 0:
        return "several small signs of a hard task" if is_hard else "no sign of a hard task"
    phrases = [_phrase(place, is_hard) for place in (first, second) if place >= 0]
    return "; ".join(dict.fromkeys(phrases))


def _phrase(place: int, is_hard: bool) -> str:
    name = FEATURES[place]
    return "short question" if name == "length" and not is_hard else WEIGHTS[name].reason
