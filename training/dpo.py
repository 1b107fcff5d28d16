"""Direct preference optimisation: of two answers the better is made likelier than the worse. TRL's trainer, our loss.

Rafailov, Sharma, Mitchell, Ermon, Manning and Finn: Direct Preference Optimization: Your Language Model is Secretly a
Reward Model (2023), equation 7. The reference is the base itself: the same model with the adapter off.

Imported by `training.fitting` when a run begins.
"""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import DPOTrainer

from training.answer_tokens import AnswerTokens
from training.batches import IGNORED, padded
from training.loop import Loop
from training.sft import labels_of


class Dpo(Loop, DPOTrainer):  # type: ignore[misc]
    """Loss: mean over the pairs of a step, nats."""

    length_column = "chosen_ids"

    def weight_of(self, batch: Any) -> int:
        """Pairs of a micro batch."""
        return len(batch["input_ids"]) // 2

    def loss_and_weight(self, model: Any, batch: Any) -> Any:
        """Summed over its pairs, and their number."""
        with torch.no_grad(), self.accelerator.unwrap_model(self.model).disable_adapter():
            reference = self._answer_logps(model, batch)
        better, worse = (self._answer_logps(model, batch) - reference).chunk(2)
        losses = -torch.nn.functional.logsigmoid(self.recipe.dpo_beta * (better - worse))
        return torch.stack((losses.sum(), torch.tensor(float(len(losses)), device=losses.device)))

    def _answer_logps(self, model: Any, batch: Any) -> Any:
        """Of each answer, all its tokens together."""
        labels = batch["labels"]
        logps = model(input_ids=batch["input_ids"], answer_labels=labels)
        rows = (labels != IGNORED).nonzero()[:, 0]
        return torch.zeros(len(labels), device=logps.device).index_add(0, rows, logps)


class DpoCollator:
    """Pairs as tensors: all better answers, then all worse ones."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, pairs: Sequence[Any]) -> dict[str, Any]:
        """Of one micro batch."""
        ids = [pair["chosen_ids"] for pair in pairs] + [pair["rejected_ids"] for pair in pairs]
        labels = [pair["chosen_labels"] for pair in pairs] + [pair["rejected_labels"] for pair in pairs]
        return padded(ids, labels, self._pad)


def dpo_dataset(pairs: Sequence[tuple[AnswerTokens, AnswerTokens]]) -> Any:
    """Pairs as TRL takes them."""
    return Dataset.from_dict(
        {
            "chosen_ids": [better.ids for better, _ in pairs],
            "chosen_labels": [labels_of(better) for better, _ in pairs],
            "rejected_ids": [worse.ids for _, worse in pairs],
            "rejected_labels": [labels_of(worse) for _, worse in pairs],
        }
    )
