"""Figures worked out from what was said and how surprised the model was: no model is needed here."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from training.evaluation import FIELD, Evaluation, Figure, Sample, figure_of
from training.evaluation_groups import group_samples
from training.evaluation_rows import GENERAL_ANSWERS
from training.generation import Said
from training.metrics import exact_match, json_object, rouge_l, same_json, token_f1
from training.prepared import Prepared
from training.recipe import EvaluationRecipe, Recipe
from training.rows import Row


def figures_of(
    recipe: Recipe,
    prepared: Prepared,
    measured: Mapping[str, Sample],
    places: tuple[int, ...],
    said: Sequence[Said],
    general: tuple[int, ...],
) -> Evaluation:
    """All figures with their intervals.

    `measured` is what the model itself gave: losses, pairs. `said` answers the held-out rows at `places`, and behind
    them the first of the everyday questions `general`.
    """
    wanted = recipe.evaluation
    rows = [prepared.test[place] for place in places]
    samples = {**measured, **dict(_answer_samples(wanted, rows, places, said[: len(places)]))}
    # The one that counts most is read first.
    samples = dict(sorted(samples.items(), key=lambda named: named[0] != wanted.metric))
    return Evaluation(
        figures={name: figure_of(sample, wanted.confidence_ratio) for name, sample in samples.items()},
        groups=_groups(prepared, samples, wanted.confidence_ratio),
        answers=tuple(each.text for each in said[: len(places)]),
        general_answers=tuple(each.text for each in said[len(places) :]),
        answered=places,
        general_answered=general[:GENERAL_ANSWERS],
        samples=samples,
        confidence_ratio=wanted.confidence_ratio,
    )


def _answer_samples(
    wanted: EvaluationRecipe, rows: Sequence[Row], places: Sequence[int], said: Sequence[Said]
) -> Iterator[tuple[str, Sample]]:
    """Each metric of the answers."""
    pairs = [(each.text, row.answer) for each, row in zip(said, rows, strict=True)]
    values: dict[str, list[float]] = {
        "exact_match": [exact_match(*pair) for pair in pairs],
        "f1": [token_f1(*pair) for pair in pairs],
        "rouge_l": [rouge_l(*pair) for pair in pairs],
        "truncated_ratio": [float(not each.is_whole) for each in said],
    }
    if wanted.format == "json":
        values.update(_json_values(pairs, wanted.json_keys))
    for name, found in values.items():
        yield name, Sample(tuple(places), tuple(found), (1.0,) * len(found))


def _json_values(pairs: Sequence[tuple[str, str]], keys: Sequence[str]) -> Mapping[str, list[float]]:
    """The metrics of JSON answers: exact match compares what they say, not how they spell it."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for answer, reference in pairs:
        said, expected = json_object(answer), json_object(reference)
        assert expected is not None
        values["exact_match"].append(float(said is not None and same_json(said, expected)))
        values["format_valid_ratio"].append(float(said is not None and all(key in said for key in keys)))
        right = {
            key: float(said is not None and key in said and same_json(said[key], expected[key]))
            for key in keys or expected
        }
        values["field_accuracy"].append(sum(right.values()) / len(right) if right else 1.0)
        for key in keys:
            values[FIELD + key].append(right[key])
    return values


def _groups(prepared: Prepared, samples: Mapping[str, Sample], confidence_ratio: float) -> dict[str, dict[str, Figure]]:
    """Each metric for each group that has rows which were measured by it; everyday questions have no groups."""
    groups: defaultdict[str, dict[str, Figure]] = defaultdict(dict)
    for name, sample in samples.items():
        if name == "general_loss":
            continue
        for group, part in group_samples(prepared, name, sample).items():
            groups[group][name] = figure_of(part, confidence_ratio)
    return dict(sorted(groups.items()))
