"""How many requests may be tried again."""

from router.retries import RetryBudget


def test_a_burst_may_be_tried_again_at_once_and_then_one_in_five() -> None:
    budget = RetryBudget(burst=10)
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    retried = 0
    for _ in range(1000):
        budget.earn()
        retried += budget.spend()
    assert 190 <= retried <= 200


def test_what_is_not_used_does_not_add_up_beyond_the_burst() -> None:
    budget = RetryBudget(burst=3)
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(10)) == 3
