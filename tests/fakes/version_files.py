"""Files that pass for a version's: an adapter of a few bytes, a prompt, a judge."""

import json
from pathlib import Path


def adapter_folder(folder: Path, rank: int = 8, fill: bytes = b"\1", base: str = "qwen") -> Path:
    """A LoRA adapter as PEFT saves one, of one tiny matrix pair."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(rank, fill))
    return folder


def safetensors(rank: int = 8, fill: bytes = b"\1") -> bytes:
    """A safetensors file with two matrices."""
    size = rank * 4 * 2
    header = {
        name: {"dtype": "BF16", "shape": [rank, 4], "data_offsets": [place * size, (place + 1) * size]}
        for place, name in enumerate(("layer.lora_A.weight", "layer.lora_B.weight"))
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return len(text).to_bytes(8, "little") + text + fill * (2 * size)


def prompt_file(path: Path, text: str = "Answer in one sentence.") -> Path:
    """A prompt."""
    path.write_text(text, encoding="utf-8")
    return path
