"""What a judge is made of: the sets, how much each counts, and the figures for its card."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from cluster.errors import UserError
from router.learning.curve import rating_of
from router.learning.heads import EVERYDAY
from router.learning.labelled_rows import RowSet
from router.learning.own_rows import own_rows
from router.learning.public_rows import SETS, without
from router.learning.reliability import bins_of, calibration_error
from router.learning.training import STRONG_TRUST_ELSEWHERE, Part, Trained, part_of, raw_difficulty, train

EVERYDAY_WEIGHT: Final = 60.0
"""How much our own questions count beside a public set of their number. Chosen by cross-validation over them: the area
under the curve of those kept back was .921 with 20 and .930 with 60; the rules set by hand alone have .79."""
TRAFFIC_WEIGHT: Final = EVERYDAY_WEIGHT
"""The same for rows of one's own traffic: as much as our questions, row by row more the fewer they are."""
_CARD_DIGITS: Final = 3


class Recipe(NamedTuple):
    """What a judge is to be trained on."""

    name: str
    made_by: str
    public: Path | None = None
    """The folder of the public sets."""
    rows: Sequence[RowSet] = ()
    """Rows of one's own."""


def public_sets(folder: Path) -> list[RowSet]:
    """The public sets that may be trained on. MT-Bench never is; no row shares a question with it."""
    rows = {name: read(folder) for name, read in SETS.items()}
    rows["llm_router"] = without(rows["llm_router"], [rows["mmlu"], rows["gsm8k"], rows["mt_bench"]])
    return [one for name, one in rows.items() if name != "mt_bench"]


def judge_by(recipe: Recipe, told: Callable[[str], object] = lambda line: None) -> Trained:
    """Train a judge, and write on its card how it did on rows that were kept back."""
    if recipe.public is None and not recipe.rows:
        raise UserError("there is nothing to train on: name rows with --rows, public sets with --public, or both")
    told("reading the rows")
    public = public_sets(recipe.public) if recipe.public else []
    parts = [part_of(rows, is_strange=True) for rows in public]
    parts += [part_of(rows, TRAFFIC_WEIGHT) for rows in recipe.rows]
    # Where there is traffic, the chances are to be right for its models; our labels were guessed for none.
    parts.append(part_of(own_rows(), EVERYDAY_WEIGHT, is_strange=bool(recipe.rows)))
    trained = train(
        parts,
        name=recipe.name,
        made_by=recipe.made_by,
        figures={},
        priors=EVERYDAY,
        told=lambda done, of: told(f"fit {done} of {of} done"),
    )
    card = trained.weights.card.model_copy(update={"figures": _figures(parts, trained)})
    return trained._replace(weights=trained.weights._replace(card=card))


def _figures(parts: Sequence[Part], trained: Trained) -> dict[str, float]:
    figures: dict[str, float] = {}
    begin = 0
    for part in parts:
        log_odds = trained.kept_back[begin : begin + len(part.rows)]
        begin += len(part.rows)
        name, rows = part.rows.name, part.rows
        raw = raw_difficulty(log_odds, STRONG_TRUST_ELSEWHERE)
        if rows.small.mean() != rows.large.mean():
            figures[f"{name}_apgr"] = rating_of(raw, rows.small, rows.large).apgr
        figures[f"{name}_auc"] = auc_of(raw, rows.small < 0.5 * rows.large)
        for head, column in (("small", 0), ("large", 1)):
            chances = 1 / (1 + np.exp(-log_odds[:, column]))
            figures[f"{name}_{head}_calibration_error"] = calibration_error(bins_of(chances, rows.quality[:, column]))
    return {name: round(value, _CARD_DIGITS) for name, value in figures.items()}


def auc_of(score: np.ndarray, is_hard: np.ndarray) -> float:
    """The chance that of a hard and an easy question the hard one scores higher; 0.5 where there is only one kind."""
    hard, easy = int(is_hard.sum()), int((~is_hard).sum())
    if not hard or not easy:
        return 0.5
    ordered = np.sort(score)
    # Equal scores share their ranks, so that a tie counts for half.
    ranks = (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right") + 1) / 2
    return float((ranks[is_hard].sum() - hard * (hard + 1) / 2) / (hard * easy))
