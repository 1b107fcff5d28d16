"""Whom the draw of a version is for: the same people and conversations always get the same one."""

from hashlib import blake2b
from typing import Final

from router.affinity import home_of
from router.engine_request import body_of
from router.openai_request import ApiRequest

# OpenAI's fields for a stable name of the person behind the application (`user` is the older one), and for what belongs
# together.
_NAMES: Final = ("user", "safety_identifier", "prompt_cache_key")


def key_of(asked: ApiRequest, raw: bytes) -> int | None:
    """The user that the body names, else the conversation, 64 bits; None where it tells of neither."""
    # The quick reader passes over fields that the router does not know. To look for `user` in the bytes would cost as
    # much as to take them apart.
    body = body_of(asked, raw)
    for field in _NAMES:
        named = body.get(field)
        if isinstance(named, str) and named:
            return int.from_bytes(blake2b(named.encode("utf-8", "replace"), digest_size=8).digest(), "big")
    return asked.home if asked.body is None else home_of(body)
