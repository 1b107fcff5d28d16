"""Who answered a conversation's turn before: its model still has the beginning in its prefix cache.

A turn is known by the words up to its question: many conversations begin with the same greeting, and must part where
their words do. Each replica remembers what it answered itself. A client keeps its connection, and so its replica, for
a conversation's length as a rule; one that does not is judged afresh, no worse than if nothing were remembered.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from router.affinity import MAX_CHARS, place_of
from router.compiled import njit, types

# A turn takes some 100 bytes in its two tables: 7 MB when they are full.
MAX_TURNS: Final = 65_536
# Engines that are busy have overwritten a conversation's keys and values long before; a person who comes back later
# waits for the prefill with any model.
KEEP_S: Final = 1800.0
_GENERATIONS: Final = 2
# A later turn is told by its conversation's home, by how long the conversation is, and by so many characters at its
# end, which hold an answer's last words and the question: two that agree in all of it are the same.
_TAIL_CHARS: Final = 256


@njit(types.int64(types.uint32[::1], types.int64, types.int64), cache=True)
def place_of_turn(points, end, home):  # type: ignore[no-untyped-def]
    """Where a turn after the first is remembered: the one whose question ends before `points[end]`. 63 bits.

    Hashed as by `affinity.place_of`.
    """
    value = (np.uint64(0xCBF29CE484222325) ^ np.uint64(home)) * np.uint64(0x100000001B3)
    value = (value ^ np.uint64(end)) * np.uint64(0x100000001B3)
    for point in points[max(0, end - _TAIL_CHARS) : end]:
        value = (value ^ np.uint64(point)) * np.uint64(0x100000001B3)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return np.int64(value >> np.uint64(1))


def places_of(messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> tuple[int | None, int | None]:
    """Where the turn before is remembered, and where this one is to be; None where there is none.

    `texts` are those of the messages, one each. What follows the newest question (calls of tools and their results)
    is part of its turn: what went before is then this turn itself, a step earlier.
    """
    asked = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    if not asked:
        return None, None
    home = place_of(_points("".join(texts[: asked[0] + 1])[:MAX_CHARS]))

    def place(turn: int) -> int:
        if turn == 0:
            return int(home)
        words = _points("".join(texts[: asked[turn] + 1]))
        return int(place_of_turn(words, len(words), home))

    newest = len(asked) - 1
    here = place(newest)
    if any(texts[asked[-1] + 1 :]) or any(message.get("tool_calls") for message in messages[asked[-1] + 1 :]):
        return here, here
    return (place(newest - 1) if newest else None), here


def _points(text: str) -> np.ndarray:
    return np.array(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32))


class Conversations:
    """Two tables, the older of which is forgotten whole: neither times nor an order are kept for each turn.

    A turn is remembered for at least half of `keep_s` and at most all of it, while fewer than half of `max_turns` come
    in that time. Lives on one event loop.
    """

    __slots__ = ("_half_s", "_half_turns", "_new", "_old", "_since_s")

    def __init__(self, now_s: float, *, max_turns: int = MAX_TURNS, keep_s: float = KEEP_S) -> None:
        self._half_turns = max_turns // _GENERATIONS
        self._half_s = keep_s / _GENERATIONS
        self._new: dict[int, str] = {}
        self._old: dict[int, str] = {}
        self._since_s = now_s

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def earlier(self, before: int | None) -> str | None:
        """The model that answered the turn before, if that is known."""
        if before is None:
            return None
        model = self._new.get(before)
        return model if model is not None else self._old.get(before)

    def remember(self, here: int, model: str) -> None:
        """This turn was answered by that model."""
        new = self._new
        new[here] = model
        if len(new) >= self._half_turns:
            self._old, self._new = new, {}

    def sweep(self, now_s: float) -> None:
        """Forget what is old."""
        if now_s - self._since_s >= self._half_s:
            self._old, self._new = self._new, {}
            self._since_s = now_s
