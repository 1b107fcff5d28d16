"""Which weights a recipe's base means."""

from pathlib import Path

import pytest

from cluster.errors import NotFound, UserError
from cluster.settings import Settings
from cluster.settings_file import parse_settings
from fenzhen.train_needs import missing_of, require_packages
from registry.digests import folder_sha256
from registry.progress import Silent
from registry.store import ModelStore
from tests.fakes.tiny_lm import make_tiny_lm
from training.base_choice import base_of, require_same
from training.recipe import Recipe
from training.recipe_file import parse_recipe


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_lm(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: str) -> Recipe:
    text = f"name: a\nbase: {base}\ndata: {{rows: [r]}}\n"
    return parse_recipe(text.encode(), "r.yaml", Path("/recipes"))


def settings(base: Path, home: Path) -> Settings:
    text = f"""\
models:
  - name: tiny
    languages: [zh]
    max_difficulty: 1
    context_tokens: 1024
    parameters_b: 0.1
    disk_bytes: 1000
    sources: [{{kind: folder, path: {base}, sha256: {folder_sha256(base)}}}]
pools: [{{model: tiny, memory_bytes: 1000}}]
site: {{models_dir: {home}}}
"""
    return parse_settings(text.encode(), "fenzhen.yaml")


def test_a_folder_is_taken_as_it_is(base: Path, tmp_path: Path) -> None:
    note = base_of(recipe(str(base)), settings(base, tmp_path))

    assert (note.folder, note.sha256, note.parameters) == (base, folder_sha256(base), 107_200)
    require_same(note)


def test_a_model_of_the_configuration_has_to_be_on_this_machine(base: Path, tmp_path: Path) -> None:
    known = settings(base, tmp_path)
    with pytest.raises(NotFound, match="base: tiny is not on this machine yet: `fenzhen models fetch tiny`"):
        base_of(recipe("tiny"), known)

    ModelStore(tmp_path, 1, Silent()).fetch(known.models[0])

    assert base_of(recipe("tiny"), known).folder == base


def test_a_model_that_nobody_knows_is_told_with_those_there_are(base: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        base_of(recipe("teeny"), settings(base, tmp_path))

    assert str(caught.value) == (
        "base: there is no model 'teeny' in the configuration; there are: tiny. A folder is written with a slash: "
        "./my-model"
    )


def test_a_folder_without_weights_is_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"base: .*/none is not a folder"):
        base_of(recipe(str(tmp_path / "none")), settings(base, tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no \*.safetensors"):
        base_of(recipe(str(tmp_path)), settings(base, tmp_path))


def test_weights_that_have_changed_under_a_run_are_noticed(base: Path, tmp_path: Path) -> None:
    note = base_of(recipe(str(base)), settings(base, tmp_path))

    with pytest.raises(UserError, match="has other files than this run was begun with"):
        require_same(note.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(UserError, match="the base of this run is gone"):
        require_same(note.model_copy(update={"folder": tmp_path / "gone"}))


def test_packages_that_are_not_installed_are_named() -> None:
    assert missing_of(["json", "no_such_package"]) == ["no_such_package"]
    require_packages(recipe("tiny"))
