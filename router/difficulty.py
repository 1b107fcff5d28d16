"""What people hold to be hard: weights set by hand for the features of a question, and how a person is told of each.

Training leans on them where rows say little.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from router.scan_tables import FEATURES


class Weight(NamedTuple):
    """What one unit of a feature adds to the log-odds, and how a person is told."""

    log_odds: float
    reason: str


# Set by hand on our own questions, then checked against public routing data; the counts come from `router.scan`.
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
}
LOG_ODDS = np.array([WEIGHTS[name].log_odds for name in FEATURES])
"""The same as the training wants them."""
