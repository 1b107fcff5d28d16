"""What the shipped rows teach: the same held-out rows before and after, with bootstrap intervals."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from training.bench.ground import Ground, Teller
from training.bench.report import table
from training.evaluating import evaluate
from training.evaluation import Evaluation, results_of
from training.fitting import fit
from training.gates import judged
from training.run_folder import RunFolder


def measure(ground: Ground, say: Callable[[str], None]) -> dict[str, Any]:
    """Evaluate, train, evaluate again."""
    recipe, prepared, base, watch = ground.recipe, ground.prepared, ground.base, Teller(say)
    quantise = None if recipe.quantise_base == "none" else recipe.quantise_base
    say("Before")
    before = evaluate(recipe, prepared, base, None, watch, quantise=quantise)
    say("Training")
    began_s = time.monotonic()
    fitted = fit(recipe, prepared, base, RunFolder(ground.folder / "run"), watch, lambda: False)
    fit_s = time.monotonic() - began_s
    say("After")
    after = evaluate(recipe, prepared, base, fitted.adapter, watch, quantise=quantise)
    gates = judged(recipe, before, after)
    return {
        "before": figure(before, recipe.evaluation.metric),
        "after": figure(after, recipe.evaluation.metric),
        "results": {name: round(value, 4) for name, value in sorted(results_of(before, after).items())},
        "gates": {f"{gate.metric} {gate.required}": gate.is_passed for gate in gates},
        "rows": {"train": len(prepared.train), "test": len(prepared.test), "general": len(prepared.general)},
        "left_out": dict(prepared.left_out),
        "steps": fitted.steps,
        "fit_s": round(fit_s, 1),
        "tokens_per_s": round(fitted.tokens_per_s, 1),
        "peak_memory_bytes": fitted.peak_memory_bytes,
    }


def figure(evaluation: Evaluation, metric: str) -> dict[str, Any]:
    """One metric as the report has it."""
    return {"metric": metric, **asdict(evaluation.figures[metric])}


def as_report(found: dict[str, Any], name: str, *, is_default: bool) -> dict[str, Any]:
    """What stands in the report; `before` and `after` at its top are those of the shipped recipe as it is."""
    top = {"before": found["before"], "after": found["after"]} if is_default else {}
    return {**top, "quality": {name: found}}


def as_table(found: dict[str, Any], name: str) -> str:
    """For people."""
    rows = [[name, "value", "interval", "rows"]]
    for when in ("before", "after"):
        each = found[when]
        interval = f"{each['ci_low']:.3f}-{each['ci_high']:.3f}"
        rows.append([f"{each['metric']} {when}", f"{each['value']:.3f}", interval, str(each["rows"])])
    failed = [text for text, is_passed in found["gates"].items() if not is_passed]
    verdict = f"gates not passed: {'; '.join(failed)}" if failed else f"all {len(found['gates'])} gates passed"
    return f"{table(rows)}\n{found['steps']} steps in {found['fit_s']:.0f} s; {verdict}"
