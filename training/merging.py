"""An adapter becomes part of its base: one folder that engines load as it is."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cluster.errors import UserError
from registry.adapter_files import read_adapter
from registry.disk import publish, require_room
from training.base_model import adapted, load_base

_TOKENIZER_FILES: Final = (
    "tokenizer_config.json", "tokenizer.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip


def merge(base: Path, adapter: Path, into: Path) -> Path:
    """Write the base with the adapter added to its weights, tokenizer and template with it. Whole or not at all.

    The base is taken as it lies on the disk, whatever it was quantised to while the adapter was trained: an adapter
    fits the weights that engines serve, and 4 bits cannot hold the sum.
    """
    read_adapter(adapter)
    stored = stored_dtype(base)
    with made_whole(into, weights_bytes(base)) as draft:
        # Sums in bfloat16 are rounded once, as the base's own weights were; other types are added in full.
        model = load_base(base, "bfloat16" if stored == "bfloat16" else "float32", device="cpu")
        merged = _sum(model, adapter)
        save(merged.half() if stored == "float16" else merged, draft)
        copy_tokenizer(adapter if (adapter / _TOKENIZER_FILES[0]).is_file() else base, draft)
    return into


@contextmanager
def made_whole(into: Path, needed_bytes: int) -> Iterator[Path]:
    """An empty folder beside the one that is to be made, which it becomes if all goes well. Raises UserError."""
    if into.exists():
        raise UserError(f"{into} exists; take it away to have it made anew")
    into.parent.mkdir(parents=True, exist_ok=True)
    require_room(into.parent, needed_bytes, "the folder of the run")
    draft = into.with_name(f".partial-{into.name}")
    # Of a life that was killed.
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        publish(draft, into)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def save(model: Any, folder: Path) -> None:
    """Write a model's weights as engines load them."""
    # Where it was loaded from is nobody's business.
    model.config._name_or_path = ""
    model.save_pretrained(folder)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Words, marks and the template exactly as they were trained with."""
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def stored_dtype(base: Path) -> str:
    """The number type in which a folder's weights say they are kept: `bfloat16`, `float16`, `float32`."""
    try:
        config = json.loads((base / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{base / 'config.json'} cannot be read as JSON") from error
    # Transformers 4 wrote `torch_dtype`.
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def _sum(model: Any, adapter: Path) -> Any:
    try:
        return adapted(model, adapter).merge_and_unload(safe_merge=True)
    except ValueError as error:
        # PEFT's words for weights that are no numbers, and for names of layers that the base does not have.
        raise UserError(f"the adapter cannot be merged: {_first_line(error)}") from error
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise UserError("the adapter cannot be merged: it was trained on a base of another size") from error


def weights_bytes(base: Path) -> int:
    """What a folder's weights take on the disk."""
    return sum(path.stat().st_size for path in base.glob("*.safetensors"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:200]
