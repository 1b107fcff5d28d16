"""Which endpoint a conversation belongs to, so that the engine still has its beginning in its prefix cache.

Every router replica works it out by itself from the conversation's first words: nothing is remembered and nothing
shared. Source: V. Mirrokni, M. Thorup, M. Zadimoghaddam, Consistent Hashing with Bounded Loads, 2016,
https://arxiv.org/abs/1608.01350: a request goes to the first endpoint after its place on a ring that is not busier than
its share by more than a given factor.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import orjson

# More places an endpoint spread the load better and cost more to build; the bound on load levels the rest.
_PLACES: Final = 16
# A caller's neighbours on the ring that are looked at before affinity is given up: most of a pool may be away.
_MAX_STEPS: Final = 32
# Conversations that differ only behind these many characters share what is worth sharing.
_MAX_CHARS: Final = 2048

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
        self._members = [members[place][1] for _, place in places]

    def first(self, key: int, is_fit: Callable[[Member], bool]) -> Member | None:
        """The first fit member at or after `key`; None if none is near."""
        members = self._members
        size = len(members)
        start = bisect_right(self._points, key)
        for step in range(min(_MAX_STEPS, size)):
            member = members[(start + step) % size]
            if is_fit(member):
                return member
        return None


def key_of(body: dict[str, Any]) -> int | None:
    """The place of a conversation on a ring: the same for all its turns. None for a body without one.

    `prompt_cache_key` (OpenAI's field for this purpose) if the caller gives one, else the system's words and the first
    question, or the beginning of a completion's prompt.
    """
    named = body.get("prompt_cache_key")
    if isinstance(named, str) and named:
        return _hash(named[:_MAX_CHARS].encode("utf-8", "replace"))
    messages = body.get("messages")
    if messages is None:
        prompt = body.get("prompt")
        return _hash(prompt[:_MAX_CHARS].encode("utf-8", "replace")) if isinstance(prompt, str) else None
    words = []
    for message in messages:
        content = message.get("content")
        words.append(content[:_MAX_CHARS].encode("utf-8", "replace") if isinstance(content, str) else _bytes(content))
        if message.get("role") == "user":
            break
    return _hash(b"\0".join(words))


def _bytes(content: object) -> bytes:
    """Parts of a message, pictures included: they stand in the prefix cache like words."""
    try:
        return orjson.dumps(content)[: 4 * _MAX_CHARS]
    except orjson.JSONEncodeError:
        # Nested too deeply for orjson; the request will be refused where it is written.
        return b""


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
