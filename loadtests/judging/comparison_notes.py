"""What must be known before one trusts a comparison of two runs."""

from collections.abc import Sequence

from loadtests.judging.columns import Columns
from loadtests.judging.generator_limits import generator_limits
from loadtests.records.run import Run


def notes_of(
    runs: tuple[Run, Run], columns: Sequence[Columns], differing: Sequence[str], *, is_remembering: bool
) -> tuple[str, ...]:
    """One sentence each. `is_remembering`: what happens in these runs depends on what happened long before."""
    a, b = runs
    notes = [f"The plans differ in {difference}." for difference in differing]
    if any(difference.startswith("slo.") for difference in differing):
        notes.append("Both runs are judged by A's SLO.")
    if a.plan.seed != b.plan.seed:
        notes.append("The seeds differ: other requests were sent at other moments, which adds noise.")
    if a.plan.target.model != b.plan.target.model:
        notes.append(f"A asked for the model {a.plan.target.model}, B for {b.plan.target.model}.")
    notes += _places(a, b)
    for name, run, one in zip("AB", runs, columns, strict=True):
        if run.about.outcome != "finished":
            notes.append(f"Run {name} did not get to its end: {run.about.message or run.about.outcome}.")
        limits = generator_limits(one, run.ticks)
        if limits.is_limit:
            notes.append(f"In run {name}: {limits.sentence}")
    if is_remembering:
        notes.append(
            "The runs are short beside the time for which a queue in them lasts, so the intervals are rather too "
            "narrow: let them run longer."
        )
    return tuple(notes)


def _places(a: Run, b: Run) -> list[str]:
    """Where the two ran, as far as it differs."""
    notes = []
    for what, of_a, of_b in (
        ("machine", a.about.machine, b.about.machine),
        ("version", a.about.versions, b.about.versions),
    ):
        keys = [*of_a, *(key for key in of_b if key not in of_a)]
        notes += [
            f"Another {what}: {key} is {of_a.get(key, 'unknown')} in A and {of_b.get(key, 'unknown')} in B."
            for key in keys
            if of_a.get(key) != of_b.get(key)
        ]
    return notes
