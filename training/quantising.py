"""Merged weights in 8 or 4 bit: a smaller folder that is loaded like any other."""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from cluster.errors import OurFault, UserError
from training.base_model import load_base, load_tokenizer
from training.merging import copy_tokenizer, made_whole, save, weights_bytes
from training.rows import Message

Method = Literal["int8", "nf4", "gptq", "awq"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

# 4 bits and one scale for 128 weights: what engines have kernels for.
_BITS: Final = 4
_GROUP_SIZE: Final = 128
MOST_CALIBRATION_ROWS: Final = 256
"""More move nothing: GPTQ's authors took 128 (E. Frantar et al., "GPTQ", 2023), AWQ's as many (J. Lin et al., 2024)."""


def require_method(method: Method) -> None:
    """Raises UserError, with what to install, if a method's library is not there. Nothing is loaded."""
    if method in ("gptq", "awq"):
        # Transformers 5.19 reads both kinds of folders through GPTQModel, GPTQ's through Optimum as well.
        needed = ("gptqmodel", "optimum") if method == "gptq" else ("gptqmodel",)
    else:
        needed = ("bitsandbytes",)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{method} needs {' and '.join(missing)}, which is not installed: pip install {' '.join(missing)}; "
            "nf4 and int8 do without"
        )


def quantise(merged: Path, method: Method, into: Path, calibration: Sequence[Sequence[Message]] = ()) -> Path:
    """Write merged weights in fewer bits. Whole or not at all.

    `calibration`: chats such as it will see, by which GPTQ and AWQ choose what may be lost; the others need none.
    """
    require_method(method)
    with made_whole(into, weights_bytes(merged)) as draft:
        if method == "int8" or method == "nf4":
            save(load_base(merged, quantise=method), draft)
        else:
            _calibrated(merged, method, draft, calibration)
        copy_tokenizer(merged, draft)
        if not any(draft.glob("*.safetensors")):
            raise OurFault(f"{method} has left no weights")
    return into


def _calibrated(merged: Path, method: Method, draft: Path, calibration: Sequence[Sequence[Message]]) -> None:
    if not calibration:
        raise UserError(f"{method} needs rows to calibrate with, and the run has none")
    # By name: it is no dependency of ours, and its types are not known where it is not installed.
    library = importlib.import_module("gptqmodel")
    tokenizer = load_tokenizer(merged)
    texts = [
        tokenizer.apply_chat_template([{"role": each.role, "content": each.content} for each in chat], tokenize=False)
        for chat in calibration[:MOST_CALIBRATION_ROWS]
    ]
    configured = library.GPTQConfig if method == "gptq" else library.AWQConfig
    model = library.GPTQModel.load(str(merged), configured(bits=_BITS, group_size=_GROUP_SIZE))
    # The template has put its marks in already: a second beginning of the text would be one too many.
    rows = [dict(tokenizer(text, add_special_tokens=False)) for text in texts]
    model.quantize(rows, batch_size=1)
    model.save(str(draft))
