"""What kind of task a question is, told from its cue words and its shape by a plain rule.

Each feature speaks for one kind; the kind with the largest sum is named. It stands in reasons and records for people,
and is right for little more than half of our own questions of the eight kinds; the estimate does not hang on it.
"""

from typing import Final

import numpy as np

from router.scan_tables import FEATURE_COUNT, FEATURES

TASKS: Final = ("look-up", "procedure", "drafting", "extraction", "calculation", "code", "reasoning", "chat")

# By kind: features and what one unit of each says. Numbers and amounts stand in every kind of question, so that they
# name one only where nothing else does.
_SPOKEN_FOR: Final[dict[str, dict[str, float]]] = {
    "look-up": {
        "look_up": 1.0, "definition": 0.8, "translation": 1.0, "wording": 1.0, "yes_no": 0.2, "closed": 0.2,
    },
    "procedure": {"open_question": 0.8, "rule": 0.6, "listing": 0.5},
    "drafting": {"drafting": 1.2, "planning": 0.9, "constraint": 0.4},
    "extraction": {"given_text": 1.2, "material": 0.2},
    "calculation": {"calculation": 0.9, "sums": 1.0, "quantity": 0.1, "amount": 0.1, "numbers": 0.2, "symbols": 0.3},
    "code": {"code": 1.1, "fence": 1.5},
    "reasoning": {
        "proof": 1.6, "reasoning": 1.0, "law": 0.9, "comparison": 1.0, "analysis": 0.9, "condition": 0.4, "order": 0.4,
        "statements": 0.6, "choice": 0.3, "questions": 0.1, "clauses": 0.2,
    },
    "chat": {"thanks": 0.8, "empty": 1.5},
}  # fmt: skip

WORTH_NAMING: Final = 0.2
"""With less than this for any kind, it is the first. A number or two alone make no calculation."""
TASK_OF: Final = np.zeros(FEATURE_COUNT, np.int64)
"""By feature: the place in `TASKS` of the kind that it speaks for."""
SAYS: Final = np.zeros(FEATURE_COUNT)
"""By feature: how much one unit of it says; 0 for what stands in all kinds alike."""
for _place, _task in enumerate(TASKS):
    for _feature, _says in _SPOKEN_FOR[_task].items():
        TASK_OF[FEATURES.index(_feature)] = _place
        SAYS[FEATURES.index(_feature)] = _says
