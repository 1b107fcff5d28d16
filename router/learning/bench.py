"""`make bench-routing`: every published figure of the judge, as a table and as JSON.

Reads the public sets where they lie, trains and measures by all protocols, and times a decision.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.errors import UserError
from router.estimate import Judge
from router.judge_file import DEFAULT, load
from router.learning.curve import RatingWithInterval
from router.learning.files import write_json
from router.learning.measuring import Measured, protocols
from router.learning.public_rows import SETS, without
from router.learning.rewording import all_of, flips_of

TARGETS: Final[Mapping[str, float]] = {
    "mmlu_5fold": 0.66,
    "mmlu_1531": 0.63,
    "gsm8k_5fold": 0.66,
    "lexeval_5fold": 1.20,
    "mtbench_transfer": 0.75,
    "mmlu_transfer": 0.56,
    "gsm8k_transfer": 0.55,
    "lexeval_leave_task_out": 1.02,
}
"""The least APGR of each protocol that we promise."""
MMLU_CPT50: Final = 0.29
FLIPS: Final = 0.08
US_500_CHARS: Final = 50.0
US_20000_CHARS: Final = 1000.0
"""And the most of these."""


def measured_sets(folder: Path) -> dict[str, Measured]:
    """All public sets as numbers; LLMRouter's without any question of the others."""
    rows = {name: read(folder) for name, read in SETS.items()}
    rows["llm_router"] = without(rows["llm_router"], [rows["mmlu"], rows["gsm8k"], rows["mt_bench"]])
    return {name: Measured(one) for name, one in rows.items()}


def line(name: str, rating: RatingWithInterval) -> str:
    """One protocol, for a terminal."""
    target = TARGETS.get(name)
    met = f"{target:6.2f} {'met' if rating.apgr >= target else 'MISSED'}" if target else ""
    return (
        f"{name:30} {rating.apgr:6.3f} {rating.ci_low:7.3f}-{rating.ci_high:.3f}  "
        f"{rating.cpt50:6.1%} {rating.cpt80:6.1%} {met}"
    )


def as_json(ratings: Mapping[str, RatingWithInterval]) -> dict[str, object]:
    """What `build/bench/routing.json` holds of the ratings."""
    return {name: {key: round(value, 4) for key, value in one._asdict().items()} for name, one in ratings.items()}


def main(arguments: list[str] | None = None) -> int:
    """Measure everything; 2 where the data cannot be read, 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--json", type=Path, default=Path("build/bench/routing.json"), help="where the figures go")
    chosen = parser.parse_args(arguments)
    try:
        sets = measured_sets(chosen.data)
        document, missed = _measured(sets)
        write_json(chosen.json, document)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _say(f"\nFigures: {chosen.json}")
    _say(f"Missed: {', '.join(missed)}" if missed else "Every target is met.")
    return 1 if missed else 0


def _measured(sets: Mapping[str, Measured]) -> tuple[dict[str, object], list[str]]:
    """All figures, and the names of those that miss their target."""
    _say(f"{'protocol':30} {'APGR':>6} {'95 % interval':>15}  {'CPT50':>6} {'CPT80':>6} target")
    ratings = {}
    for protocol in protocols(sets):
        ratings[protocol.name] = protocol.run()
        _say(line(protocol.name, ratings[protocol.name]))
    # Imported late: it brings the whole decision with it, and its compiling would disturb nothing but memory.
    from router.learning.cost import decision_cost

    cost = decision_cost()
    judge = Judge(load(DEFAULT))
    flips = flips_of(judge)
    every = all_of(flips)
    worst = max(flips, key=lambda name: flips[name].ratio)
    limits = {
        "CPT50 of mmlu_5fold, strong calls": (ratings["mmlu_5fold"].cpt50 * 100, MMLU_CPT50 * 100, "%"),
        "decision, 500 characters": (cost.chars_500_us, US_500_CHARS, "us"),
        "decision, 20,000 characters": (cost.chars_20000_us, US_20000_CHARS, "us"),
        "rewordings that change the choice": (every.ratio * 100, FLIPS * 100, "%"),
        f"the same, worst class ({worst})": (flips[worst].ratio * 100, FLIPS * 100, "%"),
    }
    _say("")
    for name, (value, most, unit) in limits.items():
        _say(f"{name:50} {value:8.1f} {unit:2}  at most {most:6.0f}  {'met' if value <= most else 'MISSED'}")
    missed = [name for name, rating in ratings.items() if rating.apgr < TARGETS.get(name, 0)]
    missed += [name for name, (value, most, _) in limits.items() if value > most]
    return as_json(ratings) | {
        "decision_cpu_us_short": round(cost.short_us, 1),
        "decision_cpu_us_500_chars": round(cost.chars_500_us, 1),
        "decision_cpu_us_20000_chars": round(cost.chars_20000_us, 1),
        "rewording_flip_ratio": round(every.ratio, 4),
        "rewording_flip_ratio_by_class": {name: round(one.ratio, 4) for name, one in flips.items()},
        "shipped_judge": judge.card.figures,
    }, missed


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
