"""What is to break, and when: one short word of a plan or a command line, read into a value."""

import difflib
import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from cluster.durations import seconds_of
from cluster.errors import UserError

FaultKind = Literal["kill-engine", "kill-router", "kill-registry", "slow-link", "fill-disk"]
KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
GRAMMAR: Final = "KIND[:TARGET][=AMOUNT]@AT[+FOR], such as kill-engine:small@30s or slow-link=200ms@30s+20s"
# A request is given up after two minutes; a longer delay is a broken line, which is another fault.
MAX_DELAY_S: Final = 60.0
_PARTS: Final = re.compile(r"([a-z-]+)(?::([^=@+]+))?(?:=([^=@+]+))?@([^=@+]+)(?:\+([^=@+]+))?")
_LOOPBACK_PORT: Final = re.compile(r"127\.0\.0\.1:(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is broken on purpose."""

    kind: FaultKind
    at_s: float
    """Since the run began."""
    for_s: float | None = None
    """After which it is taken back; None: at the end of the run, or never where that is impossible."""
    target: str | None = None
    """A model for kill-engine, 127.0.0.1:PORT of a link for slow-link."""
    delay_s: float | None = None
    """Of slow-link only."""

    @property
    def port(self) -> int | None:
        """Of the link that a slow-link names."""
        return int(self.target.rpartition(":")[2]) if self.kind == "slow-link" and self.target else None


def parse_fault(text: str) -> Fault:
    """Read one fault. Raises UserError with how to write it."""
    parts = _PARTS.fullmatch(text.strip())
    if parts is None:
        raise UserError(f"{text!r} is no fault; write {GRAMMAR}; kinds: {', '.join(KINDS)}")
    kind, target, amount, at, lasting = parts.groups()
    fault = Fault(
        kind=_kind(text, kind),
        at_s=_seconds(text, at),
        for_s=None if lasting is None else _seconds(text, lasting),
        target=target,
        delay_s=None if amount is None else _seconds(text, amount),
    )
    complaint = _complaint(fault)
    if complaint is not None:
        raise UserError(f"{text!r}: {complaint}; write {GRAMMAR}")
    return fault


def _kind(text: str, name: str) -> FaultKind:
    for kind in KINDS:
        if kind == name:
            return kind
    near = difflib.get_close_matches(name, KINDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"{text!r}: there is no fault {name!r}{hint} Kinds: {', '.join(KINDS)}; write {GRAMMAR}")


def _seconds(text: str, value: str) -> float:
    try:
        return seconds_of(value)
    except ValueError as error:
        raise UserError(f"{text!r}: {error}; write {GRAMMAR}") from error


def _complaint(fault: Fault) -> str | None:
    """Why this cannot be meant."""
    if fault.kind.startswith("kill-") and fault.for_s is not None:
        return "what was killed comes back by itself, so +FOR does not go with it"
    if fault.for_s == 0:
        return "+0 would take it back at once"
    if fault.kind != "slow-link":
        if fault.delay_s is not None:
            return f"=AMOUNT does not go with {fault.kind}"
        if fault.target is not None and fault.kind != "kill-engine":
            return f":TARGET does not go with {fault.kind}"
        return None
    if fault.delay_s is None or not 0 < fault.delay_s <= MAX_DELAY_S:
        return f"slow-link needs a delay of up to {MAX_DELAY_S:.0f}s, as in slow-link=200ms@30s+20s"
    port = _LOOPBACK_PORT.fullmatch(fault.target) if fault.target is not None else None
    if fault.target is not None and not (port and 1 <= int(port[1]) <= 65535):
        return "slow-link's target is 127.0.0.1:PORT of a running `fenzhen loadtest link`"
    return None
