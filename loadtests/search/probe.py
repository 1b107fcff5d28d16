"""One probe: the plan that tries a rate, and what its run says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cluster.errors import UserError
from loadtests.judging.figures import Figures, Spread, figures_of
from loadtests.judging.slo import meets, verdict_on
from loadtests.plan import Constant, Gamma, Plan, Poisson, Slo, Stage
from loadtests.records.run import Run
from loadtests.records.sample import Sample
from loadtests.search.report import ProbeReport, ProbeWhy
from loadtests.search.seeker import Seen

Steady = Constant | Poisson | Gamma
MEASURED: Final = 1
"""The stage that counts; 0 is the warm-up."""
# A lag that is worth a word: below it the generator keeps its schedule.
_LAG_S: Final = 0.005
_MOST_WARM_UP_S: Final = 30.0
_WORDS: Final = {True: "kept", False: "NOT kept", None: "too few requests to tell"}


@dataclass(frozen=True, slots=True)
class Met:
    """Requests of one rate, all its probes together."""

    met: int = 0
    requests: int = 0


def shape_of(plan: Plan) -> Steady:
    """The arrivals whose rate is searched: those of the first stage that counts. Raises UserError."""
    stage = next((stage for stage in plan.stages if not stage.is_warm_up), None)
    if stage is None:
        raise UserError("all stages of the plan are warm-ups, so there is nothing to search the rate of")
    if not isinstance(stage.arrivals, Steady):
        kind = "people (closed loop)" if stage.arrivals is None else f"{stage.arrivals.kind!r}"
        raise UserError(
            f"a search needs arrivals with one rate: stage {stage.name!r} has {kind}; take constant, poisson or gamma"
        )
    if plan.workload.in_order:
        raise UserError("workload.in_order ends once all questions are asked; a search asks for as long as it needs")
    if plan.faults:
        raise UserError(
            "a search is for a system in order; take `faults` out of the plan, or use `fenzhen loadtest run`"
        )
    return stage.arrivals


def warm_up_s(probe_s: float) -> float:
    """How long before a probe the same rate is sent and not counted."""
    return min(probe_s / 4, _MOST_WARM_UP_S)


def plan_of(base: Plan, rate_per_s: float, seconds: float, warming_s: float, number: int) -> Plan:
    """The plan of one probe: its rate warming up, then measured, ended early once the queue only grows."""
    arrivals = shape_of(base).model_copy(update={"rate_per_s": rate_per_s})
    return base.model_copy(
        update={
            # Another seed each time: a rate that is tried again shall meet other questions at other moments.
            "seed": base.seed + number,
            "stages": (
                Stage(name="warm-up", seconds=warming_s, arrivals=arrivals, is_warm_up=True),
                Stage(name="probe", seconds=seconds, arrivals=arrivals),
            ),
            "limits": base.limits.model_copy(update={"stop_when_saturated": True}),
        }
    )


def judged(run: Run, name: str, why: ProbeWhy, rate_per_s: float, before: Met) -> tuple[ProbeReport, Met]:
    """What a probe's run says, together with what former probes of its rate have counted (`before`)."""
    slo = run.plan.slo
    begin_s = run.plan.stages[0].seconds
    end_s = min(run.plan.seconds, run.about.saturated_at_s or run.plan.seconds)
    counted = [sample for sample in run.samples if sample.stage == MEASURED]
    if run.about.saturated_at_s is not None and not counted:
        # So much too much that not even the warm-up was over: then it is what there is.
        counted, begin_s = list(run.samples), 0.0
    figures = figures_of(counted, slo, max(end_s - begin_s, 1.0))
    met = sum(meets(sample, slo) for sample in counted)
    alone = verdict_on(met, len(counted), slo)
    together = Met(before.met + met, before.requests + len(counted))
    all_of_rate = verdict_on(together.met, together.requests, slo)
    is_saturated = run.about.outcome == "saturated"
    lag_s = figures.lag.p99_s if figures.lag else None
    is_broken = is_saturated or alone.met_ratio < slo.share_ratio
    is_generator = is_broken and _is_generator(counted, slo, lag_s)
    report = ProbeReport(
        name=name,
        why=why,
        rate_per_s=rate_per_s,
        seconds=round(figures.seconds, 3),
        took_s=round(took_s(run), 3),
        requests=figures.requests,
        offered_rps=figures.offered_rps,
        completed_rps=figures.completed_rps,
        goodput_rps=figures.goodput_rps,
        met_ratio=alone.met_ratio,
        low_ratio=alone.low_ratio,
        high_ratio=alone.high_ratio,
        was_met=False if is_saturated else alone.is_met,
        is_met=False if is_saturated else all_of_rate.is_met,
        first_p50_s=_of(figures.first, "p50_s"),
        first_p90_s=_of(figures.first, "p90_s"),
        first_p99_s=_of(figures.first, "p99_s"),
        tpot_p50_s=_of(figures.tpot, "p50_s"),
        tpot_p99_s=_of(figures.tpot, "p99_s"),
        lag_p99_s=lag_s,
        errors=figures.errors,
        saturated_at_s=run.about.saturated_at_s if is_saturated else None,
        is_generator=is_generator,
        sentence=_sentence(rate_per_s, figures, alone.is_met, is_saturated, is_generator)
        + (f"; all {all_of_rate.requests:,} at this rate: {_WORDS[all_of_rate.is_met]}" if before.requests else ""),
    )
    return report, together


def seen_of(report: ProbeReport, together: Met, slo: Slo) -> Seen:
    """What the search needs of it."""
    return Seen(
        rate_per_s=report.rate_per_s,
        seconds=report.took_s,
        was_met=report.was_met,
        is_met=report.is_met,
        leans_to_met=bool(together.requests) and together.met / together.requests >= slo.share_ratio,
        is_saturated=report.saturated_at_s is not None,
        is_generator=report.is_generator,
    )


def took_s(run: Run) -> float:
    """How long a run took, drain included; as planned if that is not known."""
    ended = run.about.ended_unix_s
    return run.plan.seconds if ended is None else max(ended - run.about.started_unix_s, 0.0)


def _is_generator(samples: Sequence[Sample], slo: Slo, lag_s: float | None) -> bool:
    """Whether the promise would have been kept if each request had been sent when it was due."""
    if lag_s is None or lag_s <= _LAG_S or not samples:
        return False
    punctual = sum(meets(sample._replace(lag_s=0.0), slo) for sample in samples)
    return punctual / len(samples) >= slo.share_ratio


def _of(spread: Spread | None, name: str) -> float | None:
    return None if spread is None else float(getattr(spread, name))


def _sentence(rate_per_s: float, figures: Figures, is_met: bool | None, is_saturated: bool, is_generator: bool) -> str:
    first = "no answers" if figures.first is None else f"first token p99 {figures.first.p99_s * 1000:,.0f} ms"
    kept = f"{figures.met_ratio:.1%} of {figures.requests:,} in time, {first}"
    if is_generator:
        return f"{rate_per_s:g}/s: the generator was late, not the server ({kept})"
    if is_saturated:
        return f"{rate_per_s:g}/s: too much, the queue only grew; ended after {figures.seconds:.0f} s ({kept})"
    return f"{rate_per_s:g}/s: {_WORDS[is_met]} ({kept})"
