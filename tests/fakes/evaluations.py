"""Evaluations of invented answers: figures are worked out from them as from a model's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.evaluation import Evaluation, Sample
from training.evaluation_figures import figures_of
from training.generation import Said
from training.prepared import Prepared
from training.recipe import DataRecipe, EvaluationRecipe, Recipe
from training.rows import Message, Row


def recipe_of(gates: tuple[str, ...] = (), **evaluation: Any) -> Recipe:
    """A recipe that nothing is trained by."""
    return Recipe(
        name="hotline", base="./tiny", data=DataRecipe(rows=(Path("x"),)), gates=gates,
        evaluation=EvaluationRecipe(**evaluation),
    )  # fmt: skip


def row_of(number: int, answer: str, group: str = "") -> Row:
    """A held-out row."""
    return Row((Message("user", f"question {number}"), Message("assistant", answer)), f"rows.jsonl:{number + 1}", group)


def evaluation_of(
    recipe: Recipe, prepared: Prepared, answers: Sequence[str], general_loss: float = 2.0, loss: float = 1.0
) -> Evaluation:
    """What would be found if this was said."""
    places, general = tuple(range(len(answers))), tuple(range(len(prepared.general)))
    samples = {
        "loss": Sample(places, (loss,) * len(places), (4.0,) * len(places)),
        "general_loss": Sample(general, (general_loss,) * len(general), (4.0,) * len(general)),
    }
    said = [Said(answer, is_whole=True) for answer in (*answers, *("as ever" for _ in general))]
    return figures_of(recipe, prepared, samples, places, said, general)
