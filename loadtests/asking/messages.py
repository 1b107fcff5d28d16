"""What the leader of a run and its workers say to each other, over locust's own channel (msgpack)."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from loadtests.records.gaps import Gaps

PLAN: Final = "fenzhen_plan"
"""To a worker: the plan as JSON, the address, its number and how many there are."""
READY: Final = "fenzhen_ready"
"""To the leader: this worker could begin at once."""
BEGIN: Final = "fenzhen_begin"
"""To a worker: the moment that is second 0."""
STOP: Final = "fenzhen_stop"
"""To a worker: send nothing more; with `cut`, give up what is in flight."""
SECOND: Final = "fenzhen_second"
"""To the leader: the samples and the tick of a second."""
ENDED: Final = "fenzhen_ended"
"""To the leader: all is sent and settled; the gaps."""
FAILED: Final = "fenzhen_failed"
"""To the leader: this worker cannot do its part, and why."""


class Message(Protocol):
    """`locust.rpc.Message`."""

    data: Any
    node_id: str


class Channel(Protocol):
    """A runner of locust. A local one hands every message to itself, under the name `local`."""

    def register_message(self, msg_type: str, listener: Callable[..., None]) -> None:
        """Call `listener(environment=..., msg=Message)` for each message of a type."""
        ...

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        """Send to a worker, from a worker to the leader, or without a name to all workers."""
        ...


def packed(gaps: Mapping[tuple[int, str], Gaps]) -> list[Any]:
    """As lists: neither JSON nor msgpack has keys that are no text."""
    return [[stage, model, [[bucket, count] for bucket, count in one.items()]] for (stage, model), one in gaps.items()]


def unpacked(rows: list[Any]) -> dict[tuple[int, str], Gaps]:
    """Back from `packed`."""
    return {(stage, model): dict(one) for stage, model, one in rows}
