"""A small judge for tests, and rows to train it on."""

import numpy as np

from router.estimate import Judge
from router.judge_file import DEFAULT, JudgeCard, Weights, load
from router.learning.labelled_rows import RowSet
from router.ngrams import BUCKETS
from router.signs import SIGNS

CARD = JudgeCard(name="test", made_by="a test", trained_on=(), figures={}, intended_use="tests", limits="all others")


def weights(seed: int = 0) -> Weights:
    """Weights drawn by chance."""
    generator = np.random.default_rng(seed)
    return Weights(
        generator.integers(-3000, 3000, (BUCKETS, 2)).astype(np.int16),
        (4.0, 3.0),
        generator.normal(0, 0.1, (len(SIGNS), 2)),
        np.zeros(len(SIGNS)),
        np.ones(len(SIGNS)),
        (0.5, 1.5),
        0.5,
        CARD,
    )


def shipped() -> Judge:
    """The judge that comes with Fenzhen."""
    return Judge(load(DEFAULT))


def rows(count: int = 200) -> RowSet:
    """Sums, which only the large model can do, and capitals, which both know."""
    easy = [f"What is the capital of country number {place}?" for place in range(count // 2)]
    hard = [f"A shop sells {place} pears and {place + 3} plums, half of them at a discount. How many are left?"
            for place in range(count // 2)]  # fmt: skip
    quality = [(1.0, 1.0)] * len(easy) + [(0.0, 1.0)] * len(hard)
    quality[0], quality[-1] = (0.0, 0.0), (1.0, 0.0)
    return RowSet("test", [*easy, *hard], np.array(quality), ["look-up"] * len(easy) + ["sum"] * len(hard))
