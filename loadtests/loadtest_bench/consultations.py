"""2,000 people in consultation at once, through the real router, before stand-in engines: the figures of R3."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from loadtests.loadtest_bench import stack
from loadtests.loadtest_bench.engines import crowded, router_before, stand_ins
from loadtests.plan import People, Plan, Slo, Stage, Workload
from loadtests.records.run_folder import RunFolder
from loadtests.run import document_in, run_plan

_ENGINES: Final = 8
"""Of the small model; of the large one half as many. Each takes 256 answers at once."""
_PROMISE: Final = Slo(ttft_s=0.5)
_AT_ONCE: Final = Workload(kinds={"stream": 2, "conversation": 1}, max_tokens=96)
_READING: Final = Workload(kinds={"conversation": 1}, max_tokens=96, think_s=(10.0, 30.0))
_RAMP_S: Final = 20.0


def measure(folder: Path, people: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Once with an answer in flight for each of them all the time, and once with time to read between two turns."""
    found: dict[str, Any] = {}
    with (
        stand_ins(crowded(), "small", _ENGINES, folder) as small,
        stand_ins(crowded(), "large", _ENGINES // 2, folder) as large,
        stack.started(router_before(small, large), folder) as place,
    ):
        for name, workload in (("all_answered_at_once", _AT_ONCE), ("with_reading_time", _READING)):
            run_folder = RunFolder(folder / name)
            run = run_plan(_plan(people, seconds, workload), place, run_folder)
            found[name] = as_document(document_in(run_folder))
            found[name]["in_flight_max"] = max(tick.in_flight for tick in run.ticks)
            say(f"{name}: {found[name]}")
    # The harder of the two readings of "2,000 concurrent consultations".
    return {**found["all_answered_at_once"], **found}


def as_document(document: dict[str, Any]) -> dict[str, Any]:
    """The figures of R3."""
    figures = document["figures"]
    return {
        "errors": sum(figures["errors"].values()),
        "errors_by_kind": figures["errors"],
        "requests": figures["requests"],
        "ttft_ms_p50": figures["ttft"]["p50_s"] * 1000,
        "ttft_ms_p99": figures["ttft"]["p99_s"] * 1000,
        "tpot_ms_p50": figures["tpot"]["p50_s"] * 1000,
        "goodput_rps": figures["goodput_rps"],
        "met_ratio": figures["met_ratio"],
        "shares": figures["shares"],
        "generator": document["generator"],
    }


def _plan(people: int, seconds: float, workload: Workload) -> Plan:
    return Plan(
        name="consultations",
        workload=workload,
        stages=(
            Stage(name="coming", seconds=_RAMP_S + 10, is_warm_up=True, people=People(count=people, ramp_s=_RAMP_S)),
            Stage(name="all-there", seconds=seconds, people=People(count=people)),
        ),
        slo=_PROMISE,
    )
