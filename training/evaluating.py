"""Measures a base, or an adapter on it, on rows that it was not taught.

held-out rows -> loss of their answers, row by row ─┐
              -> answers, greedily -> metrics ──────┤-> figures with intervals, for all rows and each group
everyday rows -> loss, a few answers ───────────────┤
pairs (DPO)   -> which answer is likelier ──────────┘
"""

import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from training.answer_tokens import AnswerTokens, pair_of, tokens_of
from training.base_model import Quantise, adapted, load_base, load_tokenizer
from training.evaluation import Evaluation, Sample
from training.evaluation_figures import figures_of
from training.evaluation_losses import RowLoss, losses_of
from training.evaluation_rows import GENERAL_ANSWERS, answered_places, general_places, require_measurable
from training.generation import Said, answers_to
from training.prepared import Prepared
from training.recipe import EvaluationRecipe, Recipe
from training.watch import Watch

# Seldom enough to read in a log.
_TELL_EVERY_S: Final = 15.0


def evaluate(
    recipe: Recipe,
    prepared: Prepared,
    base: Path,
    adapter: Path | None,
    watch: Watch,
    *,
    quantise: str | None = None,
) -> Evaluation:
    """Measure the base, or an adapter on it. `quantise` loads the base in fewer bits. Raises UserError."""
    require_measurable(recipe, prepared)
    # Imported late: it loads torch.
    from training.answer_loss import teach_answer_logps

    tokenizer = load_tokenizer(base)
    model = load_base(base, recipe.train.dtype, cast(Quantise, quantise or "none"))
    teach_answer_logps(model)
    if adapter is not None:
        model = adapted(model, adapter)
    try:
        return _measured(recipe, prepared, model.eval(), tokenizer, watch)
    finally:
        # Training comes next, with a copy of its own: a model knows itself in a circle, and would stay beside it.
        del model
        _free()


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measured(recipe: Recipe, prepared: Prepared, model: Any, tokenizer: Any, watch: Watch) -> Evaluation:
    wanted = recipe.evaluation
    places, general = answered_places(recipe, prepared), general_places(recipe, prepared)
    samples: dict[str, Sample] = {}

    def losses(title: str, rows: Sequence[AnswerTokens]) -> list[RowLoss]:
        tell = _Teller(watch, title, len(rows))
        return losses_of(model, tokenizer.pad_token_id, rows, batch_size=wanted.batch_size, say_done=tell)

    test = losses("loss on held-out rows", [tokens_of(row, tokenizer) for row in prepared.test])
    samples["loss"] = _loss_sample(range(len(test)), test)
    said = _answers(model, tokenizer, wanted, prepared, places, general, watch)
    if general:
        rows = [tokens_of(prepared.general[place], tokenizer) for place in general]
        samples["general_loss"] = _loss_sample(general, losses("loss on everyday rows", rows))
    if prepared.test_preferences:
        pairs = [side for pair in prepared.test_preferences for side in pair_of(pair, tokenizer)]
        samples["preference_accuracy"] = _preferred(losses("loss of pairs", pairs))
    return figures_of(recipe, prepared, samples, places, said, general)


def _answers(
    model: Any,
    tokenizer: Any,
    wanted: EvaluationRecipe,
    prepared: Prepared,
    places: Sequence[int],
    general: Sequence[int],
    watch: Watch,
) -> list[Said]:
    """Answers to held-out rows and behind them to a few everyday questions: together they fill batches better."""
    prompts = [prepared.test[place].prompt for place in places]
    prompts += [prepared.general[place].prompt for place in general[:GENERAL_ANSWERS]]
    return answers_to(
        model,
        tokenizer,
        prompts,
        batch_size=wanted.batch_size,
        max_new_tokens=wanted.max_new_tokens,
        say_done=_Teller(watch, "answers", len(prompts)),
    )


def _preferred(losses: Sequence[RowLoss]) -> Sample:
    """Of each pair, whether the better answer's mean log-probability is the higher one."""
    won = [float(chosen.mean < rejected.mean) for chosen, rejected in zip(losses[::2], losses[1::2], strict=True)]
    return Sample(tuple(range(len(won))), tuple(won), (1.0,) * len(won))


def _loss_sample(places: Sequence[int], losses: Sequence[RowLoss]) -> Sample:
    means, tokens = tuple(each.mean for each in losses), tuple(float(each.tokens) for each in losses)
    return Sample(tuple(places), means, tokens)


class _Teller:
    """Says now and then how far a long part is."""

    def __init__(self, watch: Watch, title: str, total: int) -> None:
        self._watch = watch
        self._title = title
        self._total = total
        self._said_s = time.monotonic()

    def __call__(self, done: int) -> None:
        now_s = time.monotonic()
        if done < self._total and now_s - self._said_s >= _TELL_EVERY_S:
            self._said_s = now_s
            self._watch.note(f"{self._title}: {done} of {self._total}")
