"""What a folder with LoRA weights says of itself, read without loading it."""

import json
import math
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.errors import UserError

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
# safetensors' own limit for a header; beyond it a length is a sign of damage.
_MAX_HEADER_BYTES: Final = 100_000_000
_ITEM_BYTES: Final = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1}


class AdapterFacts(NamedTuple):
    """What decides where an adapter can be loaded."""

    rank: int
    """The largest of its layers: an engine is started for ranks up to one."""
    base_model: str
    """As its maker named it; empty if it does not say."""


def read_adapter(folder: Path) -> AdapterFacts:
    """Check that a folder holds LoRA weights that can be loaded. Raises UserError with what to mend."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{folder} has no {name}: it is not a LoRA adapter as PEFT saves one")
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UserError(f'{path} does not say "peft_type": "LORA"; other kinds of adapters cannot be loaded')
    pattern = config.get("rank_pattern") or {}
    if not isinstance(pattern, dict):
        raise UserError(f"{path}: rank_pattern must be an object of layers and ranks")
    ranks = [config.get("r"), *pattern.values()]
    if not all(_is_rank(rank) for rank in ranks):
        raise UserError(f"{path}: r, the rank, must be a whole number from 1, got {_wrong(ranks)!r}")
    _require_tensors(folder / WEIGHTS_FILE)
    return AdapterFacts(max(ranks), str(config.get("base_model_name_or_path") or ""))


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _wrong(ranks: list[object]) -> object:
    return next(rank for rank in ranks if not _is_rank(rank))


def _require_tensors(path: Path) -> None:
    """Check a safetensors file against its own header: a download that was cut off is noticed."""
    tensors, data_bytes = _header(path)
    ends = [0]
    for name, tensor in tensors.items():
        try:
            begin, end = tensor["data_offsets"]
            expected_bytes = math.prod(tensor["shape"]) * _ITEM_BYTES.get(tensor["dtype"], 0)
            is_sound = 0 <= begin <= end and (not expected_bytes or end - begin == expected_bytes)
        except (KeyError, TypeError, ValueError):
            is_sound, end = False, 0
        if not is_sound:
            raise UserError(f"{path} is damaged: what it says of {name} does not hold")
        ends.append(end)
    if not tensors:
        raise UserError(f"{path} holds no weights")
    if max(ends) != data_bytes:
        raise UserError(f"{path} is damaged: {data_bytes:,} bytes of weights where {max(ends):,} are announced")


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size_bytes = path.stat().st_size
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size_bytes - 8):
            raise UserError(f"{path} is not a safetensors file, or it was cut off")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise UserError(f"{path} is not a safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise UserError(f"{path} is not a safetensors file: its header is not an object")
    header.pop("__metadata__", None)
    return header, size_bytes - 8 - length
