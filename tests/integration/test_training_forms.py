"""Merged and quantised: the same answers as base and adapter, folders that load again, each measured by itself."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import UserError
from tests.fakes.tiny_lm import make_tiny_lm
from tests.fakes.training_runs import make_adapter
from training.base_model import adapted, load_base, load_tokenizer
from training.merging import merge, stored_dtype
from training.quantising import Method, quantise, require_method
from training.rows import Message

CHATS = [
    (Message("user", f"How do I renew card {number}?"), Message("assistant", "At the counter.")) for number in range(4)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_lm(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("adapters") / "one", strength=0.3)


@pytest.fixture(scope="module")
def merged(base: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merge(base, adapter, tmp_path_factory.mktemp("forms") / "merged")


def logits(model: Any) -> Any:
    import torch

    torch.manual_seed(3)
    tokens = torch.randint(0, 250, (3, 40))
    with torch.no_grad():
        return model.eval()(tokens).logits.float()


def test_merged_weights_answer_as_base_and_adapter_do(base: Path, adapter: Path, merged: Path) -> None:
    wanted = logits(adapted(load_base(base, "float32"), adapter))
    found = logits(load_base(merged, "float32"))
    plain = logits(load_base(base, "float32"))
    assert (found - wanted).abs().max() < 1e-4
    assert (plain - wanted).abs().max() > 0.1


@pytest.mark.parametrize(("dtype", "most_off"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_a_base_of_fewer_bits_stays_so_and_is_rounded_once(
    base: Path, adapter: Path, tmp_path: Path, dtype: str, most_off: float
) -> None:
    half = tmp_path / "half"
    model = load_base(base, "float32")
    (model.half() if dtype == "float16" else model.bfloat16()).save_pretrained(half)
    load_tokenizer(base).save_pretrained(half)
    merged = merge(half, adapter, tmp_path / "merged")
    assert stored_dtype(merged) == dtype
    wanted = logits(adapted(load_base(half, "float32"), adapter))
    assert (logits(load_base(merged, "float32")) - wanted).abs().max() < most_off


def test_what_is_merged_has_the_tokenizer_and_the_template_and_no_folder_of_ours(base: Path, merged: Path) -> None:
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()
    for path in merged.iterdir():
        if path.suffix != ".safetensors":
            assert str(base) not in path.read_text("utf-8"), path.name
    config = json.loads((merged / "config.json").read_text())
    assert "quantization_config" not in config


def test_nothing_half_merged_is_left_and_what_a_kill_left_is_taken_away(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    draft = tmp_path / ".partial-merged"
    draft.mkdir()
    (draft / "model.safetensors").write_bytes(b"half")
    merge(base, adapter, tmp_path / "merged")
    assert not draft.exists()
    assert load_base(tmp_path / "merged", "float32") is not None
    with pytest.raises(UserError, match="exists"):
        merge(base, adapter, tmp_path / "merged")


def test_an_adapter_of_another_base_is_told_and_leaves_nothing(adapter: Path, tmp_path: Path) -> None:
    other = make_tiny_lm(tmp_path / "wide", hidden=128)
    with pytest.raises(UserError, match="cannot be merged"):
        merge(other, adapter, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wide"]


@pytest.mark.parametrize(("method", "most_off"), [("nf4", 0.5), ("int8", 0.15)])
def test_quantised_folders_load_again_and_answer_nearly_the_same(
    merged: Path, tmp_path: Path, method: Method, most_off: float
) -> None:
    folder = quantise(merged, method, tmp_path / method)
    model = load_base(folder, "float32")
    kinds = {type(module).__name__ for module in model.modules()}
    assert ("Linear4bit" if method == "nf4" else "Linear8bitLt") in kinds
    off = (logits(model) - logits(load_base(merged, "float32"))).abs()
    assert 0 < off.mean() < most_off
    size = (folder / "model.safetensors").stat().st_size
    assert size < 0.7 * (merged / "model.safetensors").stat().st_size
    assert load_tokenizer(folder).chat_template


# GPTQ and AWQ: the library is none of ours, so a small one in its place says what it is asked.


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_without_its_library_a_method_says_what_to_install(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(
        sys, "meta_path", [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    )
    with pytest.raises(UserError, match="pip install gptqmodel"):
        require_method(method)


@pytest.fixture
def gptqmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of that name with the three names that we use of it; what it was asked lies in `asked.json`."""
    folder = tmp_path / "packages"
    for name in ("gptqmodel", "optimum"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    (folder / "gptqmodel" / "__init__.py").write_text(
        """
import json, pathlib, shutil
class GPTQConfig(dict): method = "gptq"
class AWQConfig(dict): method = "awq"
class GPTQModel:
    @classmethod
    def load(cls, folder, config):
        self = cls()
        self.folder, self.config = pathlib.Path(folder), config
        return self
    def quantize(self, rows, batch_size):
        self.rows = rows
    def save(self, folder):
        folder = pathlib.Path(folder)
        shutil.copyfile(self.folder / "model.safetensors", folder / "model.safetensors")
        shutil.copyfile(self.folder / "config.json", folder / "config.json")
        asked = {"method": self.config.method, **self.config, "rows": [list(row["input_ids"]) for row in self.rows]}
        (folder / "asked.json").write_text(json.dumps(asked))
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("gptqmodel", "optimum")]:
        monkeypatch.delitem(sys.modules, name)
    yield folder
    sys.modules.pop("gptqmodel", None)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_calibrated_methods_see_chats_as_they_will_be_asked(
    merged: Path, gptqmodel: Path, tmp_path: Path, method: Method
) -> None:
    folder = quantise(merged, method, tmp_path / method, CHATS)
    asked = json.loads((folder / "asked.json").read_text())
    assert (asked["method"], asked["bits"], asked["group_size"]) == (method, 4, 128)
    tokenizer = load_tokenizer(merged)
    said = tokenizer.decode(asked["rows"][0])
    assert said.startswith("<|im_start|>user\nHow do I renew card 0?<|im_end|>")
    assert len(asked["rows"]) == len(CHATS)


def test_calibrated_methods_need_rows(merged: Path, gptqmodel: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs rows"):
        quantise(merged, "gptq", tmp_path / "gptq")
    assert not (tmp_path / "gptq").exists()
