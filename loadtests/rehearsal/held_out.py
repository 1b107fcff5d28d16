"""How far a stand-in is from its engine: the same traffic to both, none of which was fitted to."""

import asyncio
import random
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.rehearsal.batch import Batch, Request
from loadtests.rehearsal.hearing import Engine, Heard
from loadtests.rehearsal.measuring import Prompts
from loadtests.rehearsal.timing import Deviation, Timing

_SHARES: Final = (0.4, 0.8)
_PEOPLE: Final = 4
_SIMULATED: Final = 400
_LEAST_REQUESTS: Final = 12


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the traffic."""

    at_s: float
    """Since its begin; in a closed loop: as soon as the one before is answered."""
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of load."""

    name: str
    asked: tuple[Asked, ...]
    people: int | None = None
    """Closed loop: so many ask, each again once answered. None: by the clock."""


def traffic_of(timing: Timing, seconds: float, seed: int) -> tuple[Traffic, ...]:
    """Poisson at shares of the capacity that the timing promises, and a few people who ask again and again."""
    capacity = capacity_per_s(timing, seed)
    many = []
    for share in _SHARES:
        lot = random.Random(seed + round(100 * share))  # noqa: S311 - made-up traffic
        at_s = 0.0
        asked: list[Asked] = []
        while (at_s := at_s + lot.expovariate(share * capacity)) < seconds or len(asked) < _LEAST_REQUESTS:
            asked.append(_asked(at_s, timing, lot))
        many.append(Traffic(f"{share:.0%} of capacity", tuple(asked)))
    lot = random.Random(seed)  # noqa: S311 - made-up traffic
    count = max(_LEAST_REQUESTS, round(seconds * capacity / 2))
    people = min(_PEOPLE, timing.limits.max_num_seqs)
    many.append(Traffic(f"{people} people", tuple(_asked(0.0, timing, lot) for _ in range(count)), people))
    return tuple(many)


def capacity_per_s(timing: Timing, seed: int) -> float:
    """Requests of this mix that the timing promises a second when there are always enough of them."""
    lot = random.Random(seed)  # noqa: S311 - made-up traffic
    batch = Batch(timing, seed)
    asked = deque(_asked(0.0, timing, lot) for _ in range(_SIMULATED))
    now_s, done = 0.0, 0
    while done < _SIMULATED:
        while asked and batch.in_flight < 2 * timing.limits.max_num_seqs:
            one = asked.popleft()
            batch.add(Request(one.prompt_tokens, one.answer_tokens), now_s)
        plan = batch.step(now_s)
        if plan is None:
            now_s = batch.next_ready_s or now_s
            continue
        now_s += plan.duration_s
        done += sum(request.is_over for request in batch.end(plan))
    return _SIMULATED / now_s


async def heard_from(engine: Engine, traffic: Traffic, seconds: float, seed: int) -> list[Heard]:
    """Send the traffic, and hear all answers out. A closed loop ends after `seconds`, or sooner if all is asked."""
    prompts = Prompts(seed)
    heard: list[Heard] = []
    begin_s = time.perf_counter()

    async def ask(one: Asked) -> None:
        heard.append(await engine.ask(prompts.of(one.prompt_tokens), one.answer_tokens))

    async with asyncio.TaskGroup() as group:
        if traffic.people is None:
            for one in traffic.asked:
                await asyncio.sleep(max(0.0, begin_s + one.at_s - time.perf_counter()))
                group.create_task(ask(one))
        else:
            left = deque(traffic.asked)

            async def person() -> None:
                while left and time.perf_counter() < begin_s + seconds:
                    await ask(left.popleft())

            for _ in range(traffic.people):
                group.create_task(person())
    return heard


def deviations_of(load: str, real: Sequence[Heard], stand_in: Sequence[Heard]) -> tuple[Deviation, ...]:
    """The figures side by side."""
    ours, theirs = _figures(stand_in), _figures(real)
    return tuple(
        Deviation(load=load, figure=figure, unit=unit, real=_rounded(theirs[figure]), stand_in=_rounded(ours[figure]))
        for figure, unit in _UNITS.items()
    )


_UNITS: Final = {
    "TTFT p50": "s", "TTFT p90": "s", "TPOT p50": "s", "TPOT p90": "s", "e2e p50": "s", "throughput": "tokens/s",
}  # fmt: skip


def _figures(heard: Sequence[Heard]) -> dict[str, float]:
    first = [one.ttft_s for one in heard]
    per_token = [one.tpot_s for one in heard if one.tpot_s is not None]
    whole = [one.e2e_s for one in heard]
    span_s = max(one.pieces_s[-1] for one in heard) - min(one.sent_s for one in heard)
    return {
        "TTFT p50": statistics.median(first),
        "TTFT p90": _p90(first),
        "TPOT p50": statistics.median(per_token),
        "TPOT p90": _p90(per_token),
        "e2e p50": statistics.median(whole),
        "throughput": sum(one.tokens for one in heard) / span_s,
    }


def _rounded(value: float) -> float:
    """To what can be meant."""
    return float(f"{value:.5g}")


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10, method="inclusive")[8]


def _asked(at_s: float, timing: Timing, lot: random.Random) -> Asked:
    """Lengths as consultations have them: mostly short prompts, some with a document; answers of some sentences."""
    room = timing.limits.max_model_len
    prompt = min(int(lot.lognormvariate(4.6, 0.8)) + 8, room // 2)
    answer = min(int(lot.lognormvariate(3.4, 0.5)) + 2, room // 2)
    return Asked(at_s, prompt, answer)
