"""Prompts made to length: how long they are, and what they share."""

import functools
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from loadtests.arrivals.arrival import Arrival
from loadtests.plan import Plan
from loadtests.workload.crowd import Crowd
from loadtests.workload.filler import Filler
from loadtests.workload.made_up import TEMPLATE_TOKENS
from loadtests.workload.turn import Turn
from loadtests.workload.words import WORDS

_MODELS = Path.home() / ".cache/fenzhen/models"
_DEFAULT_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def crowd_of(worker: int = 0, workers: int = 1, seed: int = 7, **lengths: object) -> Crowd:
    stage = {"name": "a", "seconds": 60, "arrivals": {"kind": "constant", "rate_per_s": 10}}
    work = {"kinds": {"stream": 1}, "max_tokens": 55, "lengths": lengths or None}
    return Crowd(Plan.model_validate({"seed": seed, "workload": work, "stages": [stage]}), {}, worker, workers)


def text_of(turn: Turn) -> str:
    (message,) = orjson.loads(turn.body)["messages"]
    return str(message["content"])


def traced(crowd: Crowd, tokens: int, *blocks: int, answer: int | None = None) -> str:
    return text_of(crowd.due(Arrival(0.0, 0, tokens, answer, blocks, 64)))


def shared_words(one: str, other: str) -> int:
    pairs = zip(one.split(), other.split(), strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one.split()), len(other.split())))


@functools.cache
def counter() -> Callable[[str], int]:
    """Tokens of a whole prompt: by SmolLM2's tokenizer and template where they are there, else by words."""
    found = sorted(_MODELS.glob("smollm2*/tokenizer.json"))
    try:
        from tokenizers import Tokenizer
    except ImportError:
        found = []
    if not found:
        return lambda text: len(text.split()) + TEMPLATE_TOKENS
    tokenizer = Tokenizer.from_file(str(found[0]))

    def count(text: str) -> int:
        turns = (("system", _DEFAULT_SYSTEM), ("user", text))
        chat = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)
        return len(tokenizer.encode(f"{chat}<|im_start|>assistant\n").ids)

    return count


@pytest.mark.parametrize("tokens", [40, 128, 1000, 9000])
def test_a_prompt_is_as_long_as_was_asked(tokens: int) -> None:
    crowd = crowd_of(prompt_tokens=tokens, prefix_ratio=0.5)
    for _ in range(5):
        assert counter()(text_of(crowd.due(Arrival(0.0, 0)))) == pytest.approx(tokens, rel=0.03)


@pytest.mark.parametrize("tokens", [31, 100, 640, 20_000])
def test_a_traces_prompt_is_as_long_as_was_recorded(tokens: int) -> None:
    crowd = crowd_of()
    blocks = range(-(-tokens // 64))
    assert counter()(traced(crowd, tokens, *blocks)) == pytest.approx(tokens, rel=0.03)
    assert counter()(traced(crowd, tokens)) == pytest.approx(tokens, rel=0.03)


def test_no_prompt_is_empty() -> None:
    assert text_of(crowd_of(prompt_tokens=1).due(Arrival(0.0, 0))) in WORDS


def test_equal_blocks_are_equal_text_and_different_ones_differ_at_once() -> None:
    crowd = crowd_of()
    one, same = traced(crowd, 640, 5, 6, 7, 8), traced(crowd, 640, 5, 6, 7, 8)
    other = traced(crowd, 640, 5, 6, 1007, 8)
    # Four blocks of 64; the rest is nobody else's.
    assert 256 <= shared_words(one, same) < 256 + 4
    assert 128 <= shared_words(one, other) < 128 + 4


def test_a_last_block_cut_short_is_the_beginning_of_the_whole_one() -> None:
    crowd = crowd_of()
    short, whole = traced(crowd, 100 + TEMPLATE_TOKENS, 1, 2), traced(crowd, 128 + TEMPLATE_TOKENS, 1, 2)
    assert whole.startswith(short)
    assert (len(short.split()), len(whole.split())) == (100, 128)


def test_blocks_are_equal_for_all_workers_and_differ_by_seed() -> None:
    ours = traced(crowd_of(), 200, 1, 2, 3, 4)
    assert traced(crowd_of(worker=1, workers=2), 200, 1, 2, 3, 4) == ours
    assert shared_words(traced(crowd_of(seed=8), 200, 1, 2, 3, 4), ours) < 4


def test_many_blocks_are_all_different_within_three_words() -> None:
    filler = Filler(7)
    openings = {filler.text("block", number, 3) for number in range(50_000)}
    openings |= {filler.text("alone", number, 3) for number in range(50_000)}
    assert len(openings) == 100_000


def test_a_very_long_text_goes_on_as_it_began() -> None:
    filler = Filler(7)
    long = filler.text("alone", 4711, 100_000)
    assert len(long.split()) == 100_000
    assert long.startswith(filler.text("alone", 4711, 20_000))


def test_a_part_of_each_prompt_is_shared_by_every_so_many() -> None:
    crowd = crowd_of(prompt_tokens=200, prefix_ratio=0.5, prefixes=3)
    texts = [text_of(crowd.due(Arrival(0.0, 0))) for _ in range(6)]
    for place in range(3):
        # With the template's tokens, which all share, it is a half.
        shared = shared_words(texts[place], texts[place + 3]) + TEMPLATE_TOKENS
        assert 100 <= shared < 104
        assert shared_words(texts[place], texts[(place + 1) % 3]) < 4


def test_workers_share_their_beginnings_and_nothing_else() -> None:
    texts = [
        text_of(crowd_of(worker, 2, prompt_tokens=200, prefix_ratio=0.5, prefixes=1).due(Arrival(0.0, 0)))
        for worker in range(2)
    ]
    assert 100 <= shared_words(*texts) + TEMPLATE_TOKENS < 104


def test_all_or_nothing_may_be_shared() -> None:
    same = crowd_of(prompt_tokens=200, prefix_ratio=1, prefixes=1)
    assert len({text_of(same.due(Arrival(0.0, 0))) for _ in range(5)}) == 1
    own = crowd_of(prompt_tokens=200)
    assert len({text_of(own.due(Arrival(0.0, 0)))[:40] for _ in range(500)}) == 500


def test_an_answer_is_as_long_as_was_asked() -> None:
    body = orjson.loads(crowd_of(prompt_tokens=100, answer_tokens=33).due(Arrival(0.0, 0)).body)
    assert (body["max_tokens"], body["ignore_eos"]) == (33, True)
    free = orjson.loads(crowd_of(prompt_tokens=100).due(Arrival(0.0, 0)).body)
    assert (free["max_tokens"], "ignore_eos" in free) == (55, False)


def test_a_plans_lengths_go_before_a_traces() -> None:
    arrival = Arrival(0.0, 0, 500, 9, (1, 2), 64)
    body = orjson.loads(crowd_of().due(arrival).body)
    assert (body["max_tokens"], body["ignore_eos"]) == (9, True)
    turn = crowd_of(prompt_tokens=100, answer_tokens=33).due(arrival)
    assert orjson.loads(turn.body)["max_tokens"] == 33
    assert len(text_of(turn).split()) == 100 - TEMPLATE_TOKENS


def test_a_made_up_prompt_has_no_label() -> None:
    turn = crowd_of(prompt_tokens=100).begin()
    assert (turn.question, turn.difficulty, turn.language, turn.is_right) == ("", "", "en", None)
    assert orjson.loads(turn.body)["user"] == f"person-{turn.person}"


def test_a_trace_takes_its_kinds_from_the_shares_of_single_ones() -> None:
    stage = {"name": "t", "seconds": 60, "arrivals": {"kind": "trace", "path": "t.csv"}}
    kinds = {"stream": 6, "chat": 1, "conversation": 2, "agent": 1}
    crowd = Crowd(Plan.model_validate({"stages": [stage], "workload": {"kinds": kinds}}), {})
    turns = [crowd.due(Arrival(0.0, 0, 50, 5)) for _ in range(200)]
    assert {turn.kind for turn in turns} == {"chat", "stream"}


def test_every_word_is_there_once() -> None:
    assert len(set(WORDS)) == len(WORDS) == 512
    assert all(word.isascii() and word.isalpha() for word in WORDS)
