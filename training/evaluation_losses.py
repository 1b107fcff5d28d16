"""How surprised a model is by the answers that it should give: nats a token, row by row, as in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.answer_tokens import AnswerTokens
from training.batches import IGNORED, padded


@dataclass(frozen=True, slots=True)
class RowLoss:
    """How one row's answers were expected."""

    nats: float
    """All answer tokens together."""
    tokens: int

    @property
    def mean(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens


def losses_of(
    model: Any,
    pad_id: int,
    rows: Sequence[AnswerTokens],
    *,
    batch_size: int,
    say_done: Callable[[int], None] = lambda _: None,
) -> list[RowLoss]:
    """The loss of each row, in their order; what the batches are does not matter.

    `model` has been through `training.answer_loss.teach_answer_logps`.
    """
    import torch

    found: dict[int, RowLoss] = {}
    # Rows of like length together: little is padded.
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
    for first in range(0, len(order), batch_size):
        places = order[first : first + batch_size]
        batch = padded([rows[place].ids for place in places], [_labels(rows[place]) for place in places], pad_id)
        labels = batch["labels"].to(model.device)
        with torch.inference_mode():
            logps = model(input_ids=batch["input_ids"].to(model.device), answer_labels=labels)
        counts = (labels != IGNORED).sum(1).tolist()
        for place, mine, count in zip(places, logps.split(counts), counts, strict=True):
            found[place] = RowLoss(-float(mine.double().sum()), count)
        say_done(len(found))
    return [found[place] for place in range(len(rows))]


def _labels(row: AnswerTokens) -> list[int]:
    return [token if learnt else IGNORED for token, learnt in zip(row.ids, row.learnt, strict=True)]
