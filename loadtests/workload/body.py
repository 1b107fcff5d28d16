"""The JSON of a chat request. What is the same for everybody who asks it is serialised once."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import orjson

from loadtests.plan import Plan

Message = dict[str, object]

# Without the usage in a stream, tokens could only be guessed from its pieces.
_STREAMED: Final = MappingProxyType({"stream": True, "stream_options": {"include_usage": True}})
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class Body:
    """What all requests of a plan have in common."""

    def __init__(self, plan: Plan) -> None:
        self._model = plan.target.model
        self._max_tokens = plan.workload.max_tokens
        self._temperature = plan.workload.temperature

    def unsigned(
        self, messages: Sequence[Message], *, is_streamed: bool, more: Mapping[str, object] = _NOTHING
    ) -> bytes:
        """A request by nobody yet, its last brace left out; fields of `more` come after ours and may replace them."""
        fields = {
            "model": self._model,
            "messages": messages,
            "max_tokens": self._max_tokens,
            "temperature": self._temperature,
            **(_STREAMED if is_streamed else _NOTHING),
            **more,
        }
        return orjson.dumps(fields)[:-1]


def signed(unsigned: bytes, person: int) -> bytes:
    """The request of one person: the same `user` in all their turns, by which versions are split fairly."""
    return b'%b,"user":"person-%d"}' % (unsigned, person)
