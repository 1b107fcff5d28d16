"""Everything that is known of one run, as values. `loadtests.records.run_folder` keeps it on the disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from cluster.closed import Closed
from loadtests.plan import Plan
from loadtests.records.gaps import Gaps
from loadtests.records.sample import Sample
from loadtests.records.tick import Tick

Outcome = Literal["finished", "saturated", "interrupted", "failed"]


class Mark(Closed):
    """Something that was done on purpose while load ran."""

    at_s: float
    """Since the run began."""
    until_s: float | None = None
    """When it was taken back; None: it was not, or it is over at once."""
    kind: str
    """kill-engine, slow-link, …"""
    text: str
    """One short line for people: what was done to whom, or why it could not be done."""
    is_done: bool = True
    """False: it failed; `text` says why."""


class EngineReading(Closed):
    """What one engine said of itself at one moment."""

    at_s: float
    engine: str
    """Its model and address."""
    running: float
    waiting: float
    kv_used_ratio: float | None = None


class EngineTotals(Closed):
    """What one engine counted during the run: differences; None: it has no such counter, or has restarted."""

    engine: str
    model: str
    queue_count: float | None = None
    queue_sum_s: float | None = None
    queue_p50_s: float | None = None
    """From the histogram's buckets, linear within one."""
    queue_p99_s: float | None = None
    prefix_hit_tokens: float | None = None
    prefix_asked_tokens: float | None = None
    preemptions: float | None = None


class EnginesSeen(Closed):
    """All engines whose metrics could be read, and the router's own counters."""

    readings: tuple[EngineReading, ...] = ()
    totals: tuple[EngineTotals, ...] = ()
    router: dict[str, float] = Field(default_factory=dict)
    """Differences of the router's counters, such as fenzhen_relieved_total{from="small",to="large"}."""
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""


class About(Closed):
    """Where and with what a run was made."""

    started_unix_s: float
    ended_unix_s: float | None = None
    outcome: Outcome = "failed"
    message: str = ""
    """One sentence for a person, where there is something to say."""
    saturated_at_s: float | None = None
    target_url: str
    """Without credentials."""
    tested: str
    """What answers there, in words: the configuration, its models and engines; empty if nothing is known."""
    machine: dict[str, str] = Field(default_factory=dict)
    """Processor, cores, memory, GPUs, operating system, as short texts."""
    versions: dict[str, str] = Field(default_factory=dict)
    """fenzhen with its commit, engine, locust, python."""
    processes: int = 1
    """Of the generator."""
    generator_notes: tuple[str, ...] = ()
    """Why its figures may not be trusted: lag, processor."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, read back."""

    plan: Plan
    about: About
    samples: tuple[Sample, ...]
    ticks: tuple[Tick, ...] = ()
    """Of all workers together, one a second."""
    gaps: Mapping[tuple[int, str], Gaps] = field(default_factory=dict)
    """By stage and the model that answered."""
    marks: tuple[Mark, ...] = ()
    engines: EnginesSeen = field(default_factory=EnginesSeen)
