"""What became of requests, as router replicas tell the rollouts' controller. No texts, only what was found in them."""

from dataclasses import dataclass
from typing import Literal

Fault = Literal["", "error", "timeout"]
"""`error`: the engine refused, broke off or answered 5xx; `timeout`: it took too long; empty: it answered."""

NGRAM_BINS = 64
"""Hashed character pairs of the inputs fall into so many bins."""
LENGTH_BINS = 16
"""Lengths fall into powers of two: bin b holds 2**(b-1) to 2**b - 1, bin 0 nothing, the last all above."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request to one side of a watched split."""

    name: str
    rollout_id: str
    version: int
    is_canary: bool
    is_shadow: bool
    """A copy of a request that stable has answered: nobody waited for it."""
    stratum: str
    """Length class of the prompt and kind of task, `short/chat`: only like is compared with like."""
    group: str
    """The group of users that the caller named; empty if none."""
    fault: Fault
    is_empty: bool
    is_truncated: bool
    """Cut off by the limit of tokens."""
    is_refused: bool
    """The words of the answer decline."""
    is_malformed: bool | None
    """Not the JSON, schema or tool call that was asked for; None where none was."""
    ttft_s: float | None
    tpot_s: float | None
    """None without a second token, or where the answer came in one piece."""
    output_tokens: int
    has_escalated: bool
    """Answered in the end by another, larger model than chosen first."""
    cost: float
    """10^9 parameters times tokens read and written: what an answer takes of the machines, whatever they cost."""
    quality: float | None = None
    """Of a canary's answer beside stable's to the same question: 1 better or as good, 0 worse; None: not compared."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A window of requests to one version of a name, counted for the watch over drift."""

    name: str
    version: int
    requests: int
    input_lengths: tuple[int, ...]
    """`LENGTH_BINS` counts of prompts by characters."""
    languages: tuple[tuple[str, int], ...]
    ngrams: tuple[int, ...]
    """`NGRAM_BINS` counts of hashed character pairs, of a bounded part of each prompt."""
    output_lengths: tuple[int, ...]
    """`LENGTH_BINS` counts of answers by tokens."""
    faults: int
    """Answers that were errors, empty, cut off, refusals or malformed."""
    ratings: tuple[int, ...] = ()
    """Counts of what people said of answers, worst first; empty where nobody was asked."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one router replica tells at once, about once a second."""

    replica: str
    outcomes: tuple[Outcome, ...]
    tallies: tuple[Tally, ...]
    demand: tuple[tuple[str, int], ...]
    """Requests since the last batch for each adapter's served name, refused ones included: those that are not loaded
    anywhere must be asked for, too."""
    dropped: int
    """Outcomes that did not fit into this batch's bound."""
    generation: int
    """Of the traffic that this replica acts by now."""
