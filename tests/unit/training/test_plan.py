"""What a run would take, before anything is loaded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import UserError
from tests.fakes.tiny_lm import make_tiny_lm
from tests.fakes.training_stages import row
from training.base_shape import BaseShape, adapted_layers, shape_of
from training.plan import Plan, estimated
from training.prepared import Prepared
from training.recipe_file import parse_recipe
from training.rows import Message, Preference
from training.run_state import BaseNote

# SmolLM2-135M's sizes: 30 layers of 576 and 1536, 9 heads of 64 of which 3 have keys.
LAYER = {
    "self_attn.q_proj": (576, 576), "self_attn.k_proj": (192, 576), "self_attn.v_proj": (192, 576),
    "self_attn.o_proj": (576, 576), "mlp.gate_proj": (1536, 576), "mlp.up_proj": (1536, 576),
    "mlp.down_proj": (576, 1536),
}  # fmt: skip
SMALL = BaseShape(
    parameters=134_515_008,
    layers=30,
    hidden=576,
    intermediate=1536,
    vocabulary=49152,
    linear={f"model.layers.{number}.{name}": size for number in range(30) for name, size in LAYER.items()},
)
NOTE = BaseNote(asked="small", folder=Path("/base"), sha256="aa", origin="a fake", parameters=SMALL.parameters)
ROWS = Prepared(train=tuple(row(str(number), "x") for number in range(307)), test=(row("t", "x"),) * 77)


def planned(*overrides: str, prepared: Prepared = ROWS, dtype: str = "bfloat16", length: int = 90) -> Plan:
    text = b"name: a\nbase: small\ndata: {rows: [r]}\n"
    recipe = parse_recipe(text, "r.yaml", Path("/"), ["train.max_steps=3", *overrides])

    def tokens(messages: Sequence[Message]) -> int:
        return length

    adapted = adapted_layers(SMALL, recipe.lora.targets, Path("/base"))
    return estimated(
        recipe,
        prepared,
        NOTE,
        SMALL,
        adapted,
        tokens,
        lambda rows: 1e9 * min(rows, 100),
        dtype,
        20_000_000_000,
        on_gpu=False,
    )


def test_tokens_and_steps_are_counted() -> None:
    plan = planned("train.max_steps=null", "train.epochs=2")

    assert (plan.rows, plan.held_out, plan.steps) == (307, 77, 77)
    assert plan.tokens_per_epoch == 307 * 90
    # The last step is filled up with rows of one more epoch.
    assert plan.tokens == 77 * 8 * 90


def test_an_adapter_of_all_linear_layers_has_as_many_parameters_as_peft_makes() -> None:
    assert planned().trainable == 2_442_240


@pytest.mark.parametrize(
    ("overrides", "dtype", "measured_gb"),
    [
        ((), "bfloat16", 2.21),
        (("train.gradient_checkpointing=true",), "bfloat16", 1.47),
        ((), "float32", 3.07),
        (("quantise_base=nf4",), "bfloat16", 2.21),
    ],
)
def test_memory_is_near_what_was_measured(overrides: tuple[str, ...], dtype: str, measured_gb: float) -> None:
    # SmolLM2-135M, 8 rows of about 100 tokens, the process of `training.fitting` alone: 0.3 GB less than the command.
    plan = planned(*overrides, dtype=dtype, length=100)

    assert plan.memory_bytes / 1e9 - 0.3 == pytest.approx(measured_gb, rel=0.15)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (("train.micro_batch_size=2",), ()),
        (("train.gradient_checkpointing=true",), ()),
        (("lora.rank=4",), ("lora.rank=64",)),
        (("lora.targets=[q_proj]",), ()),
    ],
)
def test_what_is_said_to_need_less_memory_does(less: tuple[str, ...], more: tuple[str, ...]) -> None:
    assert planned(*less).memory_bytes < planned(*more).memory_bytes


def test_recomputing_and_quantising_take_time_and_workers_share_it() -> None:
    plain = planned().train_s

    assert planned("train.gradient_checkpointing=true").train_s > plain
    assert planned("quantise_base=nf4").train_s > plain
    assert planned("cluster.workers=4").train_s < plain


def test_pairs_are_counted_by_the_longer_of_two_answers() -> None:
    pair = Preference((Message("user", "q"),), "yes", "not at all", "p.jsonl:1")

    plan = planned(
        "objective=dpo",
        "evaluation.metric=preference_accuracy",
        prepared=replace(ROWS, train=(), preferences=(pair,) * 8),
    )

    assert plan.rows == 8
    assert plan.memory_bytes > planned(prepared=replace(ROWS, train=ROWS.train[:8])).memory_bytes


def test_very_many_rows_are_counted_in_a_part_and_said_to_be() -> None:
    plan = planned(prepared=replace(ROWS, train=ROWS.train * 50))

    assert plan.is_sampled
    assert plan.tokens_per_epoch == 307 * 50 * 90
    assert "about 1,381,500 an epoch" in "\n".join(plan.lines())


def test_it_is_told_in_lines_that_one_reads_at_a_glance() -> None:
    lines = planned().lines()

    assert lines[0] == "base       small: 134,515,008 parameters, of which none change"
    assert lines[2] == "rows       307 to learn from, 77 held out, 0 of everyday"
    assert lines[4] == "steps      3"
    assert [line for line in lines if len(line) > 140] == []


def test_little_memory_is_warned_of_and_far_too_little_is_refused(tmp_path: Path) -> None:
    plan = planned()

    assert "likely too little" in "\n".join(replace(plan, available_bytes=1_500_000_000).lines())
    replace(plan, available_bytes=1_500_000_000).require_fits(tmp_path)
    with pytest.raises(
        UserError, match=r"the base and its adapter alone need 0.8 GB of memory and 0.2 GB are available"
    ):
        replace(plan, available_bytes=200_000_000).require_fits(tmp_path)


def test_a_layer_that_the_base_lacks_is_told_with_those_it_has() -> None:
    with pytest.raises(UserError) as caught:
        planned("lora.targets=[q_prj]")

    assert str(caught.value) == (
        "lora.targets: no layer of /base is called q_prj; there are down_proj, gate_proj, k_proj, o_proj, q_proj, "
        "up_proj, v_proj"
    )


def test_sizes_are_read_from_the_files_of_a_base(tmp_path: Path) -> None:
    shape = shape_of(make_tiny_lm(tmp_path / "tiny"))

    assert (shape.parameters, shape.layers, shape.hidden, shape.intermediate) == (107_200, 2, 64, 128)
    assert len(shape.linear) == 14


@pytest.mark.parametrize("content", ["[]", '{"hidden_size": "large"}', "{"])
def test_a_base_that_is_no_language_model_is_told(content: str, tmp_path: Path) -> None:
    folder: Any = make_tiny_lm(tmp_path / "tiny")
    (folder / "config.json").write_text(content)

    with pytest.raises(UserError, match="does not describe a language model"):
        shape_of(folder)
