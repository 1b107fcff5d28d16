"""One moment at which a request is due."""

from typing import NamedTuple


class Arrival(NamedTuple):
    """The order of arrivals is that of `at_s`."""

    at_s: float
    """Since the run began."""
    stage: int
    """Index into the plan's stages."""
    prompt_tokens: int | None = None
    """As a trace recorded it; None: the workload says."""
    answer_tokens: int | None = None
    prefix_blocks: tuple[int, ...] = ()
    """Ids of the blocks of `block_tokens` tokens that the prompt begins with: equal ids are equal text."""
    block_tokens: int = 512
