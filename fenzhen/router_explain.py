"""`fenzhen router explain`: what the judge in use thinks of one question, without a running stack."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cluster.errors import UserError
from fenzhen.judges import chat_models, judge_of
from fenzhen.options import config_options, json_option, judge_option, load
from fenzhen.output import Output
from router.languages import languages_of
from router.need import USUAL_ANSWER_TOKENS, tokens_in
from router.policy import Need, choose
from router.query import query_of


@click.command()
@config_options
@json_option
@click.argument("question")
@judge_option
def explain(config: Path | None, profile_name: str | None, as_json: bool, question: str, judge: Path | None) -> None:
    """Say what the judge thinks of QUESTION (`-`: read it from standard input), and which model would answer.

    Nothing needs to run. What weighs is told in log-odds: +0.7 doubles the odds that a small model answers well.
    """
    settings, _ = load(config, profile_name)
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise UserError("the question is empty")
    in_use, path = judge_of(settings, judge)
    query = query_of(text)
    estimate = in_use.estimate(query)
    need = Need(
        estimate.difficulty, estimate.reason, languages_of(text), tools=False,
        tokens=tokens_in(text) + USUAL_ANSWER_TOKENS, chances=estimate.chances, scale=estimate.scale,
    )  # fmt: skip
    models = chat_models(settings)
    choice = choose(need, [candidate for _, candidate in models], lambda name: True)
    document: dict[str, Any] = {
        "model": choice.model,
        "because": choice.reason,
        "difficulty": round(estimate.difficulty, 4),
        "kind": estimate.task,
        "small_chance": round(estimate.chance(0), 4),
        "large_chance": round(estimate.chance(1), 4),
        "models": [
            {
                "name": candidate.name,
                "ability": candidate.ability,
                "chance": round(estimate.chance(candidate.ability), 4),
                "difficulty": round(estimate.difficulty_for(candidate.ability), 4),
                "max_difficulty": candidate.max_difficulty,
            }
            for _, candidate in models
        ],
        "reasons": [{"what": reason.what, "log_odds": round(reason.log_odds, 3)} for reason in in_use.reasons(query)],
        "judge": in_use.card.name,
        "judge_file": str(path),
    }
    Output(as_json).result(document, _view(document))


def _view(document: dict[str, Any]) -> Group:
    models = Table(box=None, pad_edge=False)
    for title in ("model", "answers well", "difficulty for it", "trusted below"):
        models.add_column(title)
    for one in document["models"]:
        bar = one["max_difficulty"]
        trusted = "all" if bar == 1 else f"{bar:g}"
        models.add_row(one["name"], f"{one['chance']:.0%}", f"{one['difficulty']:.3f}", trusted)
    reasons = Table(box=None, pad_edge=False, show_header=False)
    for reason in document["reasons"]:
        side = "for a small model" if reason["log_odds"] > 0 else "against it"
        reasons.add_row(f"  {reason['log_odds']:+.2f}", side, reason["what"])
    return Group(
        Text(
            f"{document['model']} would answer: {document['because']}\n"
            f"difficulty {document['difficulty']:.3f} (0 easy, 1 hard), kind: {document['kind']}\n"
            f"a small model answers well in {document['small_chance']:.0%} of such cases, "
            f"a large one in {document['large_chance']:.0%}\n"
        ),
        models,
        Text("\nwhat weighed most:"),
        reasons,
        Text(f"\njudge: {document['judge']} ({document['judge_file']})"),
    )
