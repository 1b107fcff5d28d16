"""Which model is chosen, and what is said about it."""

from math import log

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cluster.errors import NotFound, Unavailable
from cluster.settings import Model
from router.policy import UPRIGHT, Choice, Leaning, Need, Roster, candidates_of, choose, obey, smallest_for_embeddings
from router.scale import Scale
from tests.fakes.stack import LARGE, SMALL, card

ENGLISH = card("english", size_b=0.1, max_difficulty=0.5, languages=("en",), tools=False, context_tokens=1000)
EMBED = card("vectors", task="embed")
CARDS = (ENGLISH, SMALL, LARGE)
PAIR = (SMALL, LARGE)
# Whether a large model fails, too, is not asked: what is difficult is then simply what a model is likely to fail.
PLAIN = Scale(strong_trust_ratio=0.0)
HELD = Leaning(up_margin=0.15, down_margin=0.25)


def need(
    difficulty: float = 0.1, *, languages: tuple[str, ...] = ("en",), tools: bool = False, tokens: int = 300
) -> Need:
    odds = -log(max(difficulty, 1e-9) / max(1 - difficulty, 1e-9))
    return Need(difficulty, "short question", frozenset(languages), tools, tokens, (odds, odds + 6), PLAIN)


def choice_of(
    query: Need, cards: tuple[Model, ...] = CARDS, away: tuple[str, ...] = (), leaning: Leaning = UPRIGHT
) -> Choice:
    return choose(query, Roster(candidates_of(cards)).chat, lambda name: name not in away, leaning)


def chosen(
    query: Need, cards: tuple[Model, ...] = CARDS, away: tuple[str, ...] = (), leaning: Leaning = UPRIGHT
) -> tuple[str, str]:
    return choice_of(query, cards, away, leaning)[:2]


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (need(), "english"),
        (need(0.499), "english"),
        (need(0.5), "small"),
        (need(0.94), "small"),
        (need(0.96), "large"),
        (need(1.0), "large"),
        (need(languages=("zh",)), "small"),
        (need(0.96, languages=("zh",)), "large"),
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
    model, reason = chosen(need(0.96), away=("large",))
    assert model == "small"
    assert "large would answer but is not ready, so small does" in reason


def test_a_model_that_cannot_read_the_question_never_stands_in() -> None:
    with pytest.raises(Unavailable, match="small and large are not ready"):
        chosen(need(languages=("zh",)), away=("small", "large"))


def test_a_model_that_makes_embeddings_is_never_chosen_to_chat() -> None:
    assert chosen(need(), (EMBED, SMALL, LARGE))[0] == "small"
    assert chosen(need(0.9), (EMBED, SMALL, LARGE))[0] == "large"
    assert chosen(need(0.9), (EMBED, SMALL, LARGE), away=("large",))[0] == "small"


def test_the_reason_is_one_ascii_line() -> None:
    for query in (need(), need(0.9), need(languages=("zh", "ko")), need(tools=True)):
        reason = chosen(query)[1]
        assert reason.isascii()
        assert "\n" not in reason


def test_a_named_model_is_obeyed_if_it_does_the_task() -> None:
    cards = Roster(candidates_of((*CARDS, EMBED)))
    assert obey("small", cards, "chat").model == "small"
    assert obey("vectors", cards, "embed").model == "vectors"
    assert smallest_for_embeddings(cards).model == "vectors"
    with pytest.raises(NotFound, match="auto, english, small, large"):
        obey("vectors", cards, "chat")
    with pytest.raises(NotFound, match="Models that make embeddings: vectors"):
        obey("small", cards, "embed")


def test_abilities_follow_from_the_places_unless_a_card_states_one() -> None:
    def abilities(*cards: Model) -> list[float]:
        return [one.ability for one in candidates_of(cards)]

    assert abilities(SMALL) == [0]
    assert abilities(SMALL, LARGE) == [0, 1]
    assert abilities(*CARDS) == [0, 0.5, 1]
    assert abilities(ENGLISH, EMBED, card("able", ability=0.8), LARGE) == [0, 0, 0.8, 1]


def test_a_model_in_between_is_trusted_with_what_is_easy_for_it() -> None:
    middle = card("small", size_b=0.5, max_difficulty=0.5, ability=0.3)
    # Log-odds of -1 at 0 and 5 at 1 are 0.8 at 0.3.
    query = need(1 / (1 + 2.718281828**-1))
    assert chosen(query, (ENGLISH, middle, LARGE))[0] == "small"
    weaker = middle.model_copy(update={"ability": 0.1})
    assert chosen(query, (ENGLISH, weaker, LARGE))[0] == "large"


@pytest.mark.parametrize(
    ("difficulty", "relief", "model"),
    [
        (0.55, {"small": 0.0, "large": 0.1}, "small"),
        (0.65, {"small": 0.0, "large": 0.1}, "large"),
        (0.45, {"small": 0.1, "large": 0.0}, "large"),
        (0.35, {"small": 0.1, "large": 0.0}, "small"),
        (0.45, {"small": 0.1, "large": 0.1}, "small"),
        (0.55, {"small": 0.1, "large": 0.1}, "large"),
        (0.55, {"small": 0.05, "large": 0.15}, "small"),
        (0.62, {"small": 0.05, "large": 0.15}, "large"),
    ],
)
def test_a_busy_model_is_spared_what_lies_near_its_border(
    difficulty: float, relief: dict[str, float], model: str
) -> None:
    choice = choice_of(need(difficulty), PAIR, leaning=Leaning(relief))
    assert choice.model == model
    fitting = "small" if difficulty < 0.5 else "large"
    assert choice.relieved == ("" if model == fitting else fitting)
    assert (f"{fitting} is busy and this is near its border: {model} answers" in choice.reason) == (model != fitting)


def test_load_moves_nothing_to_a_model_that_cannot_take_it_or_is_not_there() -> None:
    large_is_busy, small_is_busy = Leaning({"small": 0.0, "large": 0.15}), Leaning({"small": 0.15, "large": 0.0})
    no_tools = card("small", size_b=0.5, max_difficulty=0.5, tools=False)
    for query in (need(0.55, tools=True), need(0.55, languages=("fr",)), need(0.55, tokens=5000)):
        assert chosen(query, (no_tools, LARGE), leaning=large_is_busy)[0] == "large"
    assert chosen(need(0.45), PAIR, away=("large",), leaning=small_is_busy) == (
        "small", "easy (short question): small answers",
    )  # fmt: skip


def test_load_never_moves_what_is_clearly_easy_or_hard() -> None:
    for bar in (0.05, 0.5, 0.95):
        cards = (card("small", size_b=0.5, max_difficulty=bar), LARGE)
        easy, hard = need(bar / 2 - 0.005), need((1 + bar) / 2 + 0.005)
        assert chosen(easy, cards, leaning=Leaning({"small": 0.5, "large": 0.0}))[0] == "small"
        assert chosen(hard, cards, leaning=Leaning({"small": 0.0, "large": 0.5}))[0] == "large"
    for bar in (0.0, 1.0):
        cards = (card("small", size_b=0.5, max_difficulty=bar), LARGE)
        for relief in ({"small": 0.5, "large": 0.0}, {"small": 0.0, "large": 0.5}):
            assert chosen(need(0.001), cards, leaning=Leaning(relief))[0] == ("small" if bar else "large")
            assert chosen(need(0.999), cards, leaning=Leaning(relief))[0] == ("small" if bar else "large")


@pytest.mark.parametrize(
    ("earlier", "difficulty", "model"),
    [
        ("small", 0.6, "small"), ("small", 0.66, "large"), ("small", 0.1, "small"),
        ("large", 0.3, "large"), ("large", 0.24, "small"), ("large", 0.9, "large"),
        ("gone", 0.6, "large"), ("gone", 0.3, "small"),
    ],
)  # fmt: skip
def test_a_conversation_stays_with_its_model_near_the_border(earlier: str, difficulty: float, model: str) -> None:
    kept = choice_of(need(difficulty), PAIR, leaning=HELD._replace(earlier=earlier))
    assert kept.model == model
    fresh = "small" if difficulty < 0.5 else "large"
    assert (f"but {earlier} answered before" in kept.reason) == (model != fresh)


def test_a_conversation_leaves_a_model_that_cannot_take_its_next_turn() -> None:
    no_tools = card("small", size_b=0.5, max_difficulty=0.5, tools=False)
    held = HELD._replace(earlier="small")
    assert chosen(need(0.1, tools=True), (no_tools, LARGE), leaning=held)[0] == "large"
    assert chosen(need(0.1), PAIR, away=("small",), leaning=held)[0] == "large"


def test_a_conversation_that_has_to_leave_its_model_goes_where_its_question_belongs() -> None:
    cards = (card("tiny", size_b=0.1, max_difficulty=0.5), card("small", size_b=0.5, max_difficulty=0.99), LARGE)
    # The large model would keep it from the smallest by the margin, but not from the one in between.
    assert chosen(need(0.45), cards, leaning=HELD._replace(earlier="large"))[0] == "tiny"


def test_a_conversation_moved_by_load_comes_back_only_when_the_gain_is_clear() -> None:
    busy = HELD._replace(relief={"small": 0.0, "large": 0.15}, earlier="small")
    assert chosen(need(0.72), PAIR, leaning=busy)[0] == "small"
    assert chosen(need(0.72), PAIR, leaning=busy._replace(relief={}))[0] == "large"
    assert chosen(need(0.6), PAIR, leaning=busy._replace(relief={}))[0] == "small"


SHARE = st.floats(0, 1)
NAMES = ("a", "b", "c", "d")


@st.composite
def rosters(draw: st.DrawFn) -> tuple[Model, ...]:
    count = draw(st.integers(1, 4))
    return tuple(
        card(
            name, size_b=place + 1, max_difficulty=draw(SHARE), ability=draw(st.none() | SHARE),
            languages=draw(st.sampled_from([("en",), ("en", "zh"), ("zh",)])), tools=draw(st.booleans()),
            context_tokens=draw(st.sampled_from([100, 1000])),
        )
        for place, name in enumerate(NAMES[:count])
    )  # fmt: skip


leanings = st.builds(
    Leaning,
    relief=st.one_of(st.just({}), st.fixed_dictionaries({name: st.floats(0, 0.5) for name in NAMES})),
    earlier=st.sampled_from((None, *NAMES)),
    up_margin=SHARE,
    down_margin=SHARE,
)
needs = st.builds(
    lambda small, large, scale, languages, tools, tokens: Need(
        scale.difficulty(small, large), "any", frozenset(languages), tools, tokens, (small, large), scale
    ),
    st.floats(-8, 8), st.floats(-8, 8), st.builds(Scale, SHARE, st.floats(0.05, 0.95)),
    st.sampled_from([(), ("en",), ("zh",)]), st.booleans(), st.sampled_from([50, 500]),
)  # fmt: skip


@given(needs, rosters(), leanings, st.sets(st.sampled_from(NAMES)))
def test_a_model_that_cannot_take_a_query_never_does_while_one_that_can_is_ready(
    query: Need, cards: tuple[Model, ...], leaning: Leaning, away: set[str]
) -> None:
    able = {
        one.name
        for one in cards
        if query.languages <= set(one.languages) and one.context_tokens >= query.tokens and one.tools >= query.tools
    }
    assume(able)
    try:
        answered_by = chosen(query, cards, tuple(away), leaning)[0]
    except Unavailable:
        assert able <= away
    else:
        assert answered_by in able - away


@given(rosters(), st.floats(-8, 8), st.floats(-8, 8), st.floats(-8, 8), st.builds(Scale, SHARE, st.floats(0.05, 0.95)))
def test_without_load_a_harder_question_never_goes_to_a_cheaper_model(
    cards: tuple[Model, ...], one: float, other: float, large: float, scale: Scale
) -> None:
    def place(small: float) -> int:
        query = Need(scale.difficulty(small, large), "any", frozenset(), False, 10, (small, large), scale)
        return NAMES.index(chosen(query, cards)[0])

    assert place(max(one, other)) <= place(min(one, other))


@given(needs, rosters(), leanings)
def test_load_and_an_earlier_turn_decide_only_near_a_bar(
    query: Need, cards: tuple[Model, ...], leaning: Leaning
) -> None:
    widest = max([*leaning.relief.values(), 0.0]) + max(leaning.up_margin, leaning.down_margin)
    away_from_bars = all(
        abs(query.scale.difficulty(*query.chances, one.ability) - one.max_difficulty) > widest
        for one in candidates_of(cards)
    )
    assume(away_from_bars)
    assert chosen(query, cards, leaning=leaning)[0] == chosen(query, cards)[0]
