"""Log-probabilities of answers, against those that the whole logits give."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_lm import make_tiny_lm
from training import answer_loss
from training.answer_loss import teach_answer_logps
from training.base_model import load_base
from training.batches import IGNORED

IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
LABELS = torch.tensor([[IGNORED, 7, 8, 9, IGNORED], [IGNORED, IGNORED, IGNORED, 14, 3]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_lm(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def model(base: Path) -> Any:
    model = load_base(base, "float32").requires_grad_(False)
    teach_answer_logps(model)
    return model


def whole(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Of all logits, the long way."""
    every = model(inputs_embeds=inputs).logits.float().log_softmax(-1)
    return every.gather(2, LABELS.clamp(min=0)[..., None])[..., 0][LABELS != IGNORED]


def both(model: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Values, and gradients of a weighted sum, by our way and by the long one."""
    found = []
    for is_ours in (True, False):
        inputs = model.get_input_embeddings()(IDS).detach().requires_grad_()
        logps = model(inputs_embeds=inputs, answer_labels=LABELS) if is_ours else whole(model, inputs)
        (logps * torch.tensor([1.0, -2.0, 3.0, 0.5, 4.0])).sum().backward()
        found.append((logps.detach(), inputs.grad))
    return found


def agree(model: Any) -> None:
    ours, theirs = both(model)
    assert ours[0].shape == (5,)
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1])
    assert ours[1].abs().max() > 0


def test_values_and_gradients_are_those_of_the_whole_logits(model: Any) -> None:
    agree(model)


def test_the_size_of_a_piece_changes_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_loss, "_PIECE_BYTES", {"cpu": 4 * 259 * 2})
    agree(model)


def test_an_output_layer_with_a_bias_counts_it(model: Any) -> None:
    head = torch.nn.Linear(64, 259).requires_grad_(False)
    model.set_output_embeddings(head)
    agree(model)


@pytest.mark.parametrize("name", ["final_logit_softcapping", "logit_scale", "logits_scaling"])
def test_a_base_that_does_more_to_its_logits_is_asked_for_all_of_them(
    model: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    model.lm_head.register_forward_hook(lambda _, given, made: calls.append(made.shape))
    model.config.update({name: 30.0})
    agree(model)
    assert calls == [(2, 5, 259)] * 2


def test_an_output_layer_that_is_trained_gets_its_gradient(model: Any) -> None:
    model.lm_head.weight.requires_grad_()
    model(IDS, answer_labels=LABELS).sum().backward()
    assert model.lm_head.weight.grad.abs().max() > 0


def test_without_gradients_only_values_are_calculated(model: Any) -> None:
    with torch.no_grad():
        logps = model(IDS, answer_labels=LABELS)
    assert not logps.requires_grad
    torch.testing.assert_close(logps, whole(model, model.get_input_embeddings()(IDS)))


def test_asked_for_nothing_new_the_model_answers_as_before(model: Any, base: Path) -> None:
    torch.testing.assert_close(model(IDS).logits, load_base(base, "float32")(IDS).logits)


def test_rows_in_one_sequence_do_not_see_each_other(model: Any) -> None:
    packed = {"input_ids": IDS.reshape(1, -1), "position_ids": torch.tensor([[*range(5), *range(5)]])}
    logps = model(**packed, answer_labels=LABELS.reshape(1, -1))
    torch.testing.assert_close(logps, model(IDS, answer_labels=LABELS))
    other = IDS.clone()
    other[0, 0] = 99
    changed = model(**{**packed, "input_ids": other.reshape(1, -1)}, answer_labels=LABELS.reshape(1, -1))
    torch.testing.assert_close(changed[3:], logps[3:])
    assert (changed[:3] - logps[:3]).abs().max() > 1e-4
