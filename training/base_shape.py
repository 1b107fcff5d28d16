"""How large a base is, layer by layer, from its files' headers: nothing is loaded."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import UserError
from training.base_model import shapes_of


@dataclass(frozen=True, slots=True)
class BaseShape:
    """What a base's files say of it."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    linear: Mapping[str, tuple[int, int]]
    """Layers that LoRA can adapt: outer and inner size by name. Neither embeddings nor the output layer."""


def shape_of(base: Path) -> BaseShape:
    """The sizes of a base, from its configuration and the headers of its weights. Raises UserError."""
    try:
        config = json.loads((base / "config.json").read_bytes())
        config = config.get("text_config", config)
        shapes = shapes_of(base)
        linear = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if _is_linear(name, shape)}
        hidden = int(config["hidden_size"])
        return BaseShape(
            parameters=sum(math.prod(shape) for shape in shapes.values()),
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config.get("intermediate_size", 4 * hidden)),
            vocabulary=int(config["vocab_size"]),
            linear={name: (shape[0], shape[1]) for name, shape in linear.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise UserError(f"{base}/config.json does not describe a language model: {reason}") from error


def adapted_layers(shape: BaseShape, targets: str | Sequence[str], base: Path) -> list[tuple[int, int]]:
    """Outer and inner size of each layer that gets an adapter. Raises UserError for a name that no layer has."""
    if isinstance(targets, str):
        return list(shape.linear.values())
    known = {name.rpartition(".")[2] for name in shape.linear}
    for target in targets:
        if not any(_is_called(name, target) for name in shape.linear):
            names = ", ".join(sorted(known))
            raise UserError(f"lora.targets: no layer of {base} is called {target}; there are {names}")
    return [size for name, size in shape.linear.items() if any(_is_called(name, target) for target in targets)]


def _is_called(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _is_linear(name: str, shape: Sequence[int]) -> bool:
    outside = ("embed", "lm_head", "wte", "wpe", "norm")
    return len(shape) == 2 and name.endswith(".weight") and not any(word in name for word in outside)
