"""Supervised fine-tuning: the answers of the rows are made likelier. TRL's trainer, with our loss.

Imported by `training.fitting` when a run begins.
"""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import SFTTrainer

from training.answer_tokens import AnswerTokens
from training.batches import IGNORED, packed, padded
from training.loop import Loop


class Sft(Loop, SFTTrainer):  # type: ignore[misc]
    """Loss: mean over all answer tokens of a step, nats."""

    length_column = "input_ids"

    def weight_of(self, batch: Any) -> int:
        """Answer tokens of a micro batch."""
        return int((batch["labels"] != IGNORED).sum())

    def loss_and_weight(self, model: Any, batch: Any) -> Any:
        """Summed over its answer tokens, and their number."""
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logps = model(**inputs, answer_labels=batch["labels"])
        return torch.stack((-logps.sum(), torch.tensor(float(len(logps)), device=logps.device)))


class SftCollator:
    """Rows as tensors."""

    def __init__(self, pad: int, packing: bool, capacity: int) -> None:
        self._pad, self._packing, self._capacity = pad, packing, capacity

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Of one micro batch."""
        ids, labels = [row["input_ids"] for row in rows], [row["labels"] for row in rows]
        return packed(ids, labels, self._pad, self._capacity) if self._packing else padded(ids, labels, self._pad)


def sft_dataset(rows: Sequence[AnswerTokens]) -> Any:
    """Rows as TRL takes them."""
    return Dataset.from_dict({"input_ids": [row.ids for row in rows], "labels": [labels_of(row) for row in rows]})


def labels_of(row: AnswerTokens) -> list[int]:
    """The tokens that are learnt, IGNORED in place of the others."""
    return [token if learnt else IGNORED for token, learnt in zip(row.ids, row.learnt, strict=True)]
