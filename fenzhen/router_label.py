"""`fenzhen router label`: questions in, rows to train a judge on out."""

import asyncio
from pathlib import Path

import click
import httpx

from cluster.errors import NotFound, UserError
from cluster.settings import Settings
from cluster.stack_state import router_url
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import Reporter, reporter
from router.learning.labelled_rows import json_lines
from router.learning.labelling import By, Labeller, Plan, Tally, check_references
from router.learning.questions import Question, read_questions
from router.learning.rows_file import RowsFile

_CONNECT_TIMEOUT_S = 3.0
_SUFFIX = ".rows.jsonl"
# As `fenzhen.errors` has it: worth trying again.
_NOT_AVAILABLE = 3


@click.command()
@config_options
@json_option
@click.argument("questions", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=f"Where the rows go; what is there is kept and not asked again. [default: QUESTIONS{_SUFFIX}]",
)
@click.option(
    "--by",
    type=click.Choice(["reference", "agreement", "judge"]),
    help="How answers are judged. [default: reference if each question has one, else agreement]",
)
@click.option("--judge-model", metavar="NAME", help="With --by judge: who judges. [default: judging.judge_model]")
@click.option("--small", metavar="NAME", help="The model to save with. [default: the cheapest that chats]")
@click.option("--large", metavar="NAME", help="The model to measure it by. [default: the dearest that chats]")
@click.option("--at-once", default=4, show_default=True, type=click.IntRange(1, 256), help="Questions at one time.")
@click.option("--max-tokens", default=1024, show_default=True, type=click.IntRange(min=1), help="Longest answer.")
@click.option("--timeout-s", default=300.0, show_default=True, type=click.FloatRange(min=0.1), help="For one answer.")
def label(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    questions: Path,
    out: Path | None,
    by: By | None,
    judge_model: str | None,
    small: str | None,
    large: str | None,
    at_once: int,
    max_tokens: int,
    timeout_s: float,
) -> int:
    """Ask two models of the running stack each of QUESTIONS, judge their answers, and write rows for `router train`.

    QUESTIONS is a text file with a question a line, or JSON lines with a prompt each, and a reference and a kind where
    these are known. Personal data is masked in the rows. It may be stopped at any time: the next run goes on.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    asked = read_questions(questions)
    plan = _plan(settings, asked, by, judge_model, small, large)._replace(at_once=at_once, max_tokens=max_tokens)
    path = out or questions.with_name(questions.name.removesuffix(".gz").removesuffix(".jsonl") + _SUFFIX)
    output.say(f"{plan.small} and {plan.large} are asked, judged by {_told(plan)}; the rows go to {path}.")
    with RowsFile(path) as file, reporter(output.progress, "questions") as progress:
        # After opening it: that cuts off half a line, which could not be read.
        known = [str(row.get("prompt")) for _, row in json_lines(path)] if path.stat().st_size else []
        progress.stage("labelling", len(asked))
        tally = asyncio.run(_label(router_url(settings), plan, file, progress, asked, known, timeout_s))
    document = {"rows": str(path), "by": plan.by, **_counts(tally)}
    output.result(document, _view(tally, path, plan))
    return _NOT_AVAILABLE if tally.failed else 0


async def _label(
    base_url: str,
    plan: Plan,
    file: RowsFile,
    progress: Reporter,
    questions: list[Question],
    known: list[str],
    timeout_s: float,
) -> Tally:
    timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
    async with httpx.AsyncClient(base_url=base_url, timeout=timeout, trust_env=False) as client:
        labeller = Labeller(client, plan, file, progress.advance)
        await labeller.label(questions, known)
    return labeller.tally


def _plan(
    settings: Settings,
    questions: list[Question],
    by: By | None,
    judge_model: str | None,
    small: str | None,
    large: str | None,
) -> Plan:
    chats = [card.name for card in settings.served_models if card.task == "chat"]
    for name in (small, large, judge_model):
        if name is not None and name not in chats:
            raise NotFound(f"there is no chat model {name!r}; there are {', '.join(chats)}")
    small, large = small or chats[0], large or chats[-1]
    if small == large:
        raise UserError(f"two models are needed to compare, and {small} would be both; serve another, or name two")
    if by is None:
        by = "reference" if all((one.reference or "").strip() for one in questions) else "agreement"
    if by == "reference":
        check_references(questions)
    judge_model = judge_model or settings.judging.judge_model
    if by == "judge" and judge_model is None:
        raise UserError("--by judge needs to know who judges: give --judge-model, or set judging.judge_model")
    return Plan(small, large, by, judge_model)


def _told(plan: Plan) -> str:
    match plan.by:
        case "reference":
            return "the references"
        case "agreement":
            return f"agreement with {plan.large}"
    return str(plan.judge_model)


def _counts(tally: Tally) -> dict[str, object]:
    return {
        "labelled": tally.labelled,
        "known": tally.known,
        "refused": tally.refused,
        "cut_off": tally.cut_off,
        "unjudged": tally.unjudged,
        "failed": tally.failed,
        "small_mean": _mean(tally.small),
        "large_mean": _mean(tally.large),
    }


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _view(tally: Tally, path: Path, plan: Plan) -> str:
    lines = [f"{tally.labelled} rows added to {path}, {tally.known} were there already or stand twice."]
    if tally.labelled:
        small, large = _mean(tally.small), _mean(tally.large)
        lines.append(f"On the new ones {plan.small} reaches {small:.3f} and {plan.large} {large:.3f}, of 1.")
    if tally.cut_off:
        more = "judged as they are" if plan.by == "reference" else "left out"
        lines.append(f"{tally.cut_off} with an answer that was cut off, {more}; --max-tokens allows longer ones.")
    if tally.refused:
        lines.append(f"{tally.refused} refused, the last one because: {tally.why_refused}")
    if tally.unjudged:
        lines.append(f"{tally.unjudged} left out: {plan.judge_model} did not answer with A, B or C.")
    if tally.failed:
        lines.append(f"{tally.failed} without an answer; run it again to ask these once more.")
    return "\n".join(lines)
