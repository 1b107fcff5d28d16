"""What the margins round a bar cost in quality, on labelled rows: relief under load, and staying with a model.

The margin of relief is what `router.pressure` arrives at. Above 0 the large model is full and the small one takes what
lies just above the bar; below 0 it is the other way about.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.errors import UserError
from router.policy import moved

Numbers = NDArray[np.float64]

MARGINS: Final = (0.05, 0.1, 0.15, 0.2, 0.25, -0.05, -0.1, -0.15)
STAYING_MARGINS: Final = ((0.0, 0.0), (0.02, 0.02), (0.05, 0.05), (0.05, 0.1), (0.1, 0.1), (0.15, 0.25))


class Relief(NamedTuple):
    """One margin's effect; all shares 0 to 1."""

    margin: float
    moved_ratio: float
    """Share of all questions that go to the other model."""
    large_ratio: float
    """Share that still goes to the large model."""
    quality: float
    """Mean quality of all answers."""
    lost: float
    """What it is less than without relief; below 0 it is more."""
    lost_low: float
    lost_high: float
    """The 95 % interval from drawing the rows again with replacement."""
    lost_by_chance: float
    """What it would cost to move as many of the same side without looking at them."""


def relief_costs(
    difficulty: Numbers,
    small: Numbers,
    large: Numbers,
    bar: float,
    *,
    margins: Sequence[float] = MARGINS,
    draws: int = 1000,
    seed: int = 0,
) -> list[Relief]:
    """The effect of each margin at a small model's bar. The judge must not have seen these rows.

    `small` and `large` are the two models' qualities. Raises UserError where the bar leaves one of them nothing to do.
    """
    is_large = difficulty >= bar
    if is_large.all() or not is_large.any():
        raise UserError(
            f"With max_difficulty {bar:g} one model answers all of these rows, so that nothing can be moved."
        )
    quality = float(np.where(is_large, large, small).mean())
    costs = []
    for margin in margins:
        edge = moved(bar, margin)
        if margin > 0:
            is_moved, loss = is_large & (difficulty < edge), large - small
            by_chance = float(loss[is_large].mean())
        else:
            is_moved, loss = ~is_large & (difficulty >= edge), small - large
            by_chance = float(loss[~is_large].mean())
        losses = np.where(is_moved, loss, 0.0)
        lost = float(losses.mean())
        generator = np.random.default_rng(seed)
        drawn = [losses[generator.integers(0, len(losses), len(losses))].mean() for _ in range(draws)]
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
        costs.append(
            Relief(
                margin=margin,
                moved_ratio=float(is_moved.mean()),
                large_ratio=float((difficulty >= edge).mean()),
                quality=quality - lost,
                lost=lost,
                lost_low=low,
                lost_high=high,
                lost_by_chance=by_chance * float(is_moved.mean()),
            )
        )
    return costs


class Staying(NamedTuple):
    """What it does to conversations that they stay with their model near the bar; all shares 0 to 1."""

    up: float
    down: float
    switched_ratio: float
    """Share of the later turns that go to another model than the turn before."""
    quality: float
    large_ratio: float


def staying_costs(
    difficulty: Numbers,
    small: Numbers,
    large: Numbers,
    bar: float,
    *,
    margins: Sequence[tuple[float, float]] = STAYING_MARGINS,
    turns: int = 5,
    conversations: int = 20_000,
    seed: int = 0,
) -> list[Staying]:
    """The effect of margins upward and downward on conversations whose turns are rows drawn by chance.

    Real turns keep to one subject and switch less: here the switches are the most, and so is what staying costs.
    """
    rows = np.random.default_rng(seed).integers(0, len(difficulty), (turns, conversations))
    costs = []
    for up, down in margins:
        is_large = difficulty[rows[0]] >= bar
        quality, larges, switches = 0.0, 0, 0
        for turn, drawn in enumerate(rows):
            if turn:
                before, is_large = is_large, difficulty[drawn] >= np.where(is_large, moved(bar, -down), moved(bar, up))
                switches += int((before != is_large).sum())
            quality += float(np.where(is_large, large[drawn], small[drawn]).sum())
            larges += int(is_large.sum())
        costs.append(
            Staying(up, down, switches / rows[1:].size, quality / rows.size, larges / rows.size),
        )
    return costs
