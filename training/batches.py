"""Which rows make which step, and how they lie in memory: plain functions of the rows' lengths and a seed."""

import math
import random
from collections.abc import Sequence
from typing import Any, Final

IGNORED: Final = -100
"""A place whose next token is not learnt."""
# Rows of like length are put together among so many steps: less padding, and steps still differ from epoch to epoch.
_WINDOW_STEPS: Final = 8


def steps_of(rows: int, epochs: float, batch_size: int, max_steps: int | None) -> int:
    """How many steps a run has. Each has `batch_size` rows: the last is filled with rows of one more epoch."""
    steps = max(1, math.ceil(rows * epochs / batch_size - 1e-9))
    return min(steps, max_steps) if max_steps is not None else steps


def order_of(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> list[int]:
    """The rows of all steps, one after the other. Each row comes once before any comes twice."""
    chance = random.Random(seed)  # noqa: S311 - which row comes when is no secret
    wanted = steps * batch_size
    order: list[int] = []
    while len(order) < wanted:
        epoch = list(range(len(lengths)))
        chance.shuffle(epoch)
        order += epoch
    grouped: list[int] = []
    for begin in range(0, wanted, _WINDOW_STEPS * batch_size):
        window = sorted(order[begin : min(begin + _WINDOW_STEPS * batch_size, wanted)], key=lambda row: lengths[row])
        batches = [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
        chance.shuffle(batches)
        grouped += [row for batch in batches for row in batch]
    return grouped


def bins_of(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Share rows out over as few sequences as hold them, as evenly as goes: the longest first, to the emptiest."""
    count = max(1, math.ceil(sum(lengths) / capacity))
    by_length = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    while True:
        bins: list[list[int]] = [[] for _ in range(count)]
        filled = [0] * count
        for row in by_length:
            emptiest = filled.index(min(filled))
            bins[emptiest].append(row)
            filled[emptiest] += lengths[row]
        if max(filled) <= capacity or count >= len(lengths):
            return bins
        count += 1


def padded(rows: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], pad: int) -> dict[str, Any]:
    """Rows one below the other, filled up on the right. No token looks at what follows it, so none sees the filling."""
    import torch

    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows]),
        "labels": torch.tensor([[*_shifted(each), *[IGNORED] * (width - len(each))] for each in labels]),
    }


def packed(rows: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], pad: int, capacity: int) -> dict[str, Any]:
    """Several rows in one sequence. Positions begin anew with each: by that the base keeps them apart."""
    import torch

    ids, targets, positions = [], [], []
    bins = bins_of([len(row) for row in rows], capacity)
    width = max(sum(len(rows[row]) for row in each) for each in bins)
    for each in bins:
        filling = width - sum(len(rows[row]) for row in each)
        ids.append([token for row in each for token in rows[row]] + [pad] * filling)
        targets.append([target for row in each for target in _shifted(labels[row])] + [IGNORED] * filling)
        positions.append([place for row in each for place in range(len(rows[row]))] + list(range(filling)))
    return {
        "input_ids": torch.tensor(ids),
        "labels": torch.tensor(targets),
        "position_ids": torch.tensor(positions),
    }


def _shifted(labels: Sequence[int]) -> list[int]:
    """Each place's label is the token that comes next."""
    return [*labels[1:], IGNORED]
