"""Runs as a load test leaves them, made up by a small queue model: a fault, an overload, every kind, model and level.

Two pools of slots serve what a seeded schedule brings; who finds no free slot waits. Latencies, errors, gaps, ticks and
engines' readings all follow from that one queue, so that a report's charts must agree with each other.
"""

import dataclasses
import heapq
import random
from collections import Counter
from dataclasses import dataclass
from typing import Final

from loadtests.plan import Constant, Limits, People, Plan, Poisson, Ramp, Slo, Stage, Target, Tenant, Workload
from loadtests.records.gaps import Gaps, bucket_of
from loadtests.records.run import About, EngineReading, EnginesSeen, EngineTotals, Mark, Run
from loadtests.records.sample import Sample
from loadtests.records.tick import Tick
from loadtests.search.report import SearchReport
from loadtests.search.search import Search
from loadtests.search.seeker import Aim

_STARTED_UNIX_S: Final = 1_790_000_000.0
_STREAMED: Final = ("stream", "conversation", "agent")


@dataclass(slots=True)
class _Pool:
    """One model's slots, each with the second at which it is free again."""

    model: str
    slots: list[float]
    prefill_s: float
    token_s: float
    right_ratio: float

    def begin(self, at_s: float, busy_s: float) -> float:
        """When a request that comes now begins."""
        free_s = heapq.heappop(self.slots)
        begin_s = max(at_s, free_s)
        heapq.heappush(self.slots, begin_s + busy_s)
        return begin_s


def load_plan(rate_per_s: float = 12.0, name: str = "peak-day") -> Plan:
    """Warm-up, a steady stage, a ramp beyond what the pools can take, and a quiet stage after it."""
    return Plan(
        name=name,
        target=Target(api_key_env="FENZHEN_KEY"),
        workload=Workload(
            tenants=(
                Tenant(name="hotline", share=3, levels={"red": 1, "yellow": 3, "blue": 6}),
                Tenant(name="legal-aid", share=1, levels={"blue": 1}),
            )
        ),
        stages=(
            Stage(name="warm-up", seconds=10, arrivals=Constant(rate_per_s=rate_per_s / 2), is_warm_up=True),
            Stage(name="steady", seconds=70, arrivals=Poisson(rate_per_s=rate_per_s)),
            Stage(name="overload", seconds=40, arrivals=Ramp(from_per_s=rate_per_s, to_per_s=rate_per_s * 3.5)),
            Stage(name="afterwards", seconds=60, arrivals=Poisson(rate_per_s=rate_per_s / 2)),
        ),
        slo=Slo(ttft_s=0.5, tpot_s=0.2, share_ratio=0.95),
        limits=Limits(timeout_s=20),
        faults=("kill-engine:small@40s+12s",),
    )


def load_run(
    seed: int = 7,
    *,
    rate_per_s: float = 12.0,
    plan: Plan | None = None,
    asked: str = "auto",
    large_ratio: float = 0.25,
    lag_s: float = 0.0006,
    has_fault: bool = True,
) -> Run:
    """A run of `plan`. `asked`: auto, small or large; `lag_s`: of the generator, typically."""
    draw = random.Random(seed)
    plan = plan or load_plan(rate_per_s)
    mark = Mark(at_s=40.0, until_s=52.0, kind="kill-engine", text="killed engine small-1, back after 12 s")
    pools = {
        "small": _Pool("small", [0.0] * 16, 0.045, 0.022, 0.74),
        "large": _Pool("large", [0.0] * 14, 0.11, 0.045, 0.93),
    }
    samples: list[Sample] = []
    gaps: dict[tuple[int, str], Gaps] = {}
    lost: list[float] = []
    for number, (at_s, stage) in enumerate(_arrivals(plan, draw)):
        if has_fault and mark.at_s <= at_s < mark.at_s + 12 and not lost:
            # Most of the small pool is gone; what it served is lost.
            small = pools["small"]
            kept, lost = small.slots[:5], small.slots[5:]
            small.slots = kept
            heapq.heapify(small.slots)
        elif lost and at_s >= mark.at_s + 12 and len(pools["small"].slots) < 16:
            pools["small"].slots += [at_s] * len(lost)
            heapq.heapify(pools["small"].slots)
        samples.append(
            _sample(number, at_s, stage, plan, draw, pools, asked, large_ratio, lag_s, mark, has_fault, gaps)
        )
    return Run(
        plan=plan,
        about=_about(plan),
        samples=tuple(samples),
        ticks=ticks_of(samples),
        gaps=gaps,
        marks=(mark,) if has_fault else (),
        engines=_engines(samples, plan.seconds),
    )


def empty_run() -> Run:
    """A run that was over before anything was sent."""
    plan = load_plan()
    return Run(plan, _about(plan).model_copy(update={"outcome": "failed", "message": "nothing answered"}), ())


def closed_loop(run: Run) -> Run:
    """The same, as people who ask again once answered: nothing can be late."""
    plan = run.plan.model_copy(update={"stages": (Stage(name="people", seconds=180, people=People(count=40)),)})
    samples = tuple(sample._replace(lag_s=0.0, stage=0) for sample in run.samples)
    return dataclasses.replace(
        run, plan=plan, samples=samples, gaps={(0, model): one for (_, model), one in run.gaps.items()}
    )


def all_refused(run: Run) -> Run:
    """The same, and nobody listened."""
    return dataclasses.replace(run, samples=tuple(_failed(sample, "refused", 0) for sample in run.samples), gaps={})


def unstreamed(run: Run) -> Run:
    """The same, with every answer in one piece."""
    samples = tuple(
        sample._replace(kind="chat", ttft_s=sample.e2e_s, tpot_s=None, max_itl_s=None) for sample in run.samples
    )
    return dataclasses.replace(run, samples=samples, gaps={})


def ticks_of(samples: list[Sample]) -> tuple[Tick, ...]:
    """What the generator would have said each second."""
    due, sent, done, errors, tokens = Counter[int](), Counter[int](), Counter[int](), Counter[int](), Counter[int]()
    lag: dict[int, float] = {}
    for sample in samples:
        second, sent_s = int(sample.at_s), sample.at_s + sample.lag_s
        end = int(sent_s + (sample.e2e_s or 0.05))
        due[second] += 1
        sent[int(sent_s)] += 1
        done[end] += 1
        errors[end] += bool(sample.error)
        tokens[end] += sample.completion_tokens
        lag[int(sent_s)] = max(lag.get(int(sent_s), 0.0), sample.lag_s)
    ticks, in_flight = [], 0
    for at_s in range(max(done, default=-1) + 1):
        in_flight += sent[at_s] - done[at_s]
        cpu_ratio = min(1.0, 0.05 + 0.006 * sent[at_s])
        ticks.append(
            Tick(
                at_s,
                due[at_s],
                sent[at_s],
                done[at_s],
                errors[at_s],
                in_flight,
                lag.get(at_s, 0.0),
                cpu_ratio,
                tokens[at_s],
            )
        )
    return tuple(ticks)


def _arrivals(plan: Plan, draw: random.Random) -> list[tuple[float, int]]:
    found: list[tuple[float, int]] = []
    begin_s = 0.0
    for index, stage in enumerate(plan.stages):
        at_s = 0.0
        while True:
            match stage.arrivals:
                case Constant(rate_per_s=rate):
                    at_s += 1 / rate
                case Poisson(rate_per_s=rate):
                    at_s += draw.expovariate(rate)
                case Ramp(from_per_s=first, to_per_s=last):
                    at_s += draw.expovariate(max(0.1, first + (last - first) * at_s / stage.seconds))
                case other:
                    raise AssertionError(other)
            if at_s >= stage.seconds:
                break
            found.append((begin_s + at_s, index))
        begin_s += stage.seconds
    return found


def _sample(
    number: int, at_s: float, stage: int, plan: Plan, draw: random.Random, pools: dict[str, _Pool], asked: str,
    large_ratio: float, typical_lag_s: float, mark: Mark, has_fault: bool, gaps: dict[tuple[int, str], Gaps],
) -> Sample:  # fmt: skip
    kind = draw.choices(("stream", "chat", "conversation", "agent"), (6, 1, 2, 1))[0]
    is_hard = draw.random() < 0.3
    if asked == "auto":
        chosen = "large" if draw.random() < (large_ratio * 2.4 if is_hard else large_ratio * 0.4) else "small"
    else:
        chosen = asked
    pool = pools[chosen]
    tenant = draw.choices(("hotline", "legal-aid"), (3, 1))[0]
    level = draw.choices(("red", "yellow", "blue"), (1, 3, 6))[0] if tenant == "hotline" else "blue"
    tokens = max(2, int(draw.gauss(52 if is_hard else 30, 10)))
    prefill_s = pool.prefill_s * draw.lognormvariate(0, 0.35)
    tpot_s = pool.token_s * draw.lognormvariate(0, 0.18)
    began_s = pool.begin(at_s, prefill_s + tpot_s * (tokens - 1))
    lag_s = draw.expovariate(1 / typical_lag_s)
    ttft_s = began_s - at_s + prefill_s + 0.004
    e2e_s = ttft_s + tpot_s * (tokens - 1)
    is_streamed = kind in _STREAMED
    right_ratio = pool.right_ratio - (0.25 if is_hard and chosen == "small" else 0.0)
    sample = Sample(
        at_s=at_s, lag_s=lag_s, stage=stage, worker=0, kind=kind, turn=number % 3 if kind == "conversation" else 0,
        person=number // 3 if kind == "conversation" else 10_000 + number, question=f"q{number % 80:02d}",
        language=draw.choices(("zh", "en"), (6, 4))[0], difficulty="hard" if is_hard else "easy", tenant=tenant,
        level=level, asked=asked, answered_by=chosen, reason=f"P(small)={draw.random():.2f}", status=200, error="",
        ttft_s=ttft_s if is_streamed else e2e_s, tpot_s=tpot_s if is_streamed else None, e2e_s=e2e_s,
        max_itl_s=tpot_s * 3 if is_streamed else None, prompt_tokens=draw.randint(30, 400), completion_tokens=tokens,
        cached_tokens=draw.choice((0, 0, 16, 128)), finish="tool_calls" if kind == "agent" else "stop",
        tool_calls=int(kind == "agent"), is_right=draw.random() < right_ratio if kind in ("chat", "stream") else None,
    )  # fmt: skip
    if has_fault and chosen == "small" and mark.at_s - 1.2 < at_s < mark.at_s + 0.8 and draw.random() < 0.6:
        return _failed(sample, "reset", 200)
    if ttft_s > plan.limits.timeout_s:
        return _failed(sample, "timeout", 0)
    if draw.random() < 0.001:
        return _failed(sample, "http_503", 503)
    if is_streamed:
        own = gaps.setdefault((stage, chosen), {})
        for _ in range(tokens - 1):
            bucket = bucket_of(tpot_s * draw.lognormvariate(-0.03, 0.25))
            own[bucket] = own.get(bucket, 0) + 1
    return sample


def _failed(sample: Sample, error: str, status: int) -> Sample:
    return sample._replace(
        error=error, status=status, ttft_s=None, tpot_s=None, e2e_s=None, max_itl_s=None, prompt_tokens=0,
        completion_tokens=0, cached_tokens=None, finish="", tool_calls=0, is_right=None, answered_by="", reason="",
    )  # fmt: skip


def _engines(samples: list[Sample], seconds: float) -> EnginesSeen:
    readings, totals = [], []
    for model, slots in (("small", 16), ("large", 14)):
        own = [sample for sample in samples if sample.answered_by == model and sample.e2e_s is not None]
        engine = f"{model} 127.0.0.1:81{slots}"
        for at_s in range(0, int(seconds), 2):
            here = sum(sample.at_s <= at_s < sample.at_s + (sample.e2e_s or 0.0) for sample in own)
            running = min(slots, here)
            kv_used_ratio = min(1.0, running / slots * 0.8)
            reading = EngineReading(
                at_s=at_s, engine=engine, running=running, waiting=here - running, kv_used_ratio=kv_used_ratio
            )
            readings.append(reading)
        asked = float(sum(sample.prompt_tokens for sample in own))
        total = EngineTotals(
            engine=engine, model=model, queue_count=float(len(own)), queue_sum_s=len(own) * 0.21, queue_p50_s=0.012,
            queue_p99_s=2.4, prefix_hit_tokens=asked * 0.21, prefix_asked_tokens=asked, preemptions=3.0,
        )  # fmt: skip
        totals.append(total)
    router = {
        'fenzhen_relieved_total{from="small",to="large"}': 14.0,
        'fenzhen_conversation_switches_total{model="small"}': 6.0,
        'fenzhen_retries_total{model="small"}': 9.0,
        "fenzhen_router_canary_fallbacks_total": 0.0,
    }
    return EnginesSeen(readings=tuple(readings), totals=tuple(totals), router=router)


def _about(plan: Plan) -> About:
    return About(
        started_unix_s=_STARTED_UNIX_S,
        ended_unix_s=_STARTED_UNIX_S + plan.seconds + 20,
        outcome="finished",
        target_url="http://127.0.0.1:8080",
        tested="profile dev: 2 × small, 1 × large",
        machine={"processor": "AMD EPYC 7B13", "cores": "2", "memory": "24 GB", "GPU": "none", "system": "Debian 12"},
        versions={"fenzhen": "0.1.0 (f8d0aa1)", "vllm": "0.32.0", "locust": "2.47.0", "python": "3.11.9"},
    )


def search_of(start_per_s: float = 6.0) -> tuple[SearchReport, dict[str, Run]]:
    """A search for the rate that the made-up pools can take, by the real search."""
    plan = load_plan().model_copy(
        update={
            "stages": (Stage(name="probe", seconds=60, arrivals=Poisson(rate_per_s=start_per_s)),),
            "faults": (),
            "slo": Slo(ttft_s=1.5, share_ratio=0.9),
        }
    )
    aim = Aim(start_per_s=start_per_s, probe_s=60)
    search = Search(plan, aim, lambda probe, _: load_run(probe.seed, plan=probe, has_fault=False))
    return search.run(), search.runs
