"""A load to be put on one or more addresses, and what came of it: what goes into `client` and what comes out."""

import statistics
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Target(BaseModel):
    """An address, and what to ask it in turn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    port: int
    host: str = "127.0.0.1"
    path: str = "/v1/chat/completions"
    bodies: tuple[str, ...] = Field(min_length=1)
    """JSON, asked one after the other and then from the first again."""
    headers: tuple[str, ...] = ()
    """Lines such as `x-request-id: mine-{n}`; {n} becomes a number that no other request of this load has."""


class Load(BaseModel):
    """What one client process does.

    Without `rate_per_s` the loop is closed: each connection asks again when it is answered, for `seconds`, or until
    `total` requests are sent. With it requests are due at that rate, spread over the targets in turn, whether or not
    earlier ones are answered, and latency counts from the moment when a request was due.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: tuple[Target, ...] = Field(min_length=1)
    seconds: float = Field(gt=0)
    connections: int = Field(default=32, ge=1)
    """Of each target. In an open loop: the most of them; those that find all busy wait, and the wait counts."""
    rate_per_s: float | None = Field(default=None, gt=0)
    total: int | None = Field(default=None, ge=1)
    """Closed loop: of each target."""
    ramp_s: float = Field(default=0.0, ge=0)
    """Closed loop: the connections are opened one after the other over so long."""
    chunks: int = Field(default=0, ge=0, le=4000)
    """What each streamed answer must have; 0: answers are not streamed."""
    timeout_s: float = Field(default=30.0, gt=0)
    """From a request to the end of its answer."""
    keep_values: bool = False
    """Report each latency and not only percentiles."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.rate_per_s is not None and (self.total is not None or self.ramp_s):
            raise ValueError("total and ramp_s belong to a closed loop, rate_per_s to an open one")
        return self


class Spread(BaseModel):
    """Percentiles of one kind of duration, milliseconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    values_ms: tuple[float, ...] = ()

    @classmethod
    def of_ns(cls, values_ns: Sequence[int], *, keep_values: bool = False) -> Self | None:
        """Of nanoseconds; None of nothing."""
        if not values_ns:
            return None
        return cls.of_ms([value / 1e6 for value in values_ns], keep_values=keep_values)

    @classmethod
    def of_ms(cls, values_ms: Sequence[float], *, keep_values: bool = False) -> Self:
        """Of milliseconds, at least one."""
        cuts = percentiles(values_ms)
        return cls(
            count=len(values_ms),
            p50_ms=cuts[49],
            p90_ms=cuts[89],
            p99_ms=cuts[98],
            max_ms=max(values_ms),
            values_ms=tuple(round(value, 4) for value in values_ms) if keep_values else (),
        )


class Report(BaseModel):
    """What came of a load at one target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sent: int
    right: int
    """Answered whole and with what was expected."""
    errors: dict[str, int]
    """How many by kind. A request without a right answer is here, once."""
    connections_made: int
    elapsed_s: float
    """From the first request to the last answer."""
    chunks: int
    """In all right streams."""
    latency: Spread | None
    """Until an answer's end."""
    ttft: Spread | None
    """Until a stream's first words."""
    gap: Spread | None
    """Between the words of streams; words that came in one read have none between them."""

    @property
    def rps(self) -> float:
        """Right answers a second."""
        return self.right / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def chunks_per_s(self) -> float:
        """Chunks of right streams a second."""
        return self.chunks / self.elapsed_s if self.elapsed_s else 0.0


class Reports(BaseModel):
    """What the client prints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reports: tuple[Report, ...]

    def of(self, name: str) -> Report:
        """The report of one target. Raises KeyError."""
        for report in self.reports:
            if report.name == name:
                return report
        raise KeyError(name)


def percentiles(values: Sequence[float]) -> list[float]:
    """The 99 cuts between hundredths; index 49 is the median."""
    if len(values) == 1:
        return [values[0]] * 99
    return statistics.quantiles(values, n=100, method="inclusive")
