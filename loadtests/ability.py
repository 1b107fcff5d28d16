"""How much abler one model is than another: `python -m loadtests.ability --models small,large,auto`.

Asks every question of every model and marks the answers. The difference between two models on the hard questions is
what a router has to gain; the difference on the easy ones is what it has to lose.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import httpx
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cluster.errors import FenzhenError, UserError
from loadtests.counting import Outcome, Report, Tally, as_json, report
from loadtests.questions import QUESTIONS_FILE, Question, is_right, load
from loadtests.workload.instruction import messages_of

AUTO = "auto"
MODEL_HEADER = "x-fenzhen-model"
# Two at once keep an engine busy on a small machine without making its latency a measure of the queue.
CONCURRENCY = 2
CONNECT_TIMEOUT_S = 10.0


def body_of(question: Question, model: str, max_tokens: int) -> dict[str, object]:
    """The chat request that asks one question."""
    return {"model": model, "messages": messages_of(question), "temperature": 0, "max_tokens": max_tokens}


async def ask(client: httpx.AsyncClient, question: Question, model: str, max_tokens: int) -> Outcome:
    """Ask one question of one model; a failure is an outcome too."""
    begin_s = asyncio.get_running_loop().time()
    answer, answered_by, error = "", model, ""
    try:
        reply = await client.post("chat/completions", json=body_of(question, model, max_tokens))
        reply.raise_for_status()
        answer = str(reply.json()["choices"][0]["message"]["content"] or "")
        answered_by = reply.headers.get(MODEL_HEADER, model)
    except httpx.HTTPStatusError as problem:
        error = f"HTTP {problem.response.status_code}: {problem.response.text[:200]}"
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Outcome(
        question_id=question.id,
        language=question.language,
        level_of_difficulty=question.level_of_difficulty,
        model=model,
        answered_by=answered_by,
        is_right=not error and is_right(question, answer),
        latency_s=asyncio.get_running_loop().time() - begin_s,
        answer=answer,
        error=error,
    )


async def ask_all(
    client: httpx.AsyncClient,
    questions: Sequence[Question],
    models: Sequence[str],
    max_tokens: int,
    on_outcome: Callable[[Outcome], None],
) -> list[Outcome]:
    """Ask all questions of all models, one model after the other, so that they do not slow each other down."""
    outcomes: list[Outcome] = []

    async def work(jobs: list[tuple[str, Question]]) -> None:
        while jobs:
            model, question = jobs.pop(0)
            outcome = await ask(client, question, model, max_tokens)
            outcomes.append(outcome)
            on_outcome(outcome)

    for model in models:
        jobs = [(model, question) for question in questions]
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(work(jobs))
    return outcomes


def table_of(reports: Sequence[Report]) -> Group:
    """The reports as a table for people, and under it who answered in place of a model that was asked for."""
    table = Table(title="Right answers, with 95 % intervals", box=None, pad_edge=False)
    levels = sorted({level for one in reports for level in one.by_level})
    languages = sorted({language for one in reports for language in one.by_language})
    for column in ("model", "all", *levels, *languages, "mean latency"):
        table.add_column(column, no_wrap=True)
    for one in reports:
        cells = [one.by_level.get(level) for level in levels] + [one.by_language.get(name) for name in languages]
        latency = f"{one.mean_latency_s:.2f} s" + (f"\n{one.errors} errors" if one.errors else "")
        table.add_row(one.model, _cell(one.overall), *(_cell(cell) if cell else "-" for cell in cells), latency)
    return Group(table, *(Text(line) for one in reports if (line := _who(one))))


def _who(one: Report) -> str:
    if set(one.answered_by) <= {one.model}:
        return ""
    who = ", ".join(f"{name} {count}" for name, count in one.answered_by.items())
    share = "" if one.large_share_ratio is None else f" ({one.large_share_ratio:.0%} large)"
    return f"{one.model} was answered by {who}{share}"


def _cell(one: Tally) -> str:
    return f"{one.right}/{one.asked}\n{one.low_ratio:.0%}-{one.high_ratio:.0%}"


def limited(questions: Sequence[Question], limit: int | None) -> tuple[Question, ...]:
    """At most `limit` questions, taken in turn from each language and level, so that few are still balanced."""
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        cells.setdefault((question.language, question.level_of_difficulty), []).append(question)
    in_turn = [question for row in itertools.zip_longest(*cells.values()) for question in row if question is not None]
    chosen = {question.id for question in in_turn[:limit]}
    return tuple(question for question in questions if question.id in chosen)


def models_of(text: str) -> tuple[str, ...]:
    """Split `--models`. Raises UserError."""
    models = tuple(name.strip() for name in text.split(",") if name.strip())
    if not models or len(set(models)) < len(models):
        raise UserError(f"--models needs different names separated by commas, got {text!r}")
    return models


async def _run(
    base_url: str,
    questions: Sequence[Question],
    models: Sequence[str],
    max_tokens: int,
    timeout_s: float,
    console: Console,
) -> list[Outcome]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
    async with httpx.AsyncClient(base_url=base_url.rstrip("/") + "/", timeout=timeout) as client:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("asking", total=len(questions) * len(models))
            return await ask_all(
                client,
                questions,
                models,
                max_tokens,
                lambda outcome: progress.update(bar, advance=1, description=outcome.model),
            )


@click.command()
@click.option("--base-url", default="http://127.0.0.1:8000/v1", show_default=True, help="The router or an engine.")
@click.option("--models", "models_text", required=True, help="Small first, large second, then auto: a,b,auto.")
@click.option("--large", help="The large model's name, for auto's share; the second of --models unless given.")
@click.option("--questions", "path", type=click.Path(path_type=Path), default=QUESTIONS_FILE, help="Another file.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write reports and all answers there.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many questions, in balance.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=200, show_default=True, help="Of one answer.")
@click.option("--timeout-s", type=float, default=300.0, show_default=True, help="Of one answer, seconds.")
def main(
    base_url: str,
    models_text: str,
    large: str | None,
    path: Path,
    json_path: Path | None,
    limit: int | None,
    max_tokens: int,
    timeout_s: float,
) -> None:
    """Ask every question of every model and mark the answers."""
    console = Console()
    try:
        models = models_of(models_text)
        questions = limited(load(path), limit)
    except FenzhenError as error:
        raise click.ClickException(str(error)) from error
    outcomes = asyncio.run(_run(base_url, questions, models, max_tokens, timeout_s, console))
    named = [model for model in models if model != AUTO]
    large = large or (named[1] if len(named) > 1 else None)
    reports = [report(model, outcomes, large if model == AUTO else None) for model in models]
    console.print(table_of(reports))
    if json_path is not None:
        json_path.write_text(json.dumps(as_json(reports, outcomes), ensure_ascii=False, indent=1), encoding="utf-8")
    if all(outcome.error for outcome in outcomes):
        raise click.ClickException(f"no question was answered; the first error: {outcomes[0].error}")


if __name__ == "__main__":
    main()
