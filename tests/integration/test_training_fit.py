"""Training for real, on a model so small that it takes a second."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, set_seed

from cluster.errors import UserError
from registry.adapter_files import read_adapter
from tests.fakes.tiny_lm import make_tiny_lm
from tests.fakes.training import Witness, pairs_of, prepared_of, recipe_of
from training.adapter import read_weights
from training.answer_tokens import tokens_of
from training.base_model import adapted, load_base, load_tokenizer
from training.batches import order_of
from training.fitting import Interrupted
from training.prepared import Prepared
from training.recipe import Recipe
from training.sft import labels_of

STEPS = {"max_steps": 6, "epochs": 9}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_tiny_lm(tmp_path_factory.mktemp("base") / "tiny")


def losses_of(recipe: Recipe, base: Path, run: Path, prepared: Prepared | None = None) -> list[float]:
    witness = Witness()
    witness.fit(recipe, prepared or prepared_of(), base, run)
    return [step.loss for step in witness.steps]


def plain_losses(recipe: Recipe, base: Path) -> list[float]:
    """The same steps by peft and transformers alone: right padding, all logits, the model's own loss."""
    tokenizer, train = load_tokenizer(base), recipe.train
    rows = [tokens_of(row, tokenizer) for row in prepared_of().train]
    assert train.max_steps is not None
    order = order_of([len(row.ids) for row in rows], train.batch_size, train.max_steps, train.seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    set_seed(train.seed)
    model = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear", lora_dropout=0.0)
    )
    trained = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=train.learning_rate, weight_decay=0.0)
    losses = []
    for begin in range(0, len(order), train.batch_size):
        chosen = [rows[row] for row in order[begin : begin + train.batch_size]]
        width = max(len(row.ids) for row in chosen)

        def filled(parts: Sequence[Sequence[int]], value: int, width: int = width) -> torch.Tensor:
            return torch.tensor([[*part, *[value] * (width - len(part))] for part in parts])

        loss = model(
            input_ids=filled([row.ids for row in chosen], tokenizer.pad_token_id),
            attention_mask=filled([[1] * len(row.ids) for row in chosen], 0),
            labels=filled([labels_of(row) for row in chosen], -100),
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, train.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


PLAIN = {**STEPS, "schedule": "constant", "warmup_ratio": 0}


@pytest.mark.parametrize(
    "way", [{}, {"micro_batch_size": 1}, {"micro_batch_size": 2}, {"packing": True}, {"gradient_checkpointing": True}]
)
def test_each_way_of_laying_out_a_step_has_the_losses_of_a_plain_loop(
    base: Path, tmp_path: Path, way: dict[str, Any]
) -> None:
    recipe = recipe_of({**PLAIN, **way})
    ours = losses_of(recipe, base, tmp_path)
    assert ours == pytest.approx(plain_losses(recipe, base), abs=2e-5)
    assert ours[-1] < ours[0] - 0.2


def test_in_bfloat16_losses_are_near_those_of_float32(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of({**PLAIN, "dtype": "bfloat16"})
    assert losses_of(recipe, base, tmp_path) == pytest.approx(plain_losses(recipe, base), abs=0.05)


@pytest.mark.parametrize("bits", ["nf4", "int8"])
def test_a_quantised_base_is_trained_on_in_all_its_layers(base: Path, tmp_path: Path, bits: str) -> None:
    recipe = recipe_of(STEPS, quantise_base=bits)
    losses = losses_of(recipe, base, tmp_path)
    assert losses[-1] < losses[0] - 0.2
    trained = read_weights(tmp_path / "adapter")
    # B begins as zeros: where gradients pass a layer by, it stays so.
    outputs = {name: weight for name, weight in trained.items() if "lora_B" in name}
    assert len(outputs) == 2 * 7
    assert all(weight.abs().max() > 0 for weight in outputs.values())
    assert {weight.dtype for weight in trained.values()} == {torch.float32}


def test_a_base_that_was_asked_before_is_trained_on_all_the_same(base: Path) -> None:
    model = load_base(base, "bfloat16", "nf4")
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        model.eval()(input_ids=ids)
    model = get_peft_model(model.train(), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)
    assert sum(bool(p.grad.abs().max() > 0) for n, p in model.named_parameters() if "lora_B" in n) == 2 * 7


def test_what_was_made_is_an_adapter_that_engines_load(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of({**STEPS}, lora={"rank": 4, "alpha": 8, "dropout_ratio": 0.1, "targets": ["q_proj", "v_proj"]})
    fitted = Witness().fit(recipe, prepared_of(), base, tmp_path)
    folder = tmp_path / "adapter"
    assert fitted.adapter == folder
    assert read_adapter(folder) == (4, "tiny")
    config = json.loads((folder / "adapter_config.json").read_bytes())
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert (config["lora_dropout"], config["inference_mode"]) == (0.0, True)
    assert load_tokenizer_template(folder) == load_tokenizer_template(base)
    for path in folder.iterdir():
        assert str(base.parent).encode() not in path.read_bytes(), path
    model = adapted(load_base(base, "float32"), folder).eval()
    tokens = tokens_of(prepared_of().train[0], load_tokenizer(base))
    ids, labels = torch.tensor([tokens.ids]), torch.tensor([labels_of(tokens)])
    with torch.no_grad():
        after = model(input_ids=ids, labels=labels).loss
        with model.disable_adapter():
            assert model(input_ids=ids, labels=labels).loss > after + 0.1


def load_tokenizer_template(folder: Path) -> str:
    return (folder / "chat_template.jinja").read_text()


def test_a_run_that_is_finished_is_not_trained_again(base: Path, tmp_path: Path) -> None:
    made = Witness().fit(recipe_of(STEPS), prepared_of(), base, tmp_path)
    again = Witness()
    assert again.fit(recipe_of(STEPS), prepared_of(), base, tmp_path) == made
    assert again.steps == []
    assert made.tokens > 0
    assert made.seconds > 0
    with pytest.raises(UserError, match="made by another recipe"):
        again.fit(recipe_of({**STEPS, "seed": 2}), prepared_of(), base, tmp_path)


@pytest.mark.parametrize("train", [{}, {"packing": True, "micro_batch_size": 2, "dtype": "bfloat16"}])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    base: Path, tmp_path: Path, train: dict[str, Any]
) -> None:
    recipe = recipe_of({**STEPS, **train}, lora={"dropout_ratio": 0.2})
    undisturbed, first, second = Witness(), Witness(stop_at=3), Witness()
    undisturbed.fit(recipe, prepared_of(), base, tmp_path / "undisturbed")
    with pytest.raises(Interrupted, match="after step 3 of 6; a checkpoint of it was saved"):
        first.fit(recipe, prepared_of(), base, tmp_path / "stopped")
    fitted = second.fit(recipe, prepared_of(), base, tmp_path / "stopped")
    assert (first.first_steps, second.first_steps) == ([1], [4])
    assert {**first.losses, **second.losses} == undisturbed.losses
    assert [step.tokens for step in (*first.steps, *second.steps)] == [step.tokens for step in undisturbed.steps]
    assert fitted.steps == 6
    theirs, ours = (read_weights(tmp_path / run / "adapter") for run in ("undisturbed", "stopped"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_a_run_killed_before_its_adapter_was_in_place_only_writes_it(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of({**STEPS, "checkpoint_every_steps": 6})
    made = Witness().fit(recipe, prepared_of(), base, tmp_path)
    weights = read_weights(made.adapter)
    shutil.move(made.adapter, tmp_path / ".partial-adapter")
    again = Witness()
    assert again.fit(recipe, prepared_of(), base, tmp_path) == made
    assert again.steps == []
    assert all(read_weights(made.adapter)[name].equal(weights[name]) for name in weights)


def test_early_stop_keeps_the_best(base: Path, tmp_path: Path) -> None:
    # What is held out contradicts what is learnt: it gets worse soon.
    prepared = prepared_of()
    prepared = replace(prepared, test=tuple(replace(r, messages=tuple(reversed_(r.messages))) for r in prepared.test))
    train = {"max_steps": 60, "epochs": 99, "learning_rate": 2e-2, "evaluate_every_steps": 1, "early_stop_after": 3}
    witness, again = Witness(), Witness(stop_at=8)
    fitted = witness.fit(recipe_of(train), prepared, base, tmp_path / "a")
    assert fitted.stopped_early
    assert fitted.steps < 60
    losses = [loss for _, loss in witness.results]
    best = min(losses)
    assert losses.index(best) == len(losses) - 4
    model = adapted(load_base(base, "float32"), fitted.adapter).eval()
    assert held_out_loss(model, prepared, base) == pytest.approx(best, abs=1e-5)
    # The best is remembered over an interruption as well.
    with pytest.raises(Interrupted):
        again.fit(recipe_of(train), prepared, base, tmp_path / "b")
    Witness().fit(recipe_of(train), prepared, base, tmp_path / "b")
    ours, theirs = (read_weights(tmp_path / run / "adapter") for run in ("a", "b"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def reversed_(messages: Sequence[Any]) -> list[Any]:
    return [replace(each, content=each.content[::-1]) if each.role == "assistant" else each for each in messages]


def held_out_loss(model: Any, prepared: Prepared, base: Path) -> float:
    total, count = 0.0, 0
    for row in prepared.test:
        tokens = tokens_of(row, load_tokenizer(base))
        ids, labels = torch.tensor([tokens.ids]), torch.tensor([labels_of(tokens)])
        with torch.no_grad():
            total += model(input_ids=ids, labels=labels).loss.item() * sum(tokens.learnt)
        count += sum(tokens.learnt)
    return total / count


@pytest.mark.parametrize("way", [{}, {"micro_batch_size": 1}])
def test_preferences_make_the_better_answer_likelier(base: Path, tmp_path: Path, way: dict[str, Any]) -> None:
    prepared = Prepared(preferences=pairs_of(8), test_preferences=pairs_of(3), sha256={"train": "p"})
    recipe = recipe_of({**PLAIN, "evaluate_every_steps": 6, "max_steps": 12, **way}, objective="dpo")
    witness = Witness()
    witness.fit(recipe, prepared, base, tmp_path)
    losses = [step.loss for step in witness.steps]
    # The adapter begins as nothing: both models agree, and the loss is log 2.
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[-1] < 0.3
    assert [step for step, _ in witness.results] == [6, 12]
    assert witness.results[-1][1] < 0.5


def test_a_loss_that_is_no_number_is_told_with_what_to_change(base: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(base, spoilt)
    from safetensors.torch import load_file, save_file

    weights = load_file(spoilt / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"step 1: the loss is no longer a number; lower train.learning_rate"):
        Witness().fit(recipe_of({**STEPS, "checkpoint_every_steps": 1}), prepared_of(), spoilt, tmp_path / "run")
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_memory_that_runs_out_is_told_with_what_to_change(base: Path, tmp_path: Path) -> None:
    class Greedy(Witness):
        def began(self, steps: int, first_step: int) -> None:
            torch.empty(1 << 55, dtype=torch.uint8)

    with pytest.raises(UserError, match=r"memory ran out: take a smaller train.micro_batch_size"):
        Greedy().fit(recipe_of(STEPS), prepared_of(), base, tmp_path)


def test_a_run_is_asked_for_without_loading_torch() -> None:
    code = (
        "import sys, training.fitting, training.base_model; sys.exit(bool({'torch', 'transformers'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_is_printed_and_nothing_is_sent(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *words, **_: sent.append(words))
    monkeypatch.delenv("CI", raising=False)
    Witness().fit(recipe_of(STEPS), prepared_of(), base, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert sent == []
