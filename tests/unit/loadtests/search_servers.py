"""Servers that exist in numbers only: each plan becomes a run at once, with known capacity and no clock."""

import heapq
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from loadtests.arrivals.schedule import arrivals_of
from loadtests.judging.saturation import saturation
from loadtests.plan import Plan
from loadtests.records.run import About, Outcome, Run
from loadtests.records.sample import Sample
from loadtests.records.tick import Tick


class Served(NamedTuple):
    """When a request that came at 0 had its first token and its last; seconds. Not served: an error."""

    first_s: float
    whole_s: float
    error: str = ""


class Server(Protocol):
    def serve(self, at_s: Sequence[float], random: random.Random) -> list[Served]: ...


@dataclass(frozen=True)
class Desks:
    """M/M/c: so many desks, one line, exponential service. The first token comes when a desk is free."""

    desks: int
    service_s: float
    prefill_s: float = 0.02
    most_waiting: int | None = None
    """Beyond it callers are turned away at once."""

    def serve(self, at_s: Sequence[float], random: random.Random) -> list[Served]:
        free = [0.0] * self.desks
        begins: list[float] = []
        served = []
        for at in at_s:
            if self.most_waiting is not None:
                begins = [begin for begin in begins if begin > at]
                if len(begins) >= self.most_waiting:
                    served.append(Served(0.0, 0.0, "http_429"))
                    continue
            begin = max(at, heapq.heappop(free))
            begins.append(begin)
            end = begin + random.expovariate(1 / self.service_s)
            heapq.heappush(free, end)
            served.append(Served(begin - at + self.prefill_s, max(end - at, begin - at + self.prefill_s)))
        return served

    def safe_per_s(self, limit_s: float, share: float) -> float:
        """The true answer in the steady state: Erlang's C, P(wait > t) = C exp(-(c/s - rate) t)."""
        low, high = 0.0, self.desks / self.service_s
        for _ in range(60):
            rate = (low + high) / 2
            late = self._waiting_ratio(rate) * math.exp(
                -(self.desks / self.service_s - rate) * (limit_s - self.prefill_s)
            )
            low, high = (rate, high) if late <= 1 - share else (low, rate)
        return low

    def _waiting_ratio(self, rate: float) -> float:
        load = rate * self.service_s
        blocked = 1.0
        for desk in range(1, self.desks + 1):
            blocked = load * blocked / (desk + load * blocked)
        return blocked / (1 - load / self.desks * (1 - blocked))


@dataclass(frozen=True)
class Batches:
    """An engine: all requests that run get a token each step, and the more run, the longer a step; a prompt is worked
    off in the step in which its request begins."""

    most_running: int = 64
    step_s: float = 0.02
    per_request_s: float = 0.0005
    prefill_s: float = 0.01
    tokens: tuple[int, int] = (40, 160)

    def serve(self, at_s: Sequence[float], random: random.Random) -> list[Served]:
        first, whole = [0.0] * len(at_s), [0.0] * len(at_s)
        running: dict[int, int] = {}
        waiting = 0
        now = 0.0
        while waiting < len(at_s) or running:
            if not running:
                now = max(now, at_s[waiting])
            begun: list[int] = []
            # At most four prompts a step, as with a limit on a step's tokens.
            while waiting < len(at_s) and at_s[waiting] <= now and len(running) < self.most_running and len(begun) < 4:
                running[waiting] = random.randint(*self.tokens)
                begun.append(waiting)
                waiting += 1
            now += self.step_s + self.per_request_s * len(running) + self.prefill_s * len(begun)
            for one in begun:
                first[one] = now
            for one in [one for one in running if running[one] == 1]:
                whole[one] = now
                del running[one]
            for one in running:
                running[one] -= 1
        return [Served(first[one] - at, whole[one] - at) for one, at in enumerate(at_s)]


@dataclass
class Simulated:
    """What `search` calls: a plan becomes the run that the server would have given."""

    server: Server
    seed: int = 1
    lag_s: Callable[[float], float] = lambda _: 0.0
    """What the generator adds at a rate."""
    plans: dict[str, Plan] = field(default_factory=dict)
    now_s: float = 1_000_000.0
    interrupted_at: int | None = None

    def __call__(self, plan: Plan, name: str) -> Run:
        self.plans[name] = plan
        arrivals = list(arrivals_of(plan))
        chance = random.Random(f"{self.seed} {name}")
        lag_s = self.lag_s(len(arrivals) / plan.seconds)
        served = self.server.serve([one.at_s + lag_s for one in arrivals], chance)
        samples = [
            _sample(one.at_s, one.stage, lag_s, answer, chance) for one, answer in zip(arrivals, served, strict=True)
        ]
        ended_s, saturated_s = plan.seconds, None
        outcome: Outcome = "finished"
        if plan.limits.stop_when_saturated:
            saturated_s = _saturated_at(samples, plan.seconds)
        if saturated_s is not None:
            ended_s, outcome = saturated_s, "saturated"
            samples = [sample for sample in samples if sample.at_s < saturated_s]
        if self.interrupted_at == len(self.plans):
            outcome = "interrupted"
        last_s = max((sample.at_s + (sample.whole_s or 0) for sample in samples), default=0.0)
        drained_s = min(max(last_s, ended_s), ended_s + plan.limits.drain_s)
        samples = [_cut(sample) if sample.at_s + (sample.whole_s or 0) > drained_s else sample for sample in samples]
        about = About(
            started_unix_s=self.now_s,
            ended_unix_s=self.now_s + drained_s,
            outcome=outcome,
            saturated_at_s=saturated_s,
            target_url="http://127.0.0.1:8000",
            tested="a server in numbers",
        )
        self.now_s += drained_s
        return Run(plan, about, tuple(samples))

    @property
    def took_s(self) -> float:
        return self.now_s - 1_000_000.0


def _saturated_at(samples: Sequence[Sample], seconds: float) -> float | None:
    ticks: list[Tick] = []
    ends = sorted(sample.at_s + (sample.whole_s or 0) for sample in samples)
    dues = sorted(sample.at_s for sample in samples)
    due = done = 0
    for second in range(math.ceil(seconds)):
        was_due, was_done = due, done
        due = _count_to(dues, second + 1, due)
        done = _count_to(ends, second + 1, done)
        ticks.append(Tick(second, due - was_due, due - was_due, done - was_done, 0, due - done, 0.0, 0.1, 0))
        if saturation(ticks) is not None:
            return float(second + 1)
    return None


def _count_to(ordered: Sequence[float], limit: float, start: int) -> int:
    while start < len(ordered) and ordered[start] < limit:
        start += 1
    return start


def _cut(sample: Sample) -> Sample:
    return sample._replace(error="timeout", ttft_s=None, tpot_s=None, e2e_s=None)


def sample_of(at_s: float, first_s: float) -> Sample:
    """One that was streamed, came to its first token after `first_s`, and has no error."""
    return _sample(at_s, 1, 0.0, Served(first_s, first_s + 1), random.Random(1))


def _sample(at_s: float, stage: int, lag_s: float, answer: Served, chance: random.Random) -> Sample:
    tokens = 0 if answer.error else chance.randint(40, 160)
    return Sample(
        at_s=at_s, lag_s=lag_s, stage=stage, worker=0, kind="stream", turn=0, person=0, question="", language="en",
        difficulty="easy", tenant="hotline", level="blue", asked="auto", answered_by="small", reason="",
        status=429 if answer.error else 200, error=answer.error,
        ttft_s=None if answer.error else answer.first_s,
        tpot_s=None if answer.error else (answer.whole_s - answer.first_s) / max(tokens - 1, 1),
        e2e_s=None if answer.error else answer.whole_s,
        max_itl_s=None, prompt_tokens=50, completion_tokens=tokens, cached_tokens=None, finish="stop", tool_calls=0,
        is_right=None,
    )  # fmt: skip


def met_ratio_of(server: Server, rate_per_s: float, limit_s: float, seconds: float, seeds: Iterable[int]) -> float:
    """What share has its first token in time in the long run, Poisson arrivals."""
    met = count = 0
    for seed in seeds:
        chance = random.Random(seed)
        at, times = 0.0, []
        while (at := at + chance.expovariate(rate_per_s)) < seconds:
            times.append(at)
        served = server.serve(times, chance)
        met += sum(one.first_s <= limit_s for one in served)
        count += len(served)
    return met / count
