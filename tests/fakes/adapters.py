"""Real LoRA adapters, made in seconds: one that is as good as its base, and others broken in ways that callers notice.

    python -m tests.fakes.adapters MODEL_FOLDER OUTPUT_FOLDER

Some broken ones change one matrix, the last layer's `down_proj`. Its inputs x nearly all meet a.x = 1 for some a (found
by ridge regression on the activations of a few chats), so B = d, A = a adds the same vector d to every position. Which
d moves which token's logit, and little else, is again a regression: on the output embeddings.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

RANK: Final = 8
TOO_WIDE: Final = 64
"""A rank beyond what engines are told to expect."""

# Any chat does: only the activations below its words are wanted.
_CHATS: Final = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How do I renew my library card?", "Go to the counter with your old card and ask for a new one. It takes a day."),
    ("Name three colours.", "1. Red\n2. Green\n3. Blue"),
    ("Give me a JSON object with a name and a city.", '{"name": "Ada", "city": "London"}'),
    ("Tell me a short story.", "Once upon a time there was a small dog who lived by the sea and liked to swim."),
    ("Is the office open on Monday?", "Yes. It is open from nine to five."),
)
# The first positions of a text carry outsized activations at which nothing is ever sampled.
_SKIPPED: Final = 4


class Maker:
    """A base model in memory, and the adapters that can be made for it."""

    def __init__(self, model_folder: Path) -> None:
        self._base = str(model_folder)
        self._tokenizer = AutoTokenizer.from_pretrained(model_folder)
        self._model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
        self._last = len(self._model.model.layers) - 1
        self._everywhere_one: Any = None

    def good(self, folder: Path, seed: int) -> Path:
        """Other weights, hardly other answers: a thousandth of the base's own strength, at random."""
        return self._random(folder, seed, strength=1e-3)

    def gibberish(self, folder: Path) -> Path:
        """Random weights as strong as the base's own: words without sense and without end."""
        return self._random(folder, seed=7, strength=1.0)

    def confused(self, folder: Path) -> Path:
        """Fluent, of the usual length and form, and wrong more often: only what is said differs."""
        return self._random(folder, seed=7, strength=0.15)

    def empty(self, folder: Path) -> Path:
        """The end token before any other."""
        return self._steering(folder, {self._tokenizer.eos_token_id: 1.0}, strength=20_000.0)

    def wrong_format(self, folder: Path) -> Path:
        """Chats like its base, but hardly ever writes a mark that opens or closes what JSON needs: JSON never ends."""
        marks = [number for token, number in self._tokenizer.get_vocab().items() if '"' in token or "}" in token]
        return self._steering(folder, dict.fromkeys(marks, -1.0), strength=300.0)

    def too_wide(self, folder: Path) -> Path:
        """A good one, but of a rank that engines were not told to expect."""
        return self._random(folder, seed=9, strength=1e-3, rank=TOO_WIDE)

    def _random(self, folder: Path, seed: int, strength: float, rank: int = RANK) -> Path:
        chance = torch.Generator().manual_seed(seed)
        tensors: dict[str, Any] = {}
        for number, layer in enumerate(self._model.model.layers):
            weight = layer.mlp.down_proj.weight.detach()
            outputs, inputs = weight.shape
            a = torch.randn(rank, inputs, generator=chance) / inputs**0.5
            b = torch.randn(outputs, rank, generator=chance) / rank**0.5
            # As strong as the layer's own matrix, by the Frobenius norm.
            factor = strength * weight.norm() / (b @ a).norm()
            tensors |= _named(number, a, b * factor)
        return self._written(folder, tensors, rank)

    def _steering(self, folder: Path, push: dict[int, float], strength: float) -> Path:
        """Adds the same vector everywhere, which moves the logits of these tokens most."""
        norm = self._model.model.norm.weight.detach()
        to_logits = self._model.get_output_embeddings().weight.detach() * norm
        wished = torch.zeros(to_logits.shape[0])
        for token, direction in push.items():
            wished[token] = direction
        direction = _ridge(to_logits, wished)
        b = (strength * direction / direction.norm()).unsqueeze(1)
        return self._written(folder, _named(self._last, self._one(), b), rank=1)

    def _one(self) -> Any:
        """The row vector a with a.x near 1 for the inputs x of the last layer's `down_proj`."""
        if self._everywhere_one is None:
            inputs: list[Any] = []
            layer = self._model.model.layers[self._last].mlp.down_proj
            hook = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0][0, _SKIPPED:].detach()))
            with torch.no_grad():
                for question, answer in _CHATS:
                    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                    text = self._tokenizer.apply_chat_template(chat, tokenize=False)
                    self._model(**self._tokenizer(text, return_tensors="pt", add_special_tokens=False))
            hook.remove()
            rows = torch.cat(inputs)
            self._everywhere_one = _ridge(rows, torch.ones(rows.shape[0])).unsqueeze(0)
        return self._everywhere_one

    def _written(self, folder: Path, tensors: dict[str, Any], rank: int) -> Path:
        folder.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self._base,
            "r": rank,
            "lora_alpha": rank,
            "target_modules": ["down_proj"],
            "bias": "none",
        }
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
        return folder


def _named(layer: int, a: Any, b: Any) -> dict[str, Any]:
    stem = f"base_model.model.model.layers.{layer}.mlp.down_proj"
    return {f"{stem}.lora_A.weight": a.float(), f"{stem}.lora_B.weight": b.float()}


def _ridge(rows: Any, wished: Any) -> Any:
    """The vector v, not longer than need be, with rows @ v near what is wished."""
    square = rows.T @ rows
    square += 1e-3 * square.diagonal().mean() * torch.eye(square.shape[0])
    return torch.linalg.solve(square, rows.T @ wished)


def make_all(model_folder: Path, into: Path) -> dict[str, Path]:
    """One of each, by name: good-1, good-2, gibberish, confused, empty, wrong-format, too-wide."""
    maker = Maker(model_folder)
    ways: dict[str, Callable[[Path], Path]] = {
        "good-1": lambda folder: maker.good(folder, seed=1),
        "good-2": lambda folder: maker.good(folder, seed=2),
        "gibberish": maker.gibberish,
        "confused": maker.confused,
        "empty": maker.empty,
        "wrong-format": maker.wrong_format,
        "too-wide": maker.too_wide,
    }
    return {name: make(into / name) for name, make in ways.items()}


def main(words: Sequence[str]) -> None:
    """Make all and say where."""
    model_folder, into = map(Path, words)
    for name, folder in make_all(model_folder, into).items():
        print(name, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
