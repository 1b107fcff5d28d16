"""Splits and draws as tests need them, and a client that remembers what it was sent."""

from collections.abc import Sequence

from cluster.traffic import Side, Split, Traffic
from router.splits import Drawn

STABLE = Side(0, "small", "small")
CANARY = Side(2, "small", "small@2-abcdefab")


def split(name: str = "small", *, canary: Side = CANARY, ratio: float = 0.5, shadow: float = 0.0) -> Split:
    """A watched split."""
    return Split(name, STABLE, canary, ratio, shadow, rollout_id="r-1")


def traffic(*splits: Split, generation: int = 1) -> Traffic:
    """These splits in force."""
    return Traffic(generation, splits, ())


def to_canary(one: Split | None = None) -> Drawn:
    """A request that the canary answers."""
    one = one or split()
    assert one.canary is not None
    return Drawn(one, one.canary, True, True, False)


def to_stable(one: Split | None = None, *, is_recorded: bool = True, is_shadowed: bool = False) -> Drawn:
    """A request that stable answers."""
    one = one or split()
    return Drawn(one, one.stable, False, is_recorded, is_shadowed)


class FakeClient:
    """Remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.sent.append(("answer", status, headers, body))

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        self.sent.append(("begin", status, headers, content_length))

    def relay(self, parts: Sequence[bytes]) -> None:
        self.sent.append(("relay", list(parts)))

    def end(self) -> None:
        self.sent.append("end")

    def abort(self) -> None:
        self.sent.append("abort")
