"""What an engine counts, and its page in the words of vLLM 0.32 (`vllm/v1/metrics/loggers.py`)."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from loadtests.rehearsal.batch import Batch, Request

_FIRST_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
_GAP_S: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_REQUEST_S: Final = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
_STEP_TOKENS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_FINISHES: Final = ("stop", "length", "abort")
# A piece that comes later than this has not come by the model: the machine had no time for it.
_LATE_S: Final = 0.005
_LATE_STEP_RATIO: Final = 0.25


class Histogram:
    """Counts by bucket."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = tuple(float(bound) for bound in bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Count a value, or several equal ones."""
        self._counts[bisect_left(self._bounds, value)] += count
        self.total += value * count

    def lines(self, name: str, labels: str) -> list[str]:
        """In Prometheus's text format."""
        seen = 0
        lines = [f"# TYPE {name} histogram"]
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            seen += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {float(seen)}')
        return [*lines, f"{name}_count{{{labels}}} {float(seen)}", f"{name}_sum{{{labels}}} {self.total}"]


@dataclass(slots=True)
class Counts:
    """Of one engine since its start."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FINISHES, 0))
    rejected: int = 0
    steps: int = 0
    late_steps: int = 0
    most_late_s: float = 0.0
    first: Histogram = field(default_factory=lambda: Histogram(_FIRST_S))
    gap: Histogram = field(default_factory=lambda: Histogram(_GAP_S))
    per_token: Histogram = field(default_factory=lambda: Histogram(_GAP_S))
    whole: Histogram = field(default_factory=lambda: Histogram(_REQUEST_S))
    queue: Histogram = field(default_factory=lambda: Histogram(_REQUEST_S))
    prefill: Histogram = field(default_factory=lambda: Histogram(_REQUEST_S))
    decode: Histogram = field(default_factory=lambda: Histogram(_REQUEST_S))
    step_tokens: Histogram = field(default_factory=lambda: Histogram(_STEP_TOKENS))

    @property
    def late_ratio(self) -> float:
        """Part of the steps whose pieces came late because this machine had no time."""
        return self.late_steps / self.steps if self.steps else 0.0

    def stepped(self, tokens: int, duration_s: float, late_s: float) -> None:
        """A step is over; its pieces were sent `late_s` after it should have been."""
        self.steps += 1
        self.step_tokens.observe(tokens)
        if late_s > max(_LATE_S, _LATE_STEP_RATIO * duration_s):
            self.late_steps += 1
        self.most_late_s = max(self.most_late_s, late_s)

    def began(self, request: Request, now_s: float) -> None:
        """A request's first token."""
        assert request.admitted_s is not None
        self.prompt_tokens += request.prompt_tokens
        self.first.observe(now_s - request.arrived_s)
        self.queue.observe(request.admitted_s - request.queued_s)
        self.prefill.observe(now_s - request.admitted_s)

    def ended(self, request: Request, first_s: float, now_s: float, finish: str) -> None:
        """A request's last token."""
        # To callers a call of a tool is a reason of its own; to vLLM's engine it is a stop.
        self.finished["stop" if finish == "tool_calls" else finish] += 1
        self.whole.observe(now_s - request.arrived_s)
        self.decode.observe(now_s - first_s)
        if request.generated > 1:
            self.per_token.observe((now_s - first_s) / (request.generated - 1))


def page_of(model: str, counts: Counts, batch: Batch) -> bytes:
    """The text of GET /metrics."""
    quoted = model.replace("\\", "\\\\").replace('"', '\\"')
    labels = f'engine="0",model_name="{quoted}"'
    limits = batch.timing.limits
    lines: list[str] = []

    def gauge(name: str, value: float, more: str = "") -> None:
        lines.extend((f"# TYPE {name} gauge", f"{name}{{{labels}{more}}} {float(value)}"))

    def counter(name: str, values: dict[str, float]) -> None:
        lines.append(f"# TYPE {name} counter")
        lines.extend(f"{name}_total{{{labels}{more}}} {float(value)}" for more, value in values.items())

    gauge("vllm:num_requests_running", len(batch.running))
    gauge("vllm:num_requests_waiting", len(batch.waiting))
    gauge("vllm:num_requests_waiting_by_reason", len(batch.waiting), ',reason="capacity"')
    gauge("vllm:kv_cache_usage_perc", batch.blocks.used_ratio)
    counter("vllm:prefix_cache_queries", {"": batch.prefix_asked_tokens})
    counter("vllm:prefix_cache_hits", {"": batch.prefix_hit_tokens})
    counter("vllm:num_preemptions", {"": batch.preemptions})
    counter("vllm:prompt_tokens", {"": counts.prompt_tokens})
    counter("vllm:prompt_tokens_cached", {"": batch.prefix_hit_tokens})
    counter("vllm:generation_tokens", {"": counts.generation_tokens})
    counter("vllm:request_success", {f',finished_reason="{key}"': value for key, value in counts.finished.items()})
    counter("vllm:admission_rejections", {',reason="max_num_queued_reqs"': counts.rejected})
    for name, histogram in (
        ("time_to_first_token_seconds", counts.first),
        ("inter_token_latency_seconds", counts.gap),
        ("request_time_per_output_token_seconds", counts.per_token),
        ("e2e_request_latency_seconds", counts.whole),
        ("request_queue_time_seconds", counts.queue),
        ("request_prefill_time_seconds", counts.prefill),
        ("request_decode_time_seconds", counts.decode),
        ("iteration_tokens_total", counts.step_tokens),
    ):
        lines.extend(histogram.lines(f"vllm:{name}", labels))
    gauge(
        "vllm:cache_config_info", 1,
        f',block_size="{limits.block_tokens}",num_gpu_blocks="{limits.blocks}",'
        f'kv_cache_size_tokens="{limits.kv_tokens}",enable_prefix_caching="{limits.has_prefix_cache}"',
    )  # fmt: skip
    # Ours: a rehearsal on a machine that is too slow for it is not to be believed.
    counter("rehearsal:steps", {"": counts.steps})
    counter("rehearsal:late_steps", {"": counts.late_steps})
    gauge("rehearsal:late_ratio", counts.late_ratio)
    gauge("rehearsal:most_late_seconds", counts.most_late_s)
    return ("\n".join(lines) + "\n").encode()
