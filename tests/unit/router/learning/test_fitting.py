"""Fitting ends where nothing nearby is better, and several regressions do not disturb each other."""

import numpy as np
import pytest
from scipy import sparse

from router.learning.fitting import Floats, Task, _Problem, minimise

ROWS = 300


def task(regressions: int = 2, seed: int = 0) -> Task:
    generator = np.random.default_rng(seed)
    matrix = sparse.random(ROWS, 40, 0.2, random_state=1, dtype=np.float32).tocsr()
    dense = np.concatenate([generator.normal(size=(ROWS, 3)), np.ones((ROWS, 1))], 1).astype(np.float32)
    truth = generator.normal(size=(44, regressions))
    chances = 1 / (1 + np.exp(-(matrix @ truth[:40] + dense @ truth[40:])))
    wanted = (generator.random(chances.shape) < chances).astype(np.float32)
    penalties = np.full((44, regressions), 0.01, np.float32)
    penalties[-1] = 0
    shares = np.full((ROWS, regressions), 1 / ROWS, np.float32)
    return Task(matrix, dense, wanted, shares, penalties, np.zeros((44, regressions), np.float32))


def loss_at(one: Task, weights: Floats) -> float:
    problem = _Problem(one)
    units: Floats = (weights - one.centre) / np.asarray(problem._unit)
    return problem.at(units.astype(np.float64).ravel())[0]


def test_nothing_nearby_is_better() -> None:
    one = task()
    fitted = minimise(one, 200)
    generator = np.random.default_rng(2)
    for _ in range(10):
        nearby = fitted + generator.normal(0, 0.03, (44, 2)).astype(np.float32)
        assert loss_at(one, nearby) > loss_at(one, fitted)


def test_the_slope_is_that_of_the_loss() -> None:
    problem = _Problem(task())
    at = np.random.default_rng(3).normal(size=88)
    _, slope = problem.at(at)
    for place in (0, 17, 81, 87):
        step = np.zeros(88)
        step[place] = 1e-2
        measured = (problem.at(at + step)[0] - problem.at(at - step)[0]) / 2e-2
        assert measured == pytest.approx(slope[place], abs=1e-4)


def test_regressions_side_by_side_find_what_each_finds_alone() -> None:
    both = task()
    together = minimise(both, 200)
    for column in (0, 1):
        alone = both._replace(
            **{
                name: getattr(both, name)[:, column : column + 1]
                for name in ("wanted", "row_weights", "penalties", "centre")
            }
        )
        assert minimise(alone, 200)[:, 0] == pytest.approx(together[:, column], abs=0.02)


def test_a_strong_prior_leaves_the_weights_at_its_centre() -> None:
    centre = np.full((44, 2), 0.7, np.float32)
    one = task()._replace(penalties=np.full((44, 2), 1e4, np.float32), centre=centre)
    assert minimise(one, 50) == pytest.approx(centre, abs=1e-3)
