"""The model card: what a version is, what it was made from and how good it is, for those who come after.

No texts of rows and no folders of this machine stand in it, and nothing that changes when it is made again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cluster.masking import masked
from registry.versions import Gate
from training.evaluation import Evaluation, Figure
from training.recipe import Recipe

_MOST_GROUPS: Final = 50
_MOST_CHARACTERS: Final = 60
_FEW_ROWS: Final = 100
"""Below so many rows an interval of a share is wider than 0.1 to either side."""


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The weights below it."""

    name: str
    sha256: str
    licence: str
    origin: str = ""
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class CardFacts:
    """All that a card says."""

    form: str
    """What the files are: `LoRA adapter`, `merged weights`, `merged weights in nf4`."""
    base: BaseFacts
    recipe: Recipe
    recipe_text: str
    """As it is kept beside the card: without folders."""
    run: str
    languages: tuple[str, ...]
    data_sha256: Mapping[str, str]
    rows: Mapping[str, int]
    left_out: Mapping[str, int]
    before: Evaluation
    after: Evaluation
    gates: tuple[Gate, ...]
    trained: Mapping[str, str]
    """How the training went, in words: `steps`, `tokens`, `final loss`."""
    environment: Mapping[str, str]

    @property
    def data(self) -> str:
        """The names of the files of rows."""
        return ", ".join(path.name for path in (*self.recipe.data.rows, *self.recipe.data.remember_rows))


def model_card(facts: CardFacts) -> str:
    """The card as Markdown, with the head that model hubs read."""
    recipe = facts.recipe
    is_adapter = facts.form == "LoRA adapter"
    head = {
        "base_model": facts.base.name,
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
    }
    parts = [
        "---",
        *(f"{key}: {value}" for key, value in head.items()),
        f"language: [{', '.join(facts.languages)}]",
        "---",
        "",
        f"# {recipe.name}",
        "",
        f"{facts.form[0].upper()}{facts.form[1:]} of {facts.base.name}, "
        + ("taught from examples" if recipe.objective == "sft" else "taught from preferences (DPO)")
        + f" by the run `{facts.run}`.",
        "",
        "## Base",
        "",
        *_list(_base(facts)),
        "",
        "## Rows",
        "",
        *_table(("part", "rows", "sha256"), _rows(facts)),
        "",
        f"From {facts.data}. Licence of the rows: {facts.recipe.data.licence}.",
        "",
        *_list(f"left out, {reason}: {count:,}" for reason, count in facts.left_out.items() if count),
        "" if any(facts.left_out.values()) else "No row was left out.",
        "",
        "## Results",
        "",
        *_results(facts),
        "",
        *_groups(facts),
        "## Gates",
        "",
        *_gates(facts.gates),
        "",
        "## Limits",
        "",
        *_list(_limits(facts)),
        "",
        "## Made again",
        "",
        "With the rows and the base named above, whose digests must be the same:",
        "",
        "    fenzhen train run recipe.yaml",
        "",
        *_list([f"{name}: {value}" for name, value in (*facts.trained.items(), *facts.environment.items())]),
        "",
        "```yaml",
        facts.recipe_text.rstrip(),
        "```",
    ]
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _base(facts: CardFacts) -> Iterable[str]:
    yield f"{facts.base.name}, sha256 {facts.base.sha256}"
    if facts.base.origin:
        yield facts.base.origin
    if facts.base.parameters:
        yield f"{facts.base.parameters:,} parameters"
    yield f"licence: {facts.base.licence}"
    if facts.recipe.quantise_base != "none":
        yield f"in {facts.recipe.quantise_base} while it was trained on"


def _rows(facts: CardFacts) -> Iterable[Sequence[str]]:
    said = {"train": "learnt from", "test": "held out", "general": "everyday questions"}
    for part, count in facts.rows.items():
        yield said.get(part, part), f"{count:,}", facts.data_sha256.get(part, "-")


def _results(facts: CardFacts) -> Iterable[str]:
    ratio = facts.recipe.evaluation.confidence_ratio
    yield f"On held-out rows, with intervals of {ratio:.0%} (bootstrap over rows):"
    yield ""
    before, after = facts.before.figures, facts.after.figures
    first = facts.recipe.evaluation.metric
    names = sorted(after, key=lambda name: (name != first, list(after).index(name)))
    lines = [(name, _figure(before.get(name)), _figure(after[name]), f"{after[name].rows:,}") for name in names]
    yield from _table(("metric", "before", "after", "rows"), lines)


def _groups(facts: CardFacts) -> Iterable[str]:
    metric = facts.recipe.evaluation.metric
    before, after = facts.before.groups, facts.after.groups
    measured = [group for group in sorted(after) if group and metric in after[group]]
    if not measured:
        return
    yield f"By group, {metric}:"
    yield ""
    lines = [
        (
            _cell(masked(group)),
            _figure(before.get(group, {}).get(metric)),
            _figure(after[group][metric]),
            f"{after[group][metric].rows:,}",
        )
        for group in measured[:_MOST_GROUPS]
    ]
    yield from _table(("group", "before", "after", "rows"), lines)
    if len(measured) > _MOST_GROUPS:
        yield ""
        yield f"And {len(measured) - _MOST_GROUPS} groups more."
    yield ""


def _gates(gates: tuple[Gate, ...]) -> Iterable[str]:
    if not gates:
        return ["None was asked for."]
    return _table(
        ("metric", "required", "is", "passed"),
        [
            (gate.metric, gate.required, "-" if gate.value is None else f"{gate.value:.4g}", _yes(gate.is_passed))
            for gate in gates
        ],
    )


def _limits(facts: CardFacts) -> Iterable[str]:
    """What the figures do not show, or show against it."""
    yield "Measured on held-out rows of the same making as those learnt from; other questions may be answered worse."
    metric = facts.recipe.evaluation.metric
    was, now = facts.before.figures.get(metric), facts.after.figures.get(metric)
    if now is not None and now.rows < _FEW_ROWS:
        yield f"Only {now.rows} held-out rows were answered: the intervals are wide."
    if was is not None and now is not None and was.ci_low <= now.ci_high and now.ci_low <= was.ci_high:
        yield f"The intervals of {metric} before and after overlap."
    lost = [each.figures.get("general_loss") for each in (facts.before, facts.after)]
    if lost[0] is None or lost[1] is None:
        yield "What it has forgotten of everyday questions was not measured."
    elif lost[1].value > lost[0].value:
        rise = lost[1].value - lost[0].value
        yield f"On everyday questions its loss is {rise:.3g} nats a token higher than before."
    if failed := [gate.metric for gate in facts.gates if not gate.is_passed]:
        yield f"Gates that are not passed: {', '.join(failed)}."
    if facts.recipe.data.personal_data == "allow":
        yield "Personal data in the rows was allowed: the weights may repeat it."
    yield "Whether its answers are safe or fair was not measured beyond the groups above."


def _figure(figure: Figure | None) -> str:
    if figure is None or not math.isfinite(figure.value):
        return "-"
    return f"{figure.value:.4g} ({figure.ci_low:.4g} to {figure.ci_high:.4g})"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "/").replace("`", "'").replace("<", "(")
    return plain if len(plain) <= _MOST_CHARACTERS else f"{plain[: _MOST_CHARACTERS - 1]}…"


def _list(items: Iterable[str]) -> Iterable[str]:
    return [f"- {item}" for item in items]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]
