"""What is counted of feedback."""

from collections.abc import Iterator
from typing import Final, Literal, get_args

from prometheus_client.core import CounterMetricFamily, Metric

Keeping = Literal["kept", "dropped", "unfit", "failed"]
KEEPINGS: Final[tuple[Keeping, ...]] = get_args(Keeping)
Giving = Literal["stored", "refused", "unknown", "not_stored"]
GIVINGS: Final[tuple[Giving, ...]] = get_args(Giving)


class FeedbackTally:
    """`kept` is counted on the loop that keeps, but for `dropped`; all else on the one that serves, which reads it."""

    def __init__(self) -> None:
        self.kept: dict[Keeping, int] = dict.fromkeys(KEEPINGS, 0)
        self.given: dict[Giving, int] = dict.fromkeys(GIVINGS, 0)
        self.ratings: dict[tuple[str, int], int] = {}
        """First ratings of answers, by model and rating."""

    def families(self) -> Iterator[Metric]:
        """For the page that Prometheus reads."""
        kept = CounterMetricFamily(
            "fenzhen_feedback_chats", "Chats drawn to be kept for feedback, by what became of them.", labels=["outcome"]
        )
        for outcome, count in self.kept.items():
            kept.add_metric([outcome], count)
        yield kept
        given = CounterMetricFamily("fenzhen_feedback", "Feedback by what became of it.", labels=["outcome"])
        for what, count in self.given.items():
            given.add_metric([what], count)
        yield given
        ratings = CounterMetricFamily(
            "fenzhen_feedback_ratings", "First ratings of answers, 1 (worst) to 5.", labels=["model", "rating"]
        )
        # A copy: the page may be made while one is added.
        for (model, rating), count in self.ratings.copy().items():
            ratings.add_metric([model, str(rating)], count)
        yield ratings
