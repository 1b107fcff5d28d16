"""What came back, as the one who asked needs it to go on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants called."""

    call_id: str
    name: str
    arguments: str
    """JSON, as the model wrote it; may be broken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; with an error there is none to go on with."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    error: str = ""
    """A kind of `loadtests.records.sample.ERRORS`, or http_NNN."""
