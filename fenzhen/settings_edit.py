"""Changes one number in `fenzhen.yaml` and leaves every other byte of it, comments too, as it is."""

import codecs
from pathlib import Path
from typing import Final

import yaml

from cluster.errors import UserError
from cluster.settings import Settings
from cluster.settings_file import parse_settings
from router.learning.files import write_bytes

_KEY: Final = "max_difficulty"


def set_max_difficulty(path: Path, model: str, value: float) -> None:
    """Write a model's `max_difficulty` into the file, whole or not at all. Raises UserError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    before = parse_settings(data, str(path))
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    content = mark + _changed(data.decode("utf-8-sig"), path, model, value).encode()
    # Nothing is taken on trust: what is written says exactly what was meant, or is not written.
    if parse_settings(content, str(path)) != _meant(before, model, value):
        raise UserError(f"{path} is written in a way that cannot be changed safely; {_by_hand(model, value)}")
    write_bytes(path, content)


def _changed(text: str, path: Path, model: str, value: float) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    cards = next(node for key, node in root.value if key.value == "models")
    for card in cards.value:
        keys = {key.value: node for key, node in card.value}
        if keys["name"].value == model:
            # It has no default, so that it is always there.
            node = keys[_KEY]
            if text[node.start_mark.index : node.end_mark.index] != node.value:
                raise UserError(f"{path} takes {_KEY} of {model} from elsewhere; {_by_hand(model, value)}")
            return f"{text[: node.start_mark.index]}{value:g}{text[node.end_mark.index :]}"
    raise UserError(f"{path} has no model {model}")


def _meant(before: Settings, model: str, value: float) -> Settings:
    cards = tuple(
        card.model_copy(update={_KEY: float(f"{value:g}")}) if card.name == model else card for card in before.models
    )
    return before.model_copy(update={"models": cards})


def _by_hand(model: str, value: float) -> str:
    return f"set {_KEY}: {value:g} of {model} by hand"
