"""What one candidate showed in one round, and which figures there are."""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Figure:
    """One kind of figure, as it is called in JSON and shown to people."""

    key: str
    title: str
    unit: str
    heading: str = ""
    """Over a column of the table; without one it stands in the JSON file only."""
    is_better_high: bool = False
    digits: int = 1
    """After the point; large numbers are shown without."""

    def text(self, value: float) -> str:
        """A value for people."""
        digits = self.digits if abs(value) < _LARGE else 0
        return f"{value:,.{digits}f}"


_LARGE: Final = 100.0

REQUESTS: Final = (
    Figure("cpu_us", "CPU a request, at saturation", "µs", "CPU\nµs"),
    Figure("core_percent", "Share of the core that it used, at saturation", "%", digits=0),
    Figure("rps", "Requests a second, one core", "1/s", "requests\n1/s", is_better_high=True),
    Figure("added_ms_p50", "Latency added, p50", "ms", "added\np50 ms", digits=2),
    Figure("added_ms_p99", "Latency added, p99", "ms", "added\np99 ms", digits=2),
)
STREAMS: Final = (
    Figure("ttft_added_ms_p50", "Time to first token added, p50", "ms", "TTFT added\np50 ms", digits=2),
    Figure("ttft_added_ms_p99", "Time to first token added, p99", "ms", digits=2),
    Figure("gap_added_ms_p50", "Gap between chunks added, p50", "ms", digits=2),
    Figure("gap_added_ms_p99", "Gap between chunks added, p99", "ms", "gap added\np99 ms", digits=2),
    Figure("chunks_per_s", "Streamed chunks a second, one core", "1/s", "chunks\n1/s", is_better_high=True),
    Figure("cpu_us_per_chunk", "CPU a chunk, streams at a fixed pace", "µs", "CPU a\nchunk µs"),
)
PROCESSES: Final = (
    Figure("cpu_us_at_rate", "CPU a request, at a fixed rate", "µs", "CPU µs\nat a rate"),
    Figure("memory_mb", "Memory on the requests' way", "MB", "memory\nMB", digits=0),
    Figure("beside_memory_mb", "Memory of processes beside it", "MB", "beside\nMB", digits=0),
    Figure("beside_cpu_percent", "CPU of processes beside it, of a core", "%", "beside\nCPU %"),
)
FIGURES: Final = (*REQUESTS, *STREAMS, *PROCESSES)


class Sample(BaseModel):
    """One candidate in one round."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    round: int
    figures: dict[str, float]
    """By the keys of FIGURES; those that were not measured are missing."""
    requests: int
    """Sent through the candidate."""
    latencies: int
    """Of them, those whose latency was taken at the low rate."""
    errors: dict[str, int]
    """Requests without a right answer, by kind."""
    engine_surplus: int
    """Requests that the engines saw beyond those that were sent: doubled ones are above 0, lost ones below."""
