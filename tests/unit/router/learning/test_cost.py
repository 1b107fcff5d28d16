"""What a decision costs is measured over many different chats in both languages."""

from itertools import count

import orjson
import pytest

from router.estimate import Judge
from router.learning.cost import _bodies, decision_cost
from tests.fakes.judges import weights


@pytest.mark.parametrize("is_chinese", [True, False])
@pytest.mark.parametrize("chars", [20, 500, 20_000])
def test_each_chat_has_its_length_and_its_language_and_they_differ(is_chinese: bool, chars: int) -> None:
    texts = [orjson.loads(body)["messages"][0]["content"] for body in _bodies(is_chinese, chars)]
    assert {len(text) for text in texts} == {chars}
    assert len(set(texts)) == len(texts)
    assert all(text.isascii() != is_chinese for text in texts)


def test_the_clock_is_shared_out_over_the_decisions() -> None:
    seconds = count()
    cost = decision_cost(Judge(weights()), lambda: float(next(seconds)))
    # A second passed between any two looks at it, in which 32 chats were decided.
    assert cost == pytest.approx((1e6 / 32,) * 3)
