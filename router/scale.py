"""How two chances become one difficulty: the scale on which questions are ranked and models are trusted."""

from math import exp
from typing import Final, NamedTuple

from router.compiled import njit, types

# Beyond this the chance is 1 to thirteen digits, and much further `exp` would overflow.
_SURE_LOG_ODDS: Final = 30.0


@njit(types.float64(types.float64), cache=True)
def chance_of(log_odds):  # type: ignore[no-untyped-def]
    """Log-odds as a chance, 0 to 1."""
    return 1.0 / (1.0 + exp(-max(-_SURE_LOG_ODDS, min(_SURE_LOG_ODDS, log_odds))))


@njit(types.float64(types.float64, types.float64, types.float64, types.float64, types.float64), cache=True)
def difficulty_at(small, large, ability, trust, border):  # type: ignore[no-untyped-def]
    """See `Scale.difficulty`; compiled, so that both ways of reading a request come to the same last digit."""
    weaker, strong = chance_of(small + ability * (large - small)), chance_of(large)
    raw = (1.0 - weaker + trust * strong) / (1.0 + trust)
    # sigmoid(logit(raw) - logit(border)), without the logarithms.
    above = raw * (1.0 - border)
    return above / (above + (1.0 - raw) * border)


class Scale(NamedTuple):
    """What a judge says of its own scale; one value for all its estimates."""

    strong_trust_ratio: float = 1.0
    """How far the large model's own failures are believed."""
    border: float = 0.5
    """The raw difficulty that becomes 0.5, between 0 and 1."""

    def difficulty(self, small_log_odds: float, large_log_odds: float, ability: float = 0.0) -> float:
        """How much a question asks for a model above `ability` (0: the small reference model, 1: the large), 0 to 1.

        It is high where that model is likely to fail and the large one is not: a question that both fail gains
        nothing by going to the large one.
        """
        return float(difficulty_at(small_log_odds, large_log_odds, ability, *self))
