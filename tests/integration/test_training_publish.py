"""Publishing a run: what is registered, what is said of it, and that doing it twice makes no second version."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Unavailable, UserError
from cluster.settings import Settings
from registry.adapter_files import read_adapter
from registry.digests import folder_sha256
from tests.fakes.tiny_lm import make_tiny_lm
from tests.fakes.training_runs import AFTER, NAME, finished_run, recipe_of, worse
from tests.fakes.version_store import FakeVersionStore
from training.evaluation import Figure
from training.publishing import publish, require_publishable
from training.recipe import Recipe
from training.run_state import read_state, write_state


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_lm(tmp_path_factory.mktemp("models") / "tiny")


def settings_of(base: Path, state_dir: Path, **pool: Any) -> Settings:
    source = {"kind": "folder", "path": str(base), "sha256": folder_sha256(base), "licence": "Apache-2.0"}
    model = {
        "name": "small", "sources": [source], "languages": ["zh"], "max_difficulty": 1.0, "context_tokens": 1024,
        "parameters_b": 0.1, "disk_bytes": 1_000_000,
    }  # fmt: skip
    pools = [{"model": "small", "memory_bytes": 1_000_000, "max_adapters": 2, "max_adapter_rank": 8, **pool}]
    return Settings.model_validate({"models": [model], "pools": pools, "site": {"state_dir": str(state_dir)}})


class Desk:
    """A finished run and a registry in memory."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.base = folder, base
        self.settings = settings_of(base, folder / "state")
        self.versions = FakeVersionStore(folder / "registry")
        self.recipe = recipe_of("small", folder / "private" / "rows.jsonl")
        self.run = finished_run(folder / "state" / "training" / "hotline-1", self.recipe, base)

    def files(self, version: int) -> Path:
        return self.versions.folder_of(NAME, version)

    def card(self, version: int) -> str:
        return (self.files(version) / "README.md").read_text("utf-8")


@pytest.fixture
def desk(tmp_path: Path, base: Path) -> Desk:
    return Desk(tmp_path, base)


def test_a_finished_run_becomes_a_version_with_its_lineage(desk: Desk) -> None:
    version = publish(desk.recipe, desk.run, desk.settings, desk.versions)
    assert (version.name, version.version, version.kind, version.serves) == (NAME, 1, "adapter", "small")
    assert version.lineage.data == (
        f"rows.jsonl; general sha256 {'c' * 64}, test sha256 {'b' * 64}, train sha256 {'a' * 64}"
    )
    assert version.lineage.base_model == f"small sha256 {folder_sha256(desk.base)}"
    assert (version.lineage.code_commit, version.lineage.parent) == ("0123abc", None)
    assert version.results["exact_match"] == 0.8
    assert version.results["exact_match_gain"] == pytest.approx(0.7)
    assert [gate.is_passed for gate in version.gates] == [True, True]
    assert read_state(desk.run).published_version == 1


def test_what_is_registered_is_what_engines_load(desk: Desk) -> None:
    publish(desk.recipe, desk.run, desk.settings, desk.versions)
    facts = read_adapter(desk.files(1))
    assert (facts.rank, facts.base_model) == (4, "small")
    names = {path.name for path in desk.files(1).iterdir()}
    assert {"tokenizer.json", "chat_template.jinja", "README.md", "recipe.yaml"} <= names

    from training.base_model import adapted, load_base

    adapted(load_base(desk.base, "float32"), desk.files(1))


def test_no_folder_of_this_machine_and_no_row_stands_in_it(desk: Desk) -> None:
    publish(desk.recipe, desk.run, desk.settings, desk.versions)
    for path in desk.files(1).iterdir():
        if path.suffix != ".safetensors":
            text = path.read_text("utf-8")
            assert str(desk.folder) not in text, path.name
            assert str(desk.base) not in text, path.name
            assert "private" not in text, path.name
    # The run's own files are as they were.
    assert json.loads((desk.run.adapter / "adapter_config.json").read_text())["base_model_name_or_path"] != "small"


def test_the_recipe_in_a_version_is_a_recipe(desk: Desk) -> None:
    from training.recipe_file import read_recipe

    publish(desk.recipe, desk.run, desk.settings, desk.versions)
    again = read_recipe(desk.files(1) / "recipe.yaml")
    assert again.lora == desk.recipe.lora
    assert again.base == "small"
    assert again.data.rows == (desk.files(1) / "rows.jsonl",)


def test_the_card_says_what_from_what_how_good_and_how_to_make_it_again(desk: Desk) -> None:
    publish(desk.recipe, desk.run, desk.settings, desk.versions)
    card = desk.card(1)
    for words in (
        "base_model: small",
        folder_sha256(desk.base),
        "licence: Apache-2.0",
        "Licence of the rows: CC BY 4.0",
        "left out, said before: 3",
        "| learnt from | 300 | " + "a" * 64,
        "| exact_match | 0.1 (0.05 to 0.15) | 0.8 (0.7 to 0.9) | 120 |",
        "| 住建局 | 0.1 (0 to 0.2) | 0.9 (0.8 to 1) | 60 |",
        "| exact_match | >= 0.5 | 0.8 | yes |",
        "its loss is 0.1 nats a token higher",
        "fenzhen train run recipe.yaml",
        "commit: 0123abc",
    ):
        assert words in card, f"{words}\n{card}"
    # What was answered stays in the run.
    assert "said what" not in card


def test_the_same_run_again_is_the_same_version(desk: Desk) -> None:
    first = publish(desk.recipe, desk.run, desk.settings, desk.versions)
    assert publish(desk.recipe, desk.run, desk.settings, desk.versions) == first
    assert len(desk.versions.versions(NAME)) == 1


def test_killed_between_the_registry_and_its_note_the_same_version_is_found(desk: Desk) -> None:
    first = publish(desk.recipe, desk.run, desk.settings, desk.versions)
    write_state(desk.run, read_state(desk.run).model_copy(update={"published_version": None}))
    assert publish(desk.recipe, desk.run, desk.settings, desk.versions) == first
    assert read_state(desk.run).published_version == first.version


def test_a_version_that_was_removed_is_registered_anew(desk: Desk) -> None:
    publish(desk.recipe, desk.run, desk.settings, desk.versions)
    desk.versions.delete(NAME, 1)
    assert publish(desk.recipe, desk.run, desk.settings, desk.versions).version == 2


def test_another_registry_s_version_of_that_number_is_not_taken_for_ours(desk: Desk) -> None:
    publish(desk.recipe, desk.run, desk.settings, desk.versions)
    other = FakeVersionStore(desk.folder / "other")
    stranger = finished_run(desk.folder / "stranger", desk.recipe.model_copy(update={"gates": ()}), desk.base)
    publish(desk.recipe, stranger, desk.settings, other)
    assert publish(desk.recipe, desk.run, desk.settings, other).version == 2


def test_the_stable_version_is_the_parent(desk: Desk) -> None:
    publish(desk.recipe, desk.run, desk.settings, desk.versions)
    desk.versions.set_alias(NAME, "stable", 1)
    next_run = finished_run(desk.folder / "hotline-2", desk.recipe, desk.base, after=worse())
    assert publish(desk.recipe, next_run, desk.settings, desk.versions).lineage.parent == 1


def test_gates_that_are_not_passed_do_not_hinder_it_and_stand_in_the_card(desk: Desk) -> None:
    run = finished_run(desk.folder / "bad", desk.recipe, desk.base, after=worse())
    version = publish(desk.recipe, run, desk.settings, desk.versions)
    assert [gate.is_passed for gate in version.gates] == [False, True]
    assert "Gates that are not passed: exact_match." in desk.card(version.version)


def test_a_registry_that_is_down_leaves_nothing_and_can_be_tried_again(desk: Desk) -> None:
    desk.versions.is_down = True
    with pytest.raises(Unavailable):
        publish(desk.recipe, desk.run, desk.settings, desk.versions)
    assert not (desk.run.path / ".version").exists()
    assert read_state(desk.run).published_version is None
    desk.versions.is_down = False
    assert publish(desk.recipe, desk.run, desk.settings, desk.versions).version == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phase": "interrupted"}, "fenzhen train run --resume hotline-1"),
        ({"phase": "failed", "stages": {"prepare": 1.0}}, "before"),
    ],
)
def test_a_run_that_has_not_come_to_its_end_is_not_published(desk: Desk, changes: dict[str, Any], said: str) -> None:
    write_state(desk.run, read_state(desk.run).model_copy(update=changes))
    with pytest.raises(UserError, match=said):
        publish(desk.recipe, desk.run, desk.settings, desk.versions)


def test_a_damaged_adapter_is_not_published(desk: Desk) -> None:
    weights = desk.run.adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        publish(desk.recipe, desk.run, desk.settings, desk.versions)
    assert desk.versions.versions(NAME) == ()


def test_results_beyond_what_a_version_keeps_leave_those_that_gates_ask_for(desk: Desk) -> None:
    more = {f"field_accuracy.{number}": Figure(0.5, 0.4, 0.6, 9) for number in range(80)}
    after = replace(AFTER, figures={**more, **AFTER.figures})
    run = finished_run(desk.folder / "wide", desk.recipe, desk.base, after=after)
    version = publish(desk.recipe, run, desk.settings, desk.versions)
    assert len(version.results) <= 50
    assert {"exact_match", "exact_match_gain", "general_loss_rise_ratio"} <= version.results.keys()


# Before hours of training.


def recipes(**more: Any) -> Recipe:
    return recipe_of(more.pop("base", "small"), Path("rows.jsonl"), **more)


@pytest.mark.parametrize(
    ("more", "pool", "canary", "said"),
    [
        ({"base": "large"}, {}, False, "'large' is not served"),
        ({"lora": {"rank": 16}}, {}, False, "lora.rank is 16"),
        ({}, {"max_adapters": 0}, True, "set max_adapters"),
        ({"base": "/nowhere/else"}, {}, False, "--serves"),
    ],
)
def test_what_could_not_be_published_is_told_before_training(
    desk: Desk, more: dict[str, Any], pool: dict[str, Any], canary: bool, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        require_publishable(recipes(**more), settings_of(desk.base, desk.folder, **pool), canary=canary)


@pytest.mark.parametrize(
    ("more", "pool", "canary"),
    [({}, {}, True), ({}, {"max_adapters": 0}, False), ({"lora": {"rank": 8}}, {}, True)],
)
def test_what_can_be_published_names_the_model_below_it(
    desk: Desk, more: dict[str, Any], pool: dict[str, Any], canary: bool
) -> None:
    settings = settings_of(desk.base, desk.folder, **pool)
    assert require_publishable(recipes(**more), settings, canary=canary) == "small"


def test_a_base_that_is_a_served_model_s_folder_is_that_model(desk: Desk) -> None:
    assert require_publishable(recipes(base=str(desk.base)), desk.settings) == "small"


def test_a_run_on_a_copy_of_a_served_model_s_weights_finds_it_by_its_digest(desk: Desk) -> None:
    copy = desk.folder / "copy"
    shutil.copytree(desk.base, copy)
    recipe = recipe_of(str(copy), desk.folder / "rows.jsonl")
    run = finished_run(desk.folder / "on-a-copy", recipe, copy)
    version = publish(recipe, run, desk.settings, desk.versions)
    assert version.serves == "small"
    assert str(copy) not in desk.card(version.version)
