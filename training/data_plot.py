"""The picture of how long rows are: prompts, answers, and both together against the limit."""

import io
from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
import numpy as np

from training.data_items import Item

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_BINS: Final = 40
_FAR: Final = 3
"""Times the longest row."""


def picture(train: Sequence[Item], test: Sequence[Item], max_tokens: int) -> bytes:
    """A PNG with a histogram each of prompts, answers and whole rows; training and held-out rows in two colours."""
    figure, places = plt.subplots(1, 3, figsize=(12, 3.8), dpi=120)
    parts = (
        ("prompt", [[item.prompt_tokens for item in items] for items in (train, test)]),
        ("answer", [[item.answer_tokens for item in items] for items in (train, test)]),
        ("whole row", [[item.prompt_tokens + item.answer_tokens for item in items] for items in (train, test)]),
    )
    for axes, (name, counts) in zip(places, parts, strict=True):
        _histogram(axes, name, counts)
    limit = places[2]
    longest = limit.get_xlim()[1]
    is_near = max_tokens <= _FAR * longest
    # Drawn where it stands if that leaves something to see of the rows; else said at the edge.
    limit.axvline(
        max_tokens if is_near else longest, color="tab:red", linestyle="--" if is_near else ":",
        label=f"limit {max_tokens:,}" if is_near else f"limit {max_tokens:,}, far to the right",
    )  # fmt: skip
    limit.legend(fontsize=8)
    places[0].set_ylabel("rows")
    figure.tight_layout()
    content = io.BytesIO()
    # Without the program's version: the same rows make the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    plt.close(figure)
    return content.getvalue()


def _histogram(axes: Axes, name: str, counts: Sequence[Sequence[int]]) -> None:
    longest = max((max(part) for part in counts if part), default=1)
    # Whole tokens: no bin may be empty only because no whole number falls into it.
    width = max(1, -(-longest // _BINS))
    bins = (np.arange(0, longest + 2 * width, width) - 0.5).tolist()
    axes.hist(
        [np.asarray(part) for part in counts], bins=bins, stacked=True,
        label=[f"{label} ({len(part):,})" for label, part in zip(("training", "held out"), counts, strict=True)],
    )  # fmt: skip
    axes.set_xlabel(f"tokens of the {name}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
