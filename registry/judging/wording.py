"""A verdict's sentence for a person."""

from collections.abc import Sequence

from registry.judging.metrics import Metric
from registry.verdict import GroupFinding


def share_words(metric: Metric, stable: tuple[int, int], canary: tuple[int, int]) -> str:
    """`errors in 14 of 14 answers (100 %), stable's in 0 of 12 (0 %)`."""
    return f"{metric.words} in {_of(canary)}, in stable's {_of(stable)}"


def number_words(
    metric: Metric,
    stable: float | None,
    canary: float | None,
    shares: tuple[float | None, float | None],
    n: tuple[int, int],
) -> str:
    """`time to the first token, median: 0.41 s, stable's 0.2 s (...)`."""
    words = f"{metric.words}: {_number(canary, metric.unit)}, stable's {_number(stable, metric.unit)}"
    if shares[0] is None or shares[1] is None:
        return words
    beyond = "beyond" if metric.factor > 1 else "below"
    limit = f"{metric.factor:.2f} times what is usual" if metric.factor != 1 else "what is usual"
    return (
        f"{words}; {shares[1]:.0%} of {n[1]} answers lie {beyond} {limit}, where {shares[0]:.0%} of stable's {n[0]} "
        f"lie {beyond} what is usual"
    )


def quality_words(mean: float | None, pairs: int) -> str:
    """`as good or better in 31 % of 80 pairs`."""
    return f"quality: as good or better in {0 if mean is None else mean:.0%} of {pairs} pairs"


def worse_words(words: str, p_value: float, alpha: float) -> str:
    """Why it is rolled back."""
    return (
        f"The canary does harm: {words}; a harmless version would look like this at any moment with probability "
        f"{max(p_value, 1e-12):.2g} at most, {alpha:g} is allowed."
    )


def deviating_words(group: GroupFinding, counts: Sequence[int], deviation_ratio: float) -> str:
    """Why a person is asked."""
    stable_n, stable_good = counts[0], counts[1]
    beside = f"stable gives it {stable_good / stable_n:.0%} of {stable_n}" if stable_n else "stable has none to it"
    return (
        f"A person must look: of the canary's answers to the group {group.group!r} {group.good_ratio:.0%} of "
        f"{group.requests} are good, of all {group.mean_good_ratio:.0%}: {group.deviation_ratio:+.0%}, surely more "
        f"than {deviation_ratio:.0%} off; {beside}."
    )


def hold_words(compared: tuple[int, int], wanted: int, requests: tuple[int, int]) -> str:
    """What is missing."""
    if not any(requests):
        return "Nothing has been asked yet."
    return (
        f"Too little is known: {compared[1]} requests to the canary and {compared[0]} like them to stable in this "
        f"step; {wanted} each are wanted."
    )


def unsure_words(may_be: Sequence[str], compared: tuple[int, int]) -> str:
    """What may still be worse."""
    more = f" and {len(may_be) - 3} more" if len(may_be) > 3 else ""
    return (
        f"Not sure yet after {compared[1]} requests to the canary and {compared[0]} to stable; these may still be "
        f"worse than allowed: {'; '.join(may_be[:3])}{more}."
    )


def promote_words(compared: tuple[int, int], metrics: int, left_out: Sequence[str], confidence_ratio: float) -> str:
    """Why it may go on."""
    seldom = f"; too seldom asked to say: {', '.join(left_out)}" if left_out else ""
    return (
        f"No harm in {compared[1]} requests beside {compared[0]} like them to stable: {metrics} metrics lie within "
        f"their margins, each with confidence {confidence_ratio:.0%}{seldom}."
    )


def _of(count: tuple[int, int]) -> str:
    k, n = count
    return f"{k} of {n} ({k / n:.1%})" if n else "none yet"


def _number(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.3g} {unit}"
