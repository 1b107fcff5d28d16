"""The figures in docs/load-search.md: `python -m tests.unit.loadtests.search_figures`; minutes, on one core."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.plan import Plan, Poisson, Slo, Stage
from loadtests.search.report import SearchReport
from loadtests.search.search import search
from loadtests.search.seeker import Aim
from tests.unit.loadtests.search_servers import Batches, Desks, Server, Simulated, met_ratio_of

_SEEDS = range(20)


@dataclass(frozen=True)
class Case:
    """One server, its promise, and where the search begins."""

    name: str
    server: Server
    slo: Slo
    start_per_s: float
    probe_s: float = 60


_DESKS = Desks(8, 0.2)
_MANY = Desks(64, 4.0)
_GPU = Batches()
_CPU = Batches(most_running=8, step_s=0.06, per_request_s=0.01, prefill_s=0.1, tokens=(16, 48))
_HALF = Slo(ttft_s=0.5, share_ratio=0.99)
_TWO = Slo(ttft_s=2, share_ratio=0.95)
_CASES = (
    Case("8 desks of 0.2 s", _DESKS, _HALF, 5),
    Case("the same, from 200/s", _DESKS, _HALF, 200),
    Case("the same, probes of 20 s", _DESKS, _HALF, 5, 20),
    Case("64 desks of 4 s", _MANY, _HALF, 2),
    Case("the same, probes of 180 s", _MANY, _HALF, 2, 180),
    Case("64 in a batch, 100 tokens", _GPU, _HALF, 2),
    Case("the same, from 80/s", _GPU, _HALF, 80),
    Case("8 in a batch, slow, 95 % in 2 s", _CPU, _TWO, 1),
    Case("the same, 99 % in 2 s", _CPU, Slo(ttft_s=2, share_ratio=0.99), 1),
)


def main() -> None:
    """Print the table's rows."""
    for case in _CASES:
        print(" | ".join(_row(case)), flush=True)


def _row(case: Case) -> Iterator[str]:
    truth = _truth(case)
    reports = [_report(case, seed) for seed in _SEEDS]
    ratios = sorted((report.safe_per_s or 0) / truth for report in reports)
    yield case.name
    yield f"{truth:.3g}"
    yield f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    yield f"{sum(0.9 <= ratio <= 1.1 for ratio in ratios)} of {len(ratios)}"
    yield f"{sum(report.is_sure for report in reports)}"
    probes = [sum(one.why != "curve" for one in report.probes) for report in reports]
    yield f"{statistics.median(probes):g} ({min(probes)} to {max(probes)})"
    searching = [sum(one.took_s for one in report.probes if one.why != "curve") / 60 for report in reports]
    yield f"{statistics.median(searching):.0f}"
    cut = [one.seconds for report in reports for one in report.probes if one.saturated_at_s is not None]
    yield f"{len(cut) / len(reports):.1f}, after {statistics.median(cut):.0f} s" if cut else "none"


def _report(case: Case, seed: int) -> SearchReport:
    stage = Stage(name="all", seconds=60, arrivals=Poisson(rate_per_s=case.start_per_s))
    plan = Plan(seed=100 * seed, stages=(stage,), slo=case.slo)
    aim = Aim(case.start_per_s, probe_s=case.probe_s, longest_s=5 * case.probe_s, most_s=4 * 3600)
    return search(plan, aim, Simulated(case.server, seed))[0]


def _truth(case: Case) -> float:
    """By Erlang's C, or by 20 simulations of 20 minutes."""
    limit_s, share = case.slo.ttft_s or 0.0, case.slo.share_ratio
    if isinstance(case.server, Desks):
        return case.server.safe_per_s(limit_s, share)
    low, high = 0.1, 100.0
    while high / low > 1.005:
        rate = (low * high) ** 0.5
        is_met = met_ratio_of(case.server, rate, limit_s, 1200, range(20)) >= share
        low, high = (rate, high) if is_met else (low, rate)
    return low


if __name__ == "__main__":
    main()
