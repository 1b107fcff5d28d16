"""What is counted of learning while serving."""

from collections.abc import Iterator
from typing import Final, Literal, get_args

from prometheus_client.core import CounterMetricFamily, Metric

Outcome = Literal["kept", "dropped_busy", "dropped_queue", "unfit", "cut_off", "timed_out", "failed"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class LearningTally:
    """Counted on the loop that learns, read on the one that serves: all keys are there from the beginning."""

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self.candidate_choices = {"same": 0, "other": 0}

    def families(self) -> Iterator[Metric]:
        """For the page that Prometheus reads."""
        opinions = CounterMetricFamily(
            "fenzhen_second_opinions", "Chats taken for learning, by what became of them.", labels=["outcome"]
        )
        for outcome, count in self.outcomes.items():
            opinions.add_metric([outcome], count)
        yield opinions
        candidate = CounterMetricFamily(
            "fenzhen_candidate_choices",
            "Chats taken for learning, by whether the candidate judge would choose the same model.",
            labels=["choice"],
        )
        for choice, count in self.candidate_choices.items():
            candidate.add_metric([choice], count)
        yield candidate
