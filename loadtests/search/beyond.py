"""More than is safe, on purpose: one run with overloads of 1.5 and 3 times the safe rate, and calm after each."""

from typing import Final

from loadtests.judging.figures import figures_of
from loadtests.plan import Plan, Stage
from loadtests.records.run import Run
from loadtests.search.probe import shape_of, warm_up_s
from loadtests.search.recovery import HOLD_S, recovery_s
from loadtests.search.report import Beyond
from loadtests.search.seeker import rounded

_TIMES: Final = (1.5, 3.0)
# Of the safe rate: what a service sees once the peak is over. Nearer to it the queue would take ever longer to go away.
_AFTER_RATIO: Final = 0.7
_WARM_UP: Final = 0


def beyond_plan(base: Plan, safe_per_s: float, probe_s: float, number: int) -> Plan:
    """The plan of that run. Nothing ends it early: what happens then is what is asked."""
    shape = shape_of(base)
    calm = shape.model_copy(update={"rate_per_s": rounded(_AFTER_RATIO * safe_per_s)})
    stages = [Stage(name="warm-up", seconds=warm_up_s(probe_s), arrivals=calm, is_warm_up=True)]
    for times in _TIMES:
        much = shape.model_copy(update={"rate_per_s": rounded(times * safe_per_s)})
        stages.append(Stage(name=f"times-{times:g}", seconds=probe_s, arrivals=much))
        # What an overload leaves behind is in proportion to how far it went beyond; in calm a third of it goes away.
        stages.append(Stage(name=f"after-{times:g}", seconds=max(2 * times * probe_s, 2 * HOLD_S), arrivals=calm))
    limits = base.limits.model_copy(update={"stop_when_saturated": False})
    return base.model_copy(update={"seed": base.seed + number, "stages": tuple(stages), "limits": limits})


def beyond_of(run: Run, safe_per_s: float) -> tuple[Beyond, ...]:
    """What that run says, for each overload."""
    plan, found = run.plan, []
    ends_s = [sum(stage.seconds for stage in plan.stages[: index + 1]) for index in range(len(plan.stages))]
    for index, times in enumerate(_TIMES):
        over, after = 2 * index + 1, 2 * index + 2
        stage = plan.stages[over]
        figures = figures_of([one for one in run.samples if one.stage == over], plan.slo, stage.seconds)
        calm = [one for one in run.samples if one.stage == after]
        found.append(
            Beyond(
                times=times,
                rate_per_s=rounded(times * safe_per_s),
                stage=over,
                seconds=stage.seconds,
                requests=figures.requests,
                completed_rps=figures.completed_rps,
                goodput_rps=figures.goodput_rps,
                met_ratio=figures.met_ratio,
                first_p50_s=figures.first.p50_s if figures.first else None,
                first_p99_s=figures.first.p99_s if figures.first else None,
                errors=figures.errors,
                after_per_s=rounded(_AFTER_RATIO * safe_per_s),
                watched_s=plan.stages[after].seconds,
                recovery_s=recovery_s(calm, plan.slo, ends_s[over], ends_s[after]),
            )
        )
    return tuple(found)
