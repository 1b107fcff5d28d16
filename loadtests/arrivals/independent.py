"""Gaps that do not depend on each other: Poisson and bursts, as a gamma renewal process."""

from collections.abc import Iterator
from typing import Final

import numpy as np

# A block is drawn in about 50 µs: less than any lag that matters, and its cost a moment is lost in that of sending.
BLOCK: Final = 1024


def moments(rate_per_s: float, burstiness: float, seconds: float, draw: np.random.Generator) -> Iterator[float]:
    """The moments of `seconds` at this mean rate, since its begin.

    `burstiness` is the squared coefficient of variation of the gaps: a gamma distribution of shape 1 / burstiness, as
    in BurstGPT (Wang et al. 2024) and in `vllm bench serve`, whose --burstiness is that shape and so our inverse. 1 is
    Poisson.
    """
    shape, scale_s = 1 / burstiness, burstiness / rate_per_s
    # We come to a process that has run for ever: the gap we fall into is drawn by its length, and we are anywhere in it
    # (Cox, Renewal Theory, 1962, chapter 5). Beginning with a whole gap would send (burstiness - 1) / 2 too many.
    at_s = draw.random() * draw.gamma(shape + 1, scale_s)
    while at_s < seconds:
        ends_s = at_s + np.cumsum(draw.gamma(shape, scale_s, BLOCK))
        yield at_s
        yield from ends_s[:-1][ends_s[:-1] < seconds].tolist()
        at_s = float(ends_s[-1])
