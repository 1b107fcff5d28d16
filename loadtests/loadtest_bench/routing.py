"""What routing buys on the quick-start stack: `auto` beside all to the large model and all to the small one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cluster.settings_file import profile
from loadtests.judging.document import document_of
from loadtests.loadtest_bench import stack
from loadtests.page.routing_page import write_routing_page
from loadtests.plan import Limits, Plan, Poisson, Slo, Stage, Target, Workload
from loadtests.questions import load
from loadtests.records.run import Run
from loadtests.records.run_folder import RunFolder
from loadtests.run import run_plan

# The large model alone cannot keep up with it on two cores, both together can.
_RATE_PER_S: Final = 0.2
_MAX_TOKENS: Final = 200
# Engines on a CPU: a person who reads along waits for neither.
_SLO: Final = Slo(ttft_s=5.0, tpot_s=0.5, share_ratio=0.9)
_DRAIN_S: Final = 400.0


def compare(folder: Path, page: Path, say: Callable[[str], None], questions: int | None = None) -> dict[str, Any]:
    """Ask every labelled question three times over, at the same moments; writes the page with the plot."""
    settings = profile("qwen")
    small, large = (pool.model for pool in settings.pools)
    asked = {"auto": "auto", "all_large": large, "all_small": small}
    runs: dict[str, Run] = {}
    with stack.started(settings, folder) as place:
        for name, model in asked.items():
            runs[name] = run_plan(plan_of(model, questions), place, RunFolder(folder / name))
            document = document_of(runs[name])
            say(f"{name}: {document['verdict']['sentence']}")
    write_routing_page(page, runs)
    return {name: as_document(run) for name, run in runs.items()}


def plan_of(model: str, questions: int | None = None) -> Plan:
    """All labelled questions in order, as independent callers send them."""
    count = questions or len(load())
    # A schedule that is drawn may be slower than its mean: with a third more time, all questions are asked.
    seconds = count / _RATE_PER_S * (1.33 if questions is None else 1.0)
    return Plan(
        name="routing",
        target=Target(model=model),
        workload=Workload(kinds={"stream": 1}, in_order=True, max_tokens=_MAX_TOKENS),
        stages=(Stage(name="office", seconds=seconds, arrivals=Poisson(rate_per_s=_RATE_PER_S)),),
        slo=_SLO,
        limits=Limits(timeout_s=_DRAIN_S, drain_s=_DRAIN_S),
    )


def as_document(run: Run) -> dict[str, Any]:
    """The figures that the three are compared by."""
    figures = document_of(run)["figures"]
    right = figures["right"]
    return {
        "goodput_rps": figures["goodput_rps"],
        "quality": right["right"] / right["marked"],
        "quality_interval": [right["low_ratio"], right["high_ratio"]],
        "right": right["right"],
        "marked": right["marked"],
        "ttft_ms_p50": figures["ttft"]["p50_s"] * 1000,
        "ttft_ms_p99": figures["ttft"]["p99_s"] * 1000,
        "tpot_ms_p50": figures["tpot"]["p50_s"] * 1000,
        "e2e_ms_p50": figures["e2e"]["p50_s"] * 1000,
        "met_ratio": figures["met_ratio"],
        "shares": figures["shares"],
        "errors": figures["errors"],
    }
