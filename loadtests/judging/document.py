"""The report for programs: report.json, with everything that CI may want to ask. docs/load-figures.md explains it."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from loadtests.judging.agreement import last_measured
from loadtests.judging.columns import Columns
from loadtests.judging.fault_effects import Effect, effects_of
from loadtests.judging.generator_limits import generator_limits
from loadtests.judging.slices import counted_stages, slices_from, whole_from
from loadtests.judging.slo import verdict_from
from loadtests.judging.windows import width_s_of, windows_from
from loadtests.plan import Plan
from loadtests.records.run import EnginesSeen, EngineTotals, Run

FORMAT: Final = 1
"""Grows when a field changes its meaning or goes; new fields do not change it."""

_ROUTER: Final = {
    "relieved": "fenzhen_relieved_total",
    "switches": "fenzhen_conversation_switches_total",
    "retries": "fenzhen_retries_total",
    "engine_failures": "fenzhen_engine_failures_total",
    "fallbacks": "fenzhen_router_canary_fallbacks_total",
}
"""What the router did beside answering, by its counters: see docs/api.md."""


def document_of(run: Run) -> dict[str, Any]:
    """A run as plain values: durations in seconds, but `generator.lag_p99_ms`; shares 0 to 1; null where there is no
    such figure."""
    everything = Columns.of(run.samples)
    columns = everything.where(everything.in_stages(counted_stages(run.plan)))
    slices = slices_from(run, columns)
    width_s = width_s_of(run.plan.seconds)
    windows = windows_from(columns, width_s, run.plan.slo)
    return {
        "format": FORMAT,
        "about": run.about.model_dump(mode="json"),
        "plan": _plan(run.plan),
        "verdict": asdict(verdict_from(columns, run.plan.slo)),
        "generator": _generator(run, columns),
        "figures": asdict(whole_from(run, columns)),
        "slices": {cut: {name: asdict(one) for name, one in parts.items()} for cut, parts in slices.items()},
        "windows": {"width_s": width_s, "windows": [asdict(window) for window in windows]},
        "engines": _engines(run.engines),
        "router": _router(run.engines.router),
        "agreement": _agreement(),
        "marks": [_mark(effect) for effect in effects_of(run, everything)],
    }


def _plan(plan: Plan) -> dict[str, Any]:
    ends_s = list(itertools.accumulate(stage.seconds for stage in plan.stages))
    return {
        "name": plan.name,
        "seed": plan.seed,
        "seconds": plan.seconds,
        # Its address may hold a password; `about.target_url` is without.
        "model": plan.target.model,
        "workload": plan.workload.model_dump(mode="json", exclude={"tenants": {"__all__": {"api_key_env"}}}),
        "stages": [
            {"begins_s": end_s - stage.seconds, "ends_s": end_s, **stage.model_dump(mode="json", exclude_none=True)}
            for stage, end_s in zip(plan.stages, ends_s, strict=True)
        ],
        "slo": plan.slo.model_dump(mode="json"),
        "limits": plan.limits.model_dump(mode="json"),
        "faults": list(plan.faults),
    }


def _generator(run: Run, columns: Columns) -> dict[str, Any]:
    limits = generator_limits(columns, run.ticks)
    return {
        "lag_p99_ms": None if limits.lag_p99_s is None else limits.lag_p99_s * 1000,
        "cpu_max_ratio": limits.cpu_max_ratio,
        "is_limit": limits.is_limit,
        "good_rps": limits.good_rps,
        "sentence": limits.sentence,
        "processes": run.about.processes,
        "notes": list(run.about.generator_notes),
    }


def _agreement() -> dict[str, Any] | None:
    """How far this tool's figures lie from a public tool's: not of this run, but of this version."""
    agreement = last_measured()
    if agreement is None:
        return None
    return {**agreement.model_dump(), "is_close": agreement.is_close, "sentence": agreement.sentence}


def _engines(seen: EnginesSeen) -> dict[str, Any]:
    counted = [one for one in seen.totals if one.queue_count]
    count = sum(one.queue_count or 0.0 for one in counted)
    return {
        "queue": {
            "count": count,
            "mean_s": sum(one.queue_sum_s or 0.0 for one in counted) / count if count else None,
            # Percentiles of several engines cannot be added up: these are of the engine that is worst off.
            "worst_p50_s": max((one.queue_p50_s for one in counted if one.queue_p50_s is not None), default=None),
            "worst_p99_s": max((one.queue_p99_s for one in counted if one.queue_p99_s is not None), default=None),
        },
        "prefix_hit_ratio": _hit_ratio(seen.totals),
        "preemptions": sum(one.preemptions or 0.0 for one in seen.totals),
        "most_waiting": max((one.waiting for one in seen.readings), default=None),
        "most_running": max((one.running for one in seen.readings), default=None),
        "most_kv_used_ratio": max(
            (one.kv_used_ratio for one in seen.readings if one.kv_used_ratio is not None), default=None
        ),
        "by_engine": {one.engine: _engine(one) for one in seen.totals},
        "notes": list(seen.notes),
    }


def _engine(one: EngineTotals) -> dict[str, Any]:
    mean_s = one.queue_sum_s / one.queue_count if one.queue_count and one.queue_sum_s is not None else None
    return {
        "model": one.model,
        "queue": {
            "count": one.queue_count, "mean_s": mean_s, "p50_s": one.queue_p50_s, "p99_s": one.queue_p99_s,
        },
        "prefix_hit_ratio": _hit_ratio((one,)),
        "preemptions": one.preemptions,
    }  # fmt: skip


def _hit_ratio(totals: Sequence[EngineTotals]) -> float | None:
    known = [one for one in totals if one.prefix_hit_tokens is not None and one.prefix_asked_tokens]
    asked = sum(one.prefix_asked_tokens or 0.0 for one in known)
    return sum(one.prefix_hit_tokens or 0.0 for one in known) / asked if asked else None


def _router(counters: dict[str, float]) -> dict[str, Any]:
    """Nothing where no router was asked. The router escalates by sending a request on: to another engine or model
    (retries), to another model because one is busy (relieved), to the stable version (fallbacks)."""
    if not counters:
        return {}
    totals = {
        name: sum(value for key, value in counters.items() if key.partition("{")[0] == counter)
        for name, counter in _ROUTER.items()
    }
    return {**totals, "counters": counters}


def _mark(effect: Effect) -> dict[str, Any]:
    figures = {name: getattr(effect, name) for name in ("before", "during", "after")}
    return {
        **effect.mark.model_dump(mode="json"),
        "outcome": effect.outcome,
        "recovered_after_s": effect.recovered_after_s,
        "watched_s": effect.watched_s,
        **{name: None if one is None else asdict(one) for name, one in figures.items()},
    }
