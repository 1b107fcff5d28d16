"""Whether what a run has made is good enough for a canary."""

import dataclasses
import json
from pathlib import Path
from typing import Final

from registry.disk import write_durably
from registry.version_gates import gate_of
from registry.versions import Gate
from training.evaluation import LOWER_IS_BETTER, Evaluation, all_results_of
from training.recipe import Recipe

MOST_FORGOTTEN_RATIO: Final = 0.1
"""Without gates of its own a recipe allows the loss on everyday questions to rise by so much of itself."""
FEWEST_ROWS: Final = 10
"""Without gates of its own a recipe needs so many held-out rows: fewer can all turn out well by chance."""


def judged(recipe: Recipe, before: Evaluation, after: Evaluation) -> tuple[Gate, ...]:
    """Hold the results against the recipe's gates, or where it has none against ours. Raises UserError.

    A gate on what was not measured is not passed.
    """
    results = all_results_of(before, after)
    return tuple(gate_of(text, results) for text in recipe.gates or default_gates(recipe))


def default_gates(recipe: Recipe) -> tuple[str, ...]:
    """What a recipe without gates asks: sure to be better at what counts, on rows enough, and little forgotten."""
    metric = recipe.evaluation.metric
    is_better = f"{metric}_gain_ci_high < 0" if metric in LOWER_IS_BETTER else f"{metric}_gain_ci_low > 0"
    forgotten = f"general_loss_rise_ratio <= {MOST_FORGOTTEN_RATIO:g}"
    # Who asks for no everyday questions has said that forgetting does not count.
    kept = (forgotten,) if recipe.evaluation.max_general_rows else ()
    return (is_better, f"test_rows >= {FEWEST_ROWS}", *kept)


def write_gates(gates: tuple[Gate, ...], path: Path) -> None:
    """Write the verdict for other programs: `is_passed`, and each gate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "is_passed": all(gate.is_passed for gate in gates),
        "gates": [dataclasses.asdict(gate) for gate in gates],
    }
    write_durably(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
