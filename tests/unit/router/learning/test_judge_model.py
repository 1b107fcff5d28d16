"""A model as the judge of two answers."""

from typing import Any

import pytest

from router.learning.answers import Answer
from router.learning.judge_model import small_is_as_good


class FakeJudge:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, *says: str | None) -> None:
        self.says = list(says)
        self.bodies: list[dict[str, Any]] = []

    async def __call__(self, body: dict[str, Any]) -> Answer | None:
        self.bodies.append(body)
        said = self.says.pop(0)
        return None if said is None else Answer(said, is_whole=True)


@pytest.mark.parametrize(
    ("first", "swapped", "points"),
    [
        ("A", "B", 1.0),
        ("B", "A", 0.0),
        ("C", "C", 1.0),
        ("A", "A", 0.5),
        ("B", "B", 0.5),
        ("C", "A", 0.5),
        (" a.", "**B**", 1.0),
        ("Answer C", "(c)", 1.0),
    ],
)
async def test_points_come_from_both_orders(first: str, swapped: str, points: float) -> None:
    assert await small_is_as_good("q", "s", "l", FakeJudge(first, swapped)) == points


@pytest.mark.parametrize("says", [("Both", "B"), ("A", "As good"), ("D", "A"), (None, "A"), ("", "A"), ("好", "A")])
async def test_a_judge_that_keeps_to_no_form_gives_nothing(says: tuple[str | None, str]) -> None:
    assert await small_is_as_good("q", "s", "l", FakeJudge(*says)) is None


async def test_what_a_judge_reads_and_writes_is_bounded() -> None:
    judge = FakeJudge("A", "B")
    await small_is_as_good("q" * 100_000, "s" * 100_000, "l" * 100_000, judge)
    for body in judge.bodies:
        assert sum(len(message["content"]) for message in body["messages"]) < 8000
        assert body["max_tokens"] <= 16
        assert body["temperature"] == 0
    first, second = (body["messages"][-1]["content"] for body in judge.bodies)
    assert first.index("sss") < first.index("lll")
    assert second.index("sss") > second.index("lll")
