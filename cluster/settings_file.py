"""`fenzhen.yaml` and the built-in profiles, read into `Settings`.

Whatever is wrong comes as one `UserError` with a sentence a line: file, line, key, and what to write instead.
"""

import importlib.resources
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from cluster.errors import NotFound, UserError
from cluster.feedback_settings import URI_VARIABLE
from cluster.settings import Settings
from cluster.settings_errors import sentences
from cluster.store_uri import database_uri_of, tracking_uri_of
from cluster.yaml_nodes import MAX_BYTES, read_yaml

_SECRET_URIS = (
    ("FENZHEN_TRACKING_URI", "registry", "tracking_uri", tracking_uri_of),
    ("FENZHEN_ROLLOUTS_URI", "registry", "rollouts_uri", database_uri_of),
    (URI_VARIABLE, "feedback", "uri", database_uri_of),
)
# Under it the pair of 0.5B and 1.5B models (11.9 GB in all) leaves too little for Ray, the router and the desktop.
QWEN_MEMORY_BYTES = 16_000_000_000


def read_settings(path: Path) -> Settings:
    """The settings in a file. Raises UserError if it cannot be read or is wrong."""
    try:
        with path.open("rb") as file:
            # One byte over the limit is enough to know; a device file would otherwise never end.
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; `fenzhen config > {path}` writes one to start from") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return parse_settings(data, str(path))


def parse_settings(data: bytes, label: str) -> Settings:
    """The settings in YAML text that messages call `label`. Raises UserError."""
    document = read_yaml(data, label)
    try:
        return Settings.model_validate(document.value)
    except ValidationError as error:
        raise UserError("\n".join(sentences(error, document))) from error


def profile_names() -> tuple[str, ...]:
    """The built-in profiles, sorted."""
    folder = importlib.resources.files("cluster") / "profiles"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def profile(name: str) -> Settings:
    """A built-in profile's settings. Raises NotFound."""
    if name not in profile_names():
        raise NotFound(f"there is no profile {name!r}; choose one of {', '.join(profile_names())}")
    text = (importlib.resources.files("cluster") / "profiles" / f"{name}.yaml").read_bytes()
    return parse_settings(text, f"profile {name}")


def default_profile(memory_bytes: int) -> str:
    """The profile for a machine with this much memory in all."""
    return "qwen" if memory_bytes >= QWEN_MEMORY_BYTES else "tiny"


def overridden(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with what the environment may change. Empty counts as not set. Raises UserError.

    `FENZHEN_PORT`, and the addresses that may hold a password: `FENZHEN_TRACKING_URI`, `FENZHEN_ROLLOUTS_URI` and
    `FENZHEN_FEEDBACK_URI`.
    """
    if text := environ.get("FENZHEN_PORT", ""):
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
            raise UserError(f"FENZHEN_PORT must be a port between 1 and 65535, got {text!r}")
        settings = settings.model_copy(update={"router": settings.router.model_copy(update={"port": int(text)})})
    for variable, section, key, check in _SECRET_URIS:
        if text := environ.get(variable, ""):
            try:
                uri = check(text)
            except ValueError as error:
                raise UserError(f"{variable}: {error}") from error
            changed = getattr(settings, section).model_copy(update={key: uri})
            settings = settings.model_copy(update={section: changed})
    if (settings.registry.tracking_uri or "").startswith("http") and settings.registry.artifacts:
        raise UserError(
            "FENZHEN_TRACKING_URI is an MLflow server, which decides by itself where files go: take registry.artifacts "
            "out of the configuration"
        )
    return settings


def as_yaml(settings: Settings) -> str:
    """The settings, defaults written out, as YAML that `parse_settings` reads back to an equal value.

    Passwords, which only the environment can bring, are left out.
    """
    plain = settings.model_dump(mode="json")
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
