"""`docs/configuration.md`, made from the settings themselves, so that the two cannot disagree."""

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cluster.feedback_settings import Feedback
from cluster.release_settings import DriftSettings, Registry, Rollouts, Thresholds
from cluster.settings import (
    ExternalPool,
    FolderSource,
    HubSource,
    Judging,
    Model,
    Package,
    PackageSource,
    Pool,
    Router,
    Settings,
    Site,
)

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", Settings),
    ("models: one model", Model),
    ("models, sources: a hub", HubSource),
    ("models, sources: packages", PackageSource),
    ("models, sources, packages: one package", Package),
    ("models, sources: a folder", FolderSource),
    ("pools: one pool", Pool),
    ("pools: one pool of servers that run already", ExternalPool),
    ("router", Router),
    ("judging", Judging),
    ("registry", Registry),
    ("rollouts", Rollouts),
    ("rollouts, judge", Thresholds),
    ("rollouts, drift", DriftSettings),
    ("feedback", Feedback),
    ("site", Site),
)
# Longer numbers are read more easily in groups of three; a port is not such a number.
_LONG = 10_000
_HEAD = """# Configuration

One file, `fenzhen.yaml`; without one, the profile that fits the memory. `fenzhen config` prints the one in effect to
start from. Every key is checked: one that does not exist is refused with its line and the nearest right one. Units
stand in the names. Only secrets and ports may come from the environment.

This page is made from the settings by `make docs`.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(section_of(title, section) for title, section in _SECTIONS)])


def section_of(title: str, section: type[BaseModel]) -> str:
    """The keys of one section as a table."""
    about = (section.__doc__ or "").strip().splitlines()[0]
    lines = [f"## {title}", about, "", "| key | default | limits | meaning |", "| --- | --- | --- | --- |"]
    for name, info in section.model_fields.items():
        lines.append(f"| `{name}` | {default_of(info)} | {limits_of(info)} | {_escaped(info.description or '')} |")
    return "\n".join(lines) + "\n"


def default_of(info: FieldInfo) -> str:
    """A key's default as one writes it."""
    if info.is_required():
        return "needed"
    value: Any = info.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        return "see below"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}`"
    if isinstance(value, Path):
        # As it is written, whatever home the page is made in.
        return f"`{str(value).replace(str(Path.home()), '~')}`"
    if isinstance(value, int | float):
        return f"{value:,}" if value >= _LONG else f"{value}"
    return f"`{value}`"


def limits_of(info: FieldInfo) -> str:
    """What a key's value has to be like."""
    words = []
    choices = get_args(info.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        words.append(" or ".join(f"`{choice}`" for choice in choices))
    for rule in info.metadata:
        for attribute, sign in (("gt", "over"), ("ge", "at least"), ("lt", "under"), ("le", "at most")):
            bound = getattr(rule, attribute, None)
            if bound is not None:
                words.append(f"{sign} {bound:,}" if bound >= _LONG else f"{sign} {bound}")
    return ", ".join(words)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
