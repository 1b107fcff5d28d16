"""`fenzhen router evaluate`: how a judge does on labelled rows, in tables and in a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fenzhen.judges import both_ends, judge_of, rows_of
from fenzhen.options import config_options, json_option, judge_option, load, public_option, rows_option
from fenzhen.output import Output
from fenzhen.progress import reporter

if TYPE_CHECKING:
    from router.judge_file import JudgeCard
    from router.learning.curve import Numbers
    from router.learning.degrading import Relief, Staying
    from router.learning.evaluation import Evaluation
    from router.learning.labelled_rows import RowSet
    from router.learning.rewording import Flips

_PRICE = click.FloatRange(0, min_open=True)


@click.command()
@config_options
@json_option
@rows_option
@public_option
@judge_option
@click.option(
    "--price",
    nargs=2,
    type=_PRICE,
    metavar="SMALL LARGE",
    help="What a request costs, in any currency. [default: by the models' parameters_b]",
)
@click.option(
    "--margins",
    is_flag=True,
    help="Also say what it costs to move questions under load, and to keep conversations with their model.",
)
@click.option("--png", type=click.Path(path_type=Path), metavar="PATH", help="Draw the curves into this file.")
def evaluate(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    rows_files: tuple[Path, ...],
    public: Path | None,
    judge: Path | None,
    price: tuple[float, float] | None,
    margins: bool,
    png: Path | None,
) -> None:
    """Measure a judge: what share of the questions for the large model recovers how much of its lead, at what cost.

    Rows that the judge has learned from flatter it; a line says so where its card names them.
    """
    settings, _ = load(config, profile_name)
    from router.learning.evaluation import evaluate as evaluated
    from router.learning.evaluation import scores_of
    from router.learning.files import write_bytes
    from router.learning.public_rows import SETS
    from router.learning.rewording import flips_of

    (small, candidate), (large, _) = both_ends(settings)
    price_ratio = price[0] / price[1] if price else small.parameters_b / large.parameters_b
    in_use, path = judge_of(settings, judge)
    sets = [read(public) for read in SETS.values()] if public else []
    if rows_files or not public:
        sets += rows_of(rows_files, settings)
    output = Output(as_json)
    evaluations, costs = [], []
    with reporter(output.progress) as progress:
        for rows in sets:
            progress.stage(f"{rows.name}: {len(rows):,} questions", None)
            scores = scores_of(in_use, rows.prompts, candidate.ability)
            evaluations.append(evaluated(rows, scores, price_ratio))
            if margins:
                costs.append(_margins(rows, scores.difficulty, candidate.max_difficulty))
        progress.stage("rewordings", None)
        flips = flips_of(in_use)
    if png:
        # Imported late: matplotlib takes half a second.
        from router.learning.plot import picture

        write_bytes(png, picture(evaluations))
    known = _known(in_use.card, evaluations)
    document = {
        "judge": in_use.card.name, "judge_file": str(path), "price_ratio": round(price_ratio, 4),
        "learned_from": known,
        "sets": [_document(one) for one in evaluations],
        "rewording": {name: {"flipped": one.flipped, "cases": one.cases} for name, one in flips.items()},
        "margins": [one.document() for one in costs],
    }  # fmt: skip
    output.result(document, Group(*(one.view() for one in costs), _view(evaluations, flips, known)))
    if png:
        output.say(f"The curves: {png}")


class _Margins(NamedTuple):
    """What the margins round one bar cost on one set of rows."""

    name: str
    bar: float
    relief: list["Relief"]
    staying: list["Staying"]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "max_difficulty": self.bar,
            "relief": [one._asdict() for one in self.relief],
            "staying": [one._asdict() for one in self.staying],
        }

    def view(self) -> Group:
        """For a person."""
        relief = _table("relief under load", "moved", "to the large model", "quality", "lost (95 %)", "lost by chance")
        for one in self.relief:
            relief.add_row(
                f"{one.margin:+.2f}", f"{one.moved_ratio:.1%}", f"{one.large_ratio:.1%}", f"{one.quality:.3f}",
                f"{one.lost:+.3f} ({one.lost_low:+.3f} to {one.lost_high:+.3f})", f"{one.lost_by_chance:+.3f}",
            )  # fmt: skip
        staying = _table("staying: up, down", "later turns that switch", "quality", "to the large model")
        for kept in self.staying:
            staying.add_row(
                f"{kept.up:.2f}, {kept.down:.2f}", f"{kept.switched_ratio:.1%}", f"{kept.quality:.3f}",
                f"{kept.large_ratio:.1%}",
            )  # fmt: skip
        title = Text(f"{self.name}: margins round max_difficulty {self.bar:g}")
        return Group(title, relief, Text(""), staying, Text(""))


def _margins(rows: "RowSet", difficulty: "Numbers", bar: float) -> _Margins:
    from router.learning.degrading import relief_costs, staying_costs

    return _Margins(
        rows.name,
        bar,
        relief_costs(difficulty, rows.small, rows.large, bar),
        staying_costs(difficulty, rows.small, rows.large, bar),
    )


def _known(card: "JudgeCard", evaluations: Sequence["Evaluation"]) -> list[str]:
    learned = {one.name for one in card.trained_on}
    return [one.name for one in evaluations if one.name in learned]


def _document(one: "Evaluation") -> dict[str, Any]:
    def rounded(values: Any) -> dict[str, float]:
        return {key: round(value, 4) for key, value in values._asdict().items()}

    return {
        "name": one.name,
        "rows": one.rows,
        **rounded(one.rating),
        "curve": [rounded(point) for point in one.points],
        "small": {"calibration_error": round(one.small_calibration_error, 4), "bins": [*map(rounded, one.small_bins)]},
        "large": {"calibration_error": round(one.large_calibration_error, 4), "bins": [*map(rounded, one.large_bins)]},
    }


def _view(evaluations: Sequence["Evaluation"], flips: dict[str, "Flips"], known: list[str]) -> Group:
    from router.learning.rewording import all_of

    parts: list[Table | Text] = []
    for one in evaluations:
        rating = one.rating
        parts.append(
            Text(
                f"{one.name}: {one.rows:,} rows. APGR {rating.apgr:.3f} ({rating.ci_low:.3f} to {rating.ci_high:.3f}; "
                f"by chance .500), half of the lead with {rating.cpt50:.0%} of the questions, "
                f"four fifths with {rating.cpt80:.0%}."
                + (" The judge has learned from a set of this name." if one.name in known else "")
            )
        )
        parts += [_curve(one), Text(""), _bins(one), Text("")]
    table = _table("harmless rewording", "changed the choice", "of", "ratio")
    for name, flip in [*flips.items(), ("all", all_of(flips))]:
        table.add_row(name, str(flip.flipped), str(flip.cases), f"{flip.ratio:.1%}")
    return Group(*parts, table)


def _curve(one: "Evaluation") -> Table:
    table = _table("to the large model", "lead recovered (PGR)", "95 % interval", "quality", "cost", "max_difficulty")
    for point in one.points:
        table.add_row(
            f"{point.large_share:.0%}", f"{point.recovered:.3f}", f"{point.low:.3f} to {point.high:.3f}",
            f"{point.quality:.3f}", f"{point.cost:.0%}", f"{point.max_difficulty:.3f}",
        )  # fmt: skip
    return table


def _bins(one: "Evaluation") -> Table:
    table = _table("small model: chance", "came true", "large model: chance", "came true ")
    for small, large in zip(one.small_bins, one.large_bins, strict=True):
        table.add_row(
            f"{small.stated:.2f}", f"{small.came_true:.2f}", f"{large.stated:.2f}", f"{large.came_true:.2f}"
        )  # fmt: skip
    table.add_row("mean distance", f"{one.small_calibration_error:.3f}", "", f"{one.large_calibration_error:.3f}")
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title == titles[0] else "right")
    return table
