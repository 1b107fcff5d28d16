"""The picture of an evaluation: PGR over the share of questions for the large model."""

import io
from collections.abc import Sequence

import matplotlib as mpl

from router.learning.evaluation import Evaluation

mpl.use("Agg")

from matplotlib import pyplot as plt


def picture(evaluations: Sequence[Evaluation]) -> bytes:
    """A PNG with a curve for each set, its 95 % interval, and what chance would do."""
    figure, axes = plt.subplots(figsize=(7, 5), dpi=150)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="by chance (APGR .500)")
    for one in evaluations:
        shares = [point.large_share for point in one.points]
        (line,) = axes.plot(
            shares, [point.recovered for point in one.points], marker="o", markersize=3,
            label=f"{one.name} (APGR {one.rating.apgr:.3f}, {one.rating.ci_low:.3f} to {one.rating.ci_high:.3f})",
        )  # fmt: skip
        axes.fill_between(
            shares, [point.low for point in one.points], [point.high for point in one.points],
            color=line.get_color(), alpha=0.15, linewidth=0,
        )  # fmt: skip
    axes.set_xlabel("share of questions for the large model")
    axes.set_ylabel("performance gap recovered (PGR)")
    axes.set_xlim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    content = io.BytesIO()
    # Without the date and the program's version: the same figures make the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    plt.close(figure)
    return content.getvalue()
