"""The folder that training makes: what an engine loads, and what a version is made of. Whole or not there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from registry.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from training.checkpoints import put_in_place

FACTS_FILE: Final = "training.json"
"""How it was trained; the engine does not read it."""


def write_weights(state: Mapping[str, Any], folder: Path) -> None:
    """Adapter weights as PEFT names them."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def read_weights(folder: Path) -> dict[str, Any]:
    """What `write_weights` wrote."""
    from safetensors.torch import load_file

    state: dict[str, Any] = load_file(folder / WEIGHTS_FILE)
    return state


def write_adapter(
    state: Mapping[str, Any], config: Any, tokenizer: Any, base_name: str, facts: Mapping[str, Any], folder: Path
) -> None:
    """Write all of it beside its place, then put it there."""
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_weights(state, partial)
    (partial / CONFIG_FILE).write_text(json.dumps(_for_engines(config, base_name), indent=1), encoding="utf-8")
    tokenizer.save_pretrained(partial)
    (partial / FACTS_FILE).write_text(json.dumps(dict(facts), indent=1), encoding="utf-8")
    put_in_place(partial, folder)


def _for_engines(config: Any, base_name: str) -> dict[str, Any]:
    """PEFT's configuration, as it is used from now on: not trained, so nothing is dropped at random."""
    said = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    said |= {"base_model_name_or_path": base_name, "inference_mode": True, "lora_dropout": 0.0}
    return dict(sorted(said.items()))
