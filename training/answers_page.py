"""The page that shows what a run has changed: figures, gates, groups, and answers side by side. For people who decide.

One file that asks nothing of any other: it can be mailed. What models said is not trusted: it is escaped by jinja2, and
the page forbids itself every script.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from registry.disk import write_durably
from registry.versions import Gate
from training.evaluation import FIELD, LOWER_IS_BETTER, Evaluation, Figure, gain_of
from training.evaluation_groups import FEWEST_ROWS, group_findings
from training.metrics import token_spans
from training.prepared import Prepared
from training.recipe import Recipe
from training.rows import Row

Change = Literal["worse", "better", "reworded", "same"]

_TEMPLATE: Final = Path(__file__).with_name("answers_page.html")
_MOST_ROWS: Final = 500
"""More make a page that browsers take seconds for."""
# Comparing is quadratic at worst.
_MOST_MARKED_CHARS: Final = 4000
_ORDER: Final[Mapping[Change, int]] = {"worse": 0, "better": 1, "reworded": 2, "same": 3}
# So many are shown, however small they are.
_FEW_GROUPS: Final = 12
# A smaller difference of a row's score is a matter of wording.
_LEAST_CHANGE: Final = 0.02
_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "exact_match": ("完全一致", "回答与参考答案相同（不计全半角、大小写、空格）"),
    "f1": ("词语重合 F1", "与参考答案共有的字词"),
    "rouge_l": ("语序重合 Rouge-L", "与参考答案顺序一致的字词"),
    "format_valid_ratio": ("格式合规", "回答是带有所需字段的 JSON"),
    "field_accuracy": ("字段准确", "JSON 字段填写正确的比例"),
    "truncated_ratio": ("超长截断", "达到长度上限仍未说完；越低越好"),
    "loss": ("测试集损失", "模型对参考答案的意外程度；越低越好"),
    "general_loss": ("通用能力损失", "日常问题上的损失，上升即遗忘；越低越好"),
    "preference_accuracy": ("偏好判断", "更倾向于较好回答的比例"),
    "judge_win_ratio": ("评审胜率", "评审模型认为训练后更好；0.5 为持平"),
}


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric of the table, or one group by it."""

    name: str
    title: str
    hint: str
    before: Figure | None
    after: Figure
    gain: Figure | None
    is_main: bool
    trend: Literal["better", "worse", "unsure", "none"]
    """Sure only where the gain's interval leaves out 0."""
    most: float
    """What the bar's right end stands for."""


@dataclass(frozen=True, slots=True)
class AnswerCard:
    """One row, answered twice."""

    row: Row
    before: tuple[tuple[str, bool], ...]
    """Pieces of the answer, and whether the reference says the same."""
    after: tuple[tuple[str, bool], ...]
    before_matches: bool
    after_matches: bool
    score_before: float
    score_after: float
    change: Change


def write_page(
    path: Path, recipe: Recipe, prepared: Prepared, before: Evaluation, after: Evaluation, gates: Sequence[Gate]
) -> None:
    """Write the page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, page_of(recipe, prepared, before, after, gates))


def page_of(recipe: Recipe, prepared: Prepared, before: Evaluation, after: Evaluation, gates: Sequence[Gate]) -> str:
    """The page's HTML."""
    import jinja2

    metric = recipe.evaluation.metric
    scored = "field_accuracy" if recipe.evaluation.format == "json" else "f1"
    cards = answer_cards(scored, prepared, before, after)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        recipe=recipe,
        metric_title=_title(metric)[0],
        score_title=_title(scored)[0],
        lines=metric_lines(metric, before, after),
        groups=_group_lines(metric, before, after),
        findings=group_findings(before, after, metric),
        gates=gates,
        is_good=all(gate.is_passed for gate in gates),
        cards=cards[:_MOST_ROWS],
        left_out=max(0, len(cards) - _MOST_ROWS),
        counts={change: sum(card.change == change for card in cards) for change in _ORDER},
        general=_general(prepared, before, after),
        test_rows=len(prepared.test),
        train_rows=len(prepared.train) or len(prepared.preferences),
        confidence=f"{after.confidence_ratio:.0%}",
    )


def metric_lines(metric: str, before: Evaluation, after: Evaluation) -> list[MetricLine]:
    """The table, the metric that counts most first."""
    names = sorted(after.figures, key=lambda name: (name != metric, name.startswith(FIELD)))
    return [
        _line(name, *_title(name), before.figures.get(name), after.figures[name], gain_of(name, before, after), metric)
        for name in names
    ]


def _group_lines(metric: str, before: Evaluation, after: Evaluation) -> list[MetricLine]:
    """One line a group, the weakest first; of many groups those with rows enough to say something."""
    lines = []
    fewest = FEWEST_ROWS if len(after.groups) > _FEW_GROUPS else 1
    for group, figures in after.groups.items():
        if (figure := figures.get(metric)) and figure.rows >= fewest:
            earlier = before.groups.get(group, {}).get(metric)
            lines.append(_line(metric, group, "", earlier, figure, None, ""))
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return sorted(lines, key=lambda line: sign * line.after.value)


def _line(
    name: str, title: str, hint: str, before: Figure | None, after: Figure, gain: Figure | None, main: str
) -> MetricLine:
    trend: Literal["better", "worse", "unsure", "none"] = "none"
    if gain is not None:
        sign = -1 if name in LOWER_IS_BETTER else 1
        ends = sorted((sign * gain.ci_low, sign * gain.ci_high))
        trend = "better" if ends[0] > 0 else "worse" if ends[1] < 0 else "unsure"
    most = 1.0
    if name.endswith("loss"):
        most = max(figure.ci_high for figure in (before, after) if figure) or 1.0
    return MetricLine(name, title, hint, before, after, gain, name == main, trend, most)


def _title(name: str) -> tuple[str, str]:
    if name.startswith(FIELD):
        return f"字段 {name.removeprefix(FIELD)}", "这一字段填写正确的比例"
    return _NAMES.get(name, (name, ""))


def answer_cards(scored: str, prepared: Prepared, before: Evaluation, after: Evaluation) -> list[AnswerCard]:
    """The rows answered both times: those that became worse first, then the better ones, then the others.

    `scored` is the metric that says so: one that moves with every word, for between two wrong answers one may be near.
    """
    said_before = _said(before)
    cards = []
    for place, said in _said(after).items():
        if place in said_before:
            row, earlier = prepared.test[place], said_before[place]
            scores = _value(before, scored, place), _value(after, scored, place)
            cards.append(
                AnswerCard(
                    row=row,
                    before=marked(earlier, row.answer),
                    after=marked(said, row.answer),
                    before_matches=_value(before, "exact_match", place) == 1,
                    after_matches=_value(after, "exact_match", place) == 1,
                    score_before=scores[0],
                    score_after=scores[1],
                    change=_change(*scores, is_same=earlier == said),
                )
            )
    return sorted(cards, key=lambda card: (_ORDER[card.change], card.score_after))


def marked(answer: str, reference: str) -> tuple[tuple[str, bool], ...]:
    """The answer in pieces, each with whether the reference has its words at this place."""
    if len(answer) + len(reference) > _MOST_MARKED_CHARS:
        return ((answer, True),)
    spans, wanted = token_spans(answer), [token for token, _, _ in token_spans(reference)]
    matcher = difflib.SequenceMatcher(None, [token for token, _, _ in spans], wanted, autojunk=False)
    common = {block.a + number for block in matcher.get_matching_blocks() for number in range(block.size)}
    pieces: list[tuple[str, bool]] = []
    place = 0
    for number, (_, _, end) in enumerate(spans):
        # What stands before a word goes with it, and with the last word what is left.
        end = len(answer) if number == len(spans) - 1 else end
        text, is_common = answer[place:end], number in common
        if pieces and pieces[-1][1] == is_common:
            pieces[-1] = (pieces[-1][0] + text, is_common)
        else:
            pieces.append((text, is_common))
        place = end
    return tuple(pieces) or (((answer, False),) if answer else ())


def _said(evaluation: Evaluation) -> dict[int, str]:
    places = evaluation.answered or range(len(evaluation.answers))
    return dict(zip(places, evaluation.answers, strict=True))


def _value(evaluation: Evaluation, name: str, place: int) -> float:
    sample = evaluation.samples.get(name)
    if sample is None or place not in sample.rows:
        return 0.0
    return sample.values[sample.rows.index(place)]


def _change(before: float, after: float, is_same: bool) -> Change:
    if abs(after - before) >= _LEAST_CHANGE:
        return "better" if after > before else "worse"
    return "same" if is_same else "reworded"


def _general(prepared: Prepared, before: Evaluation, after: Evaluation) -> list[tuple[Row, str, str]]:
    earlier = dict(zip(before.general_answered, before.general_answers, strict=False))
    pairs = zip(after.general_answered, after.general_answers, strict=False)
    return [(prepared.general[place], earlier[place], said) for place, said in pairs if place in earlier]
