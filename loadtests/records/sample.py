"""One request and what became of it: the row that all figures come from."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import orjson

ERRORS: Final = {
    "refused": "no connection was made",
    "reset": "the connection broke before the answer was whole",
    "timeout": "nothing came for as long as limits.timeout_s, or the drain was over",
    "stream_error": "the stream held an error event",
    "no_tokens": "the answer ended without a token",
    "unreadable": "the answer is not what the API promises",
    "not_sent": "limits.max_in_flight was reached",
}
"""Kinds of errors beside `http_NNN`, and what each means."""


class Sample(NamedTuple):
    """All times in seconds; made once for each request, thousands a second. The order of fields is the wire's order."""

    at_s: float
    """When it was due, since the run began; in a closed loop: when it was sent."""
    lag_s: float
    """Sent minus due: what the generator itself added. 0 in a closed loop."""
    stage: int
    """Index into the plan's stages."""
    worker: int
    kind: str
    turn: int
    """0 for the first."""
    person: int
    """Whose conversation it belongs to."""
    question: str
    """Id of the labelled question, conversation or errand; "" where prompts are made to length."""
    language: str
    difficulty: str
    """easy, hard or "" where nobody has labelled it."""
    tenant: str
    level: str
    asked: str
    """The model asked for."""
    answered_by: str
    """The router's word, else the model field of the answer; "" if there is none."""
    reason: str
    """x-fenzhen-reason, at most 200 characters."""
    status: int
    """HTTP; 0 without an answer."""
    error: str
    """"" or a kind of error: see ERRORS; never what a server said."""
    ttft_s: float | None
    """Sent to first token (text or tool call). Of an answer that is not streamed: to its last byte."""
    tpot_s: float | None
    """(last token - first) / (tokens - 1), tokens by the server's usage; None for one token or no stream."""
    e2e_s: float | None
    """Sent to the last byte."""
    max_itl_s: float | None
    """The longest gap between two pieces of a stream."""
    prompt_tokens: int
    """By the server's usage; 0 if it says none."""
    completion_tokens: int
    cached_tokens: int | None
    """Of the prompt, as usage.prompt_tokens_details says; None if it does not."""
    finish: str
    tool_calls: int
    is_right: bool | None
    """Whether a labelled question was answered rightly; None where nobody can tell."""

    @property
    def first_s(self) -> float | None:
        """Due to first token: what a caller feels, the generator's lag included."""
        return None if self.ttft_s is None else self.lag_s + self.ttft_s

    @property
    def whole_s(self) -> float | None:
        """Due to the last byte."""
        return None if self.e2e_s is None else self.lag_s + self.e2e_s


def as_line(sample: Sample) -> bytes:
    """One line of samples.jsonl: an array in the order of the fields, floats to a microsecond."""
    return orjson.dumps([round(field, 6) if type(field) is float else field for field in sample]) + b"\n"


def read_samples(lines: Iterable[bytes]) -> Iterator[Sample]:
    """Back from lines; a last one that a kill has cut off is left out. Raises ValueError for any other broken one."""
    broken = None
    for line in lines:
        if broken is not None:
            raise ValueError(broken)
        try:
            yield Sample(*orjson.loads(line))
        except (orjson.JSONDecodeError, TypeError) as error:
            broken = f"a line of samples cannot be read: {error}"
