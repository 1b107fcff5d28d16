"""Our training beside plain loops, on the same batches in the same run: in turn, each in a process of its own."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, get_args

from training.bench.child import child
from training.bench.ground import Ground
from training.bench.lap import Job, Kind, Lap
from training.bench.report import Spread, spread_of, table

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_TITLES: Final = {"ours": "fenzhen", "plain": "plain loop", "plain_autocast": "plain loop, autocast"}
_SAME_LOSS: Final = 0.02
"""Both calculate in 8 bits of mantissa, in another order: the first step's losses agree to about a hundredth."""


class NotComparable(Exception):
    """The loops have not trained on the same batches."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours over the better of the plain loops: the faster for speed, the leaner for memory."""

    tokens_per_s_ratio: float
    tokens_per_s_ratios: Spread
    """Round by round."""
    peak_memory_ratio: float
    peak_memory_ratios: Spread
    tokens_per_s: dict[Kind, Spread]
    peak_memory_bytes: dict[Kind, Spread]
    whole_s: dict[Kind, Spread]
    first_loss: dict[Kind, float]
    last_loss: dict[Kind, float]
    steps: int
    tokens: int
    rounds: int


def measure(ground: Ground, rounds: int, say: Callable[[str], None]) -> Comparison:
    """Run all loops in turn, so that whatever else the machine does falls on each of them."""
    laps = []
    for number in range(1, rounds + 1):
        for kind in KINDS:
            output = ground.folder / f"{kind}-{number}"
            job = Job(kind, str(ground.recipe_file), str(ground.data), str(ground.base), str(output))
            with child(job) as running:
                lap = running.finished()
            say(f"  round {number} of {rounds}, {_TITLES[kind]}: {lap.tokens_per_s:.0f} tokens/s")
            laps.append(lap)
    return compared(laps)


def compared(laps: Sequence[Lap]) -> Comparison:
    """Put laps side by side, those of a round with each other. Raises NotComparable."""
    by_kind: dict[str, list[Lap]] = defaultdict(list)
    for lap in laps:
        by_kind[lap.kind].append(lap)
    _require_same_work(laps)
    rounds = list(zip(*(by_kind[kind] for kind in KINDS), strict=True))
    speed = {kind: spread_of([lap.tokens_per_s for lap in by_kind[kind]]) for kind in KINDS}
    memory = {kind: spread_of([lap.peak_memory_bytes for lap in by_kind[kind]]) for kind in KINDS}
    rivals = [kind for kind in KINDS if kind != "ours"]
    return Comparison(
        tokens_per_s_ratio=speed["ours"].median / max(speed[kind].median for kind in rivals),
        tokens_per_s_ratios=spread_of(
            [ours.tokens_per_s / max(each.tokens_per_s for each in plain) for ours, *plain in rounds]
        ),
        peak_memory_ratio=memory["ours"].median / min(memory[kind].median for kind in rivals),
        peak_memory_ratios=spread_of(
            [ours.peak_memory_bytes / min(each.peak_memory_bytes for each in plain) for ours, *plain in rounds]
        ),
        tokens_per_s=speed,
        peak_memory_bytes=memory,
        whole_s={kind: spread_of([lap.whole_s for lap in by_kind[kind]]) for kind in KINDS},
        first_loss={kind: by_kind[kind][0].losses[0] for kind in KINDS},
        last_loss={kind: by_kind[kind][0].losses[-1] for kind in KINDS},
        steps=laps[0].steps,
        tokens=laps[0].tokens,
        rounds=len(rounds),
    )


def _require_same_work(laps: Sequence[Lap]) -> None:
    first = laps[0]
    for lap in laps:
        if (lap.steps, lap.tokens) != (first.steps, first.tokens):
            raise NotComparable(
                f"{lap.kind} made {lap.steps} steps of {lap.tokens:,} tokens in all, {first.kind} {first.steps} of "
                f"{first.tokens:,}"
            )
        # A fresh adapter adds nothing: the first loss is the base's own on the first batch.
        if abs(lap.losses[0] - first.losses[0]) > _SAME_LOSS * first.losses[0]:
            raise NotComparable(
                f"{lap.kind} began with a loss of {lap.losses[0]:.4f}, {first.kind} with {first.losses[0]:.4f}: "
                "the batches differ"
            )


def as_report(found: Comparison, ground: Ground) -> dict[str, Any]:
    """What stands in the report."""
    return {
        "tokens_per_s_ratio": round(found.tokens_per_s_ratio, 3),
        "peak_memory_ratio": round(found.peak_memory_ratio, 3),
        "speed": {
            **asdict(found),
            "base": ground.recipe.base,
            "quantise_base": ground.recipe.quantise_base,
            "batch_size": ground.recipe.train.batch_size,
        },
    }


def as_table(found: Comparison) -> str:
    """For people."""
    rows = [["", "tokens/s", "range", "peak GB", "whole s", "first loss", "last loss"]]
    for kind in KINDS:
        speed = found.tokens_per_s[kind]
        rows.append(
            [
                _TITLES[kind],
                f"{speed.median:.0f}",
                f"{speed.lowest:.0f}-{speed.highest:.0f}",
                f"{found.peak_memory_bytes[kind].median / 1e9:.2f}",
                f"{found.whole_s[kind].median:.0f}",
                f"{found.first_loss[kind]:.3f}",
                f"{found.last_loss[kind]:.3f}",
            ]
        )
    ratios = found.tokens_per_s_ratios
    rows.append(
        [
            "fenzhen over the better",
            f"{found.tokens_per_s_ratio:.2f}",
            f"{ratios.lowest:.2f}-{ratios.highest:.2f}",
            f"{found.peak_memory_ratio:.2f}",
            *[""] * 3,
        ]
    )
    return table(rows)
