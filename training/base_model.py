"""The one owner of loading: a base model, its tokenizer, and what can be said of it without loading."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from cluster.errors import UserError
from training.rows import Message

Dtype = Literal["auto", "bfloat16", "float32"]
Quantise = Literal["none", "nf4", "int8"]

# safetensors' own limit for a header; beyond it a length is a sign of damage.
_MAX_HEADER_BYTES: Final = 100_000_000


def load_base(
    base: Path,
    dtype: Dtype = "auto",
    quantise: Quantise = "none",
    device: str | None = None,
    *,
    shared_by: int = 1,
) -> Any:
    """The base's weights, ready to be trained on or asked; on `device`, or on the GPU if there is one.

    `shared_by` workers of torch.distributed hold a part each, by FSDP: none ever has all of them in its memory.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils.logging import disable_progress_bar

    _require(base)
    # A bar of its own would tear up ours.
    disable_progress_bar()
    hush_bitsandbytes()
    number_type = resolved_dtype(dtype)
    device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    quantisation = None
    if quantise == "nf4":
        quantisation = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=number_type,
        )
    elif quantise == "int8":
        quantisation = BitsAndBytesConfig(load_in_8bit=True)
    place: dict[str, Any] = {"device_map": {"": device}}
    if shared_by > 1:
        from transformers.distributed import DistributedConfig

        place = {"distributed_config": DistributedConfig(fsdp_size=shared_by)}
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=number_type,
        # None, said aloud, would hide what a folder of quantised weights says of itself.
        **({"quantization_config": quantisation} if quantisation else {}),
        **place,
        attn_implementation="sdpa",
        local_files_only=True,
    )
    _keep_gradients(model)
    return model


def hush_bitsandbytes() -> None:
    """On import it asks, in a warning, for kernels from a hub; its own serve. PEFT imports it."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _keep_gradients(model: Any) -> None:
    """Keep bitsandbytes 0.50 from repacking 4-bit weights for AVX512-BF16 processors: gradients would pass them by."""
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False


def resolved_dtype(dtype: Dtype) -> Any:
    """The number type to calculate in. `auto`: bfloat16 where the GPU, or else the processor, calculates in it."""
    import torch

    if dtype != "auto":
        return getattr(torch, dtype)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def load_tokenizer(base: Path) -> Any:
    """The base's tokenizer, with its chat template and something to pad with."""
    from transformers import AutoTokenizer

    _require(base)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    if not tokenizer.chat_template:
        raise UserError(f"{base} has no chat template: take a base that was made for chats")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def token_counter(base: Path) -> Callable[[Sequence[Message]], int]:
    """Counts a chat's tokens as the base sees them: its template's marks included."""
    tokenizer = load_tokenizer(base)

    def count(messages: Sequence[Message]) -> int:
        chat = [{"role": each.role, "content": each.content} for each in messages]
        return len(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"])

    return count


def adapted(model: Any, adapter: Path) -> Any:
    """The base with an adapter on it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter))


def parameters_of(base: Path) -> int:
    """How many parameters the weights have, from the headers of the files: nothing is loaded."""
    return sum(math.prod(shape) for shape in shapes_of(base).values())


def shapes_of(base: Path) -> Mapping[str, Sequence[int]]:
    """The shape of each weight by its name, from the headers of the files."""
    _require(base)
    found: dict[str, Sequence[int]] = {}
    for path in sorted(base.glob("*.safetensors")):
        found.update(_shapes(path))
    return found


def _shapes(path: Path) -> Mapping[str, Sequence[int]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _MAX_HEADER_BYTES:
            raise UserError(f"{path} is not a safetensors file, or it was cut off")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise UserError(f"{path} is not a safetensors file: its header is not JSON") from error
    header.pop("__metadata__", None)
    return {name: tensor["shape"] for name, tensor in header.items()}


def _require(base: Path) -> None:
    if not (base / "config.json").is_file():
        raise UserError(f"{base} has no config.json: a base is a folder with a model as transformers saves one")
    if not any(base.glob("*.safetensors")):
        raise UserError(f"{base} holds no weights (*.safetensors)")
