"""How late the generator sends: at 300 requests/s as promised, and at what rate it becomes the limit itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from loadtests.loadtest_bench.engines import brisk, stand_ins
from loadtests.place import Place
from loadtests.plan import Lengths, Limits, Plan, Poisson, Slo, Stage, Target, Workload
from loadtests.records.run_folder import RunFolder
from loadtests.run import document_in, run_plan

_PROMISED_PER_S: Final = 300.0
_BEYOND_PER_S: Final = (600.0, 1200.0)
_ANSWER_TOKENS: Final = 16


def measure(folder: Path, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Each rate for so many seconds, against one stand-in engine on the other core."""
    found = []
    with stand_ins(brisk(), "small", 1, folder) as (url,):
        place = Place(url, "one stand-in engine", {url: "small"}, None, folder)
        for rate_per_s in (_PROMISED_PER_S, *_BEYOND_PER_S):
            run_folder = RunFolder(folder / f"at-{rate_per_s:.0f}")
            run_plan(_plan(rate_per_s, seconds), place, run_folder)
            document = document_in(run_folder)
            found.append(
                {"rate_per_s": rate_per_s, "requests": document["figures"]["requests"], **document["generator"]}
            )
            say(f"{rate_per_s:.0f} requests/s: {found[-1]['sentence']}")
    return {"schedule_lag_ms_p99_at_300_rps": found[0]["lag_p99_ms"], "schedule_lag": found}


def _plan(rate_per_s: float, seconds: float) -> Plan:
    return Plan(
        name="lag",
        target=Target(model="small"),
        workload=Workload(kinds={"stream": 1}, lengths=Lengths(prompt_tokens=64, answer_tokens=_ANSWER_TOKENS)),
        stages=(
            Stage(name="warm-up", seconds=3, is_warm_up=True, arrivals=Poisson(rate_per_s=rate_per_s)),
            Stage(name="even", seconds=seconds, arrivals=Poisson(rate_per_s=rate_per_s)),
        ),
        slo=Slo(ttft_s=1.0),
        limits=Limits(drain_s=10),
    )
