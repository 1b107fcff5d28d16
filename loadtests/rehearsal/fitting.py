"""A timing for a real engine: measure it, fit, and say by held-out traffic how far the stand-in is from it."""

import datetime
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from loadtests.rehearsal import stand_ins
from loadtests.rehearsal.facts import facts_of
from loadtests.rehearsal.fit import fitted, noise_of
from loadtests.rehearsal.hearing import Engine
from loadtests.rehearsal.held_out import deviations_of, heard_from, traffic_of
from loadtests.rehearsal.measuring import Say, measure
from loadtests.rehearsal.timing import Deviation, Provenance, Timing, write_timing
from loadtests.surroundings import machine_words

_MEASURE_BUDGET_S: Final = 90.0
# Over one minute; an engine that idles and what asks it come to nearly nothing.
_QUIET_LOAD: Final = 0.3


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be fitted, and how."""

    name: str
    """Of the timing."""
    max_num_seqs: int | None = None
    """None: by probing."""
    max_num_batched_tokens: int | None = None
    """None: vLLM's usual one."""
    seconds: float = 20.0
    """Of each kind of held-out traffic; 0: none, and no error is stated."""
    seed: int = 7


async def fit_engine(engine: Engine, wish: Wish, say: Say) -> Timing:
    """Measure and fit; takes `_MEASURE_BUDGET_S` and six times `wish.seconds` at most, answers in flight apart.

    Raises NotFound, Unavailable, UserError.
    """
    load = os.getloadavg()[0]
    say("what the engine says of itself, and how many requests it works on at once")
    facts = await facts_of(engine, wish.max_num_seqs, wish.max_num_batched_tokens)
    measured = await measure(engine, facts.limits, wish.seed, say, _MEASURE_BUDGET_S)
    coefficients, residual = fitted(measured.rows)
    provenance = Provenance(
        kind="measured",
        text=f"{engine.model}, measured from outside by `fenzhen loadtest fit`, on the machine below.",
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine_words(),
        engine=facts.engine,
        notes=(*facts.notes, *_disturbed(load)),
        residual_ratio=round(residual, 4),
    )
    timing = Timing(
        name=wish.name,
        noise_sigma=round(noise_of(measured.gaps), 4),
        limits=facts.limits,
        provenance=provenance,
        **{key: float(f"{value:.6g}") for key, value in coefficients._asdict().items()},  # type: ignore[arg-type]
    )
    return await with_deviations(engine, timing, wish, say) if wish.seconds else timing


def _disturbed(load: float) -> tuple[str, ...]:
    if load < _QUIET_LOAD:
        return ()
    return (f"before it began, {load:.1f} processes were busy here on average: the figures are disturbed",)


async def with_deviations(engine: Engine, timing: Timing, wish: Wish, say: Say) -> Timing:
    """The same timing with its error stated. Raises Unavailable, UserError, OurFault."""
    deviations: list[Deviation] = []
    # Another seed than the measurement's: no prompt of it may lie in a cache.
    seed = wish.seed + 1000
    with tempfile.TemporaryDirectory(prefix="fenzhen-fit-") as folder:
        path = Path(folder) / "timing.json"
        write_timing(timing, path)
        with stand_ins.started(["--timing", str(path), "--model", engine.model], 1) as running:
            double = replace(engine, url=f"http://127.0.0.1:{running.ports[0]}", key=None)
            for number, traffic in enumerate(traffic_of(timing, wish.seconds, seed)):
                say(f"held-out traffic, {traffic.name}: the engine")
                real = await heard_from(engine, traffic, wish.seconds, seed + number)
                say(f"held-out traffic, {traffic.name}: its stand-in")
                other = await heard_from(double, traffic, wish.seconds, seed + number)
                deviations += deviations_of(traffic.name, real, other)
    provenance = timing.provenance.model_copy(update={"deviations": tuple(deviations)})
    return timing.model_copy(update={"provenance": provenance})
