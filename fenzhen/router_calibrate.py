"""`fenzhen router calibrate`: the bar for the small model, out of a wish in words."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.errors import UserError
from cluster.settings import Settings
from fenzhen.judges import both_ends, judge_of, rows_of
from fenzhen.options import DEFAULT_FILE, config_options, json_option, judge_option, load, rows_option
from fenzhen.output import Output
from fenzhen.settings_edit import set_max_difficulty

if TYPE_CHECKING:
    from router.estimate import Judge
    from router.learning.calibration import Bar, Interval, Traffic

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@config_options
@json_option
@click.option("--large-share", type=_SHARE, metavar="SHARE", help="So many questions for the large model: 0.3.")
@click.option("--quality", type=_SHARE, metavar="SHARE", help="Keep so much of the large model's quality: 0.95.")
@rows_option
@click.option("--questions", type=click.Path(path_type=Path), metavar="FILE", help="Unlabelled questions, one a line.")
@judge_option
@click.option("--write", is_flag=True, help="Put the bar into fenzhen.yaml; comments stay.")
def calibrate(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    large_share: float | None,
    quality: float | None,
    rows_files: tuple[Path, ...],
    questions: Path | None,
    judge: Path | None,
    write: bool,
) -> None:
    """Find how difficult a question may be for the small model, from what you want.

    Say either how many questions the large model may get, or how much of its quality is to be kept. Labelled rows tell
    the quality by answers; with questions alone it is what the judge believes, told as such.
    """
    context = click.get_current_context(silent=True)
    if (large_share is None) == (quality is None):
        raise click.UsageError("give either --large-share or --quality", context)
    if rows_files and questions:
        raise click.UsageError("--rows and --questions exclude each other", context)
    if write and profile_name:
        raise click.UsageError("--write changes a file, and --profile names none", context)
    settings, _ = load(config, profile_name)
    path = config or DEFAULT_FILE
    if write and not path.is_file():
        raise UserError(f"there is no {path} to write to; `fenzhen config > {path}` makes one")
    from router.learning.calibration import bar_for_quality, bar_for_share

    (small, candidate), (large, _) = both_ends(settings)
    in_use, judge_path = judge_of(settings, judge)
    traffic = _traffic(in_use, candidate.ability, rows_files, questions, settings)
    if large_share is not None:
        bar = bar_for_share(traffic, large_share)
    else:
        assert quality is not None
        bar = bar_for_quality(traffic, quality)
    value = bar.max_difficulty.value
    if write:
        set_max_difficulty(path, small.name, value)
    document = _document(bar, small.name, large.name) | {"judge_file": str(judge_path), "written": write}
    output = Output(as_json)
    chats = sum(card.task == "chat" for card in settings.served_models)
    output.result(document, _told(bar, small.name, large.name, chats))
    if write:
        output.say(f"{path} has it now; `fenzhen update` takes it over without a stop.")
    elif not as_json:
        output.say("`--write` puts it into fenzhen.yaml.")


def _traffic(
    judge: "Judge", ability: float, rows_files: tuple[Path, ...], questions: Path | None, settings: Settings
) -> "Traffic":
    import numpy as np

    from router.learning.calibration import Traffic
    from router.learning.evaluation import scores_of
    from router.learning.questions import MIN_QUESTIONS, read_questions

    if questions:
        asked = [one.prompt for one in read_questions(questions, at_least=MIN_QUESTIONS)]
        scores = scores_of(judge, asked, ability)
        return Traffic(scores.difficulty, scores.small, scores.large, is_labelled=False)
    sets = rows_of(rows_files, settings)
    prompts = [prompt for rows in sets for prompt in rows.prompts]
    labels = np.concatenate([rows.quality for rows in sets])
    return Traffic(scores_of(judge, prompts, ability).difficulty, labels[:, 0], labels[:, 1], is_labelled=True)


def _document(bar: "Bar", small: str, large: str) -> dict[str, Any]:
    return {
        "small": small,
        "large": large,
        **{
            name: {key: round(number, 4) for key, number in getattr(bar, name)._asdict().items()}
            for name in ("max_difficulty", "large_share", "quality")
        },
        "quality_is_measured": bar.is_labelled,
        "questions": bar.questions,
    }


def _told(bar: "Bar", small: str, large: str, models: int) -> str:
    low, high = bar.max_difficulty.low, bar.max_difficulty.high
    source = (
        f"measured on {bar.questions:,} labelled rows" if bar.is_labelled
        else f"as the judge believes of {bar.questions:,} questions that nobody has labelled"
    )  # fmt: skip
    lines = [
        f"{small}: max_difficulty: {bar.max_difficulty.value:g} ({low:.3f} to {high:.3f} with other questions of the "
        "same kind)",
        f"{_in_ten(bar.large_share)} questions go to {large} ({_percent(bar.large_share)}).",
        f"The answers are {bar.quality.value:.1%} as good as if {large} answered everything "
        f"({_percent(bar.quality, digits=1)}), {source}.",
    ]
    if models > 2:
        lines.append(f"Models between {small} and {large} keep their own max_difficulty.")
    return "\n".join(lines)


def _in_ten(share: "Interval") -> str:
    tenths = round(share.value * 10)
    if abs(share.value * 10 - tenths) < 0.25 and 0 < tenths < 10:
        return f"{tenths} of 10"
    return f"{round(share.value * 100)} of 100"


def _percent(one: "Interval", digits: int = 0) -> str:
    return f"{one.low * 100:.{digits}f}-{one.high * 100:.{digits}f} % in 95 of 100 months like this one"
