"""What a decision costs: from a chat's bytes to the chosen model, in CPU time of this process."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import orjson

from router.chat_reader import ChatReader
from router.estimate import Judge
from router.judge_file import DEFAULT, load
from router.learning.own_rows import own_rows
from router.policy import AUTO, Candidate, Roster, decide

_SHORT_CHARS: Final = 20
_MIDDLING_CHARS: Final = 500
_LONG_CHARS: Final = 20_000
# So many prompts of a size, in turn: one and the same would find all it needs in the processor's nearest cache.
_PROMPTS: Final = 32
_ROUNDS: Final = 61
_WARM_ROUNDS: Final = 3


class Cost(NamedTuple):
    """CPU of one decision, microseconds: the median over rounds, of Chinese and English the slower."""

    chars_500_us: float
    chars_20000_us: float
    short_us: float


def decision_cost(judge: Judge | None = None, clock: Callable[[], float] = time.process_time) -> Cost:
    """Time the whole decision for prompts of three sizes, by default with the shipped judge.

    Sizes and languages are timed in turn, so that a busy moment of the machine hits all alike.
    """
    reader = ChatReader(judge or Judge(load(DEFAULT)))
    languages = frozenset(("en", "zh"))
    roster = Roster(
        [
            Candidate("small", "chat", languages, True, 32_768, max_difficulty=0.5, ability=0),
            Candidate("large", "chat", languages, True, 32_768, max_difficulty=1, ability=1),
        ]
    )
    sizes = (_MIDDLING_CHARS, _LONG_CHARS, _SHORT_CHARS)
    bodies = [[_bodies(is_chinese, chars) for is_chinese in (True, False)] for chars in sizes]
    taken: list[list[list[float]]] = [[[], []] for _ in sizes]
    for number in range(_WARM_ROUNDS + _ROUNDS):
        for size, pair in enumerate(bodies):
            for language, prompts in enumerate(pair):
                start = clock()
                for body in prompts:
                    _decide(reader, body, roster)
                if number >= _WARM_ROUNDS:
                    taken[size][language].append((clock() - start) / len(prompts) * 1e6)
    return Cost(*(max(float(np.median(times)) for times in pair) for pair in taken))


def _decide(reader: ChatReader, body: bytes, roster: Roster) -> str:
    read = reader.read(body)
    assert read is not None, "an ordinary chat is read in the quick way"
    request, need = read
    return decide(request.model, "chat", need, roster, _is_ready).model


def _is_ready(_: str) -> bool:
    return True


def _bodies(is_chinese: bool, chars: int) -> list[bytes]:
    """Chats of one turn, each of other everyday questions one after the other."""
    questions = [text for text in own_rows().prompts if text.isascii() != is_chinese and ":" not in text]
    joined = [" ".join(questions[place:] + questions[:place]) for place in range(_PROMPTS)]
    return [
        orjson.dumps(
            {"model": AUTO, "messages": [{"role": "user", "content": (text * (chars // len(text) + 1))[:chars]}]}
        )
        for text in joined
    ]


if __name__ == "__main__":
    for name, cost_us in decision_cost()._asdict().items():
        print(f"{name:16} {cost_us:8.1f}")
