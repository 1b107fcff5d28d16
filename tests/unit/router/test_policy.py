"""Which model is chosen, and what is said about it."""

import pytest

from cluster.errors import NotFound, Unavailable
from cluster.settings import Model
from router.policy import Candidate, Need, Roster, choose, obey, smallest_for_embeddings
from tests.fakes.stack import LARGE, SMALL, card

ENGLISH = card("english", size_b=0.1, max_difficulty=0.5, languages=("en",), tools=False, context_tokens=1000)
EMBED = card("vectors", task="embed")
CARDS = (ENGLISH, SMALL, LARGE)


def need(
    difficulty: float = 0.1, *, languages: tuple[str, ...] = ("en",), tools: bool = False, tokens: int = 300
) -> Need:
    return Need(difficulty, "short question", frozenset(languages), tools, tokens)


def chosen(query: Need, cards: tuple[Model, ...] = CARDS, away: tuple[str, ...] = ()) -> tuple[str, str]:
    choice = choose(query, Roster([Candidate.of(card) for card in cards]).chat, lambda name: name not in away)
    return choice.model, choice.reason


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (need(), "english"),
        (need(0.499), "english"),
        (need(0.5), "large"),
        (need(1.0), "large"),
        (need(languages=("zh",)), "small"),
        (need(0.9, languages=("zh",)), "large"),
        (need(languages=()), "english"),
        (need(tools=True), "small"),
        (need(tokens=1001), "small"),
        (need(tokens=4096), "small"),
    ],
)
def test_the_cheapest_model_that_may_be_trusted_answers(query: Need, model: str) -> None:
    assert chosen(query)[0] == model


def test_a_demand_that_no_model_meets_goes_to_the_largest_and_is_said() -> None:
    for query, words in (
        (need(languages=("ko",)), "ko is written"),
        (need(tokens=9000), "about 9000 tokens are needed"),
    ):
        model, reason = chosen(query)
        assert model == "large"
        assert f"{words} and no model here is made for it" in reason


def test_a_larger_model_stands_in_before_a_smaller_one() -> None:
    assert chosen(need(), away=("english",))[0] == "small"
    assert chosen(need(), away=("english", "small"))[0] == "large"
    model, reason = chosen(need(0.9), away=("large",))
    assert model == "small"
    assert "large would answer but is not ready, so small does" in reason


def test_a_model_that_cannot_read_the_question_never_stands_in() -> None:
    with pytest.raises(Unavailable, match="small and large are not ready"):
        chosen(need(languages=("zh",)), away=("small", "large"))


def test_a_model_that_makes_embeddings_is_never_chosen_to_chat() -> None:
    assert chosen(need(), (EMBED, SMALL, LARGE))[0] == "small"
    assert chosen(need(0.9), (EMBED, SMALL, LARGE), away=("large",))[0] == "small"


def test_the_reason_is_one_ascii_line() -> None:
    for query in (need(), need(0.9), need(languages=("zh", "ko")), need(tools=True)):
        reason = chosen(query)[1]
        assert reason.isascii()
        assert "\n" not in reason


def test_a_named_model_is_obeyed_if_it_does_the_task() -> None:
    cards = Roster([Candidate.of(card) for card in (*CARDS, EMBED)])
    assert obey("small", cards, "chat").model == "small"
    assert obey("vectors", cards, "embed").model == "vectors"
    assert smallest_for_embeddings(cards).model == "vectors"
    with pytest.raises(NotFound, match="auto, english, small, large"):
        obey("vectors", cards, "chat")
    with pytest.raises(NotFound, match="Models that make embeddings: vectors"):
        obey("small", cards, "embed")
