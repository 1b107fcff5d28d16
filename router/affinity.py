"""Which endpoint a conversation belongs to, so that the engine still has its beginning in its prefix cache.

Every router replica works it out by itself from the conversation's first words: nothing is remembered and nothing
shared. Source: V. Mirrokni, M. Thorup, M. Zadimoghaddam, Consistent Hashing with Bounded Loads, 2016,
https://arxiv.org/abs/1608.01350: a request goes to the first endpoint after its place on a ring that is not busier than
its share by more than a given factor.
"""

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import numpy as np
import orjson

from router.compiled import njit, types

# More places an endpoint spread the load better and cost more to build; the bound on load levels the rest.
_PLACES: Final = 16
# A caller's neighbours on the ring that are looked at before affinity is given up: most of a pool may be away.
_MAX_STEPS: Final = 32
# Conversations that differ only behind these many characters share what is worth sharing.
MAX_CHARS: Final = 4096

Member = TypeVar("Member")


class Ring(Generic[Member]):
    """Members in places given by their names."""

    def __init__(self, members: Sequence[tuple[str, Member]]) -> None:
        """`members`: name and member."""
        places = sorted(
            ((_hash(f"{name}#{number}".encode()), place) for place, (name, _) in enumerate(members)
             for number in range(_PLACES)),
        )  # fmt: skip
        self._points = [point for point, _ in places]
        in_order = [members[place][1] for _, place in places]
        self._steps = min(_MAX_STEPS, len(in_order))
        # With the beginning once more behind the end, so that no step has to turn round.
        self._round = in_order + in_order[: self._steps]

    def from_place(self, key: int) -> list[Member]:
        """The member at or after `key` and its neighbours behind it, nearest first; one may come several times."""
        start = bisect_right(self._points, key)
        return self._round[start : start + self._steps]


@njit(types.int64(types.Array(types.uint32, 1, "C", readonly=True)), cache=True)
def place_of(points):  # type: ignore[no-untyped-def]
    """The place of a text (code points) on every ring, 63 bits.

    FNV-1a over the points, then the last step of MurmurHash3, which spreads short texts over all bits. Sources:
    http://www.isthe.com/chongo/tech/comp/fnv/ and https://github.com/aappleby/smhasher (public domain both).
    """
    value = np.uint64(0xCBF29CE484222325)
    for point in points[:MAX_CHARS]:
        value = (value ^ np.uint64(point)) * np.uint64(0x100000001B3)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return np.int64(value >> np.uint64(1))


def home_of(body: dict[str, Any]) -> int | None:
    """The place of a conversation on a ring: the same for all its turns. None for a body without one.

    `prompt_cache_key` (OpenAI's field for this purpose) if the caller gives one, else the texts up to the first
    question, or the beginning of a completion's prompt.
    """
    named = body.get("prompt_cache_key")
    if isinstance(named, str) and named:
        return _place_of_text(named)
    messages = body.get("messages")
    if messages is None:
        prompt = body.get("prompt")
        return _place_of_text(prompt) if isinstance(prompt, str) else None
    words = []
    for message in messages:
        content = message.get("content")
        words.append(content[:MAX_CHARS] if isinstance(content, str) else _written(content))
        if message.get("role") == "user":
            break
    return _place_of_text("".join(words))


def _place_of_text(text: str) -> int:
    return int(place_of(np.frombuffer(text[:MAX_CHARS].encode("utf-32-le", "replace"), np.uint32)))


def _written(content: object) -> str:
    """Parts of a message, pictures included: they stand in the prefix cache like words."""
    try:
        return orjson.dumps(content).decode()
    except orjson.JSONEncodeError:
        # Nested too deeply for orjson; the request will be refused where it is written.
        return ""


def _hash(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1
