"""Requests made to length: prompts as long, and as much alike, as a plan or a trace says."""

from collections.abc import Iterator
from typing import Final

from loadtests.arrivals.arrival import Arrival
from loadtests.plan import Lengths, Plan
from loadtests.workload.body import Body, Message, signed
from loadtests.workload.filler import Filler

TEMPLATE_TOKENS: Final = 30
"""That a chat template adds to one message: taken off a prompt's words. Measured: SmolLM2 30, Qwen2.5 29."""
_HOLE: Final = "@text@"


class MadeUp:
    """Prompts without meaning, whose answers are as long as they are told to be."""

    def __init__(self, plan: Plan, body: Body) -> None:
        self._body = body
        self._filler = Filler(plan.seed)
        self._lengths = plan.workload.lengths or Lengths()

    def body(self, number: int, arrival: Arrival | None, *, is_streamed: bool) -> bytes:
        """The request of person `number`, who shares with others what the plan or the trace says."""
        answer_tokens = self._lengths.answer_tokens or (arrival and arrival.answer_tokens)
        # Without a length of its own the answer ends where the model ends it, or at max_tokens.
        more = {"max_tokens": answer_tokens, "ignore_eos": True} if answer_tokens else {}
        # One message and no other, as public tools send it: the same prompts can then be compared.
        messages: list[Message] = [{"role": "user", "content": _HOLE}]
        unsigned = self._body.unsigned(messages, is_streamed=is_streamed, more=more)
        before, _, after = unsigned.rpartition(_HOLE.encode())
        # Words are plain letters: JSON needs nothing escaped.
        return signed(b"".join((before, b"".join(self._text(number, arrival))[1:], after)), number)

    def _text(self, number: int, arrival: Arrival | None) -> Iterator[bytes]:
        # Construction has made sure that one of the two is there.
        tokens = self._lengths.prompt_tokens or (arrival.prompt_tokens if arrival else None) or 0
        words = max(1, tokens - TEMPLATE_TOKENS)
        if self._lengths.prompt_tokens is None and arrival and arrival.prefix_blocks:
            for block in arrival.prefix_blocks:
                if words <= 0:
                    return
                yield self._filler.text("block", block, min(words, arrival.block_tokens))
                words -= arrival.block_tokens
        else:
            # The template's tokens are shared, too.
            shared = min(words, max(0, round(tokens * self._lengths.prefix_ratio) - TEMPLATE_TOKENS))
            yield self._filler.text("prefix", number % self._lengths.prefixes, shared)
            words -= shared
        if words > 0:
            yield self._filler.text("alone", number, words)
