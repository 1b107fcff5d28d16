"""Options that several commands share, and the settings they lead to."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cluster.machine import gigabytes, read_memory
from cluster.settings import Settings
from cluster.settings_file import default_profile, overridden, profile, profile_names, read_settings
from fenzhen.errors import Invocation

DEFAULT_FILE = Path("fenzhen.yaml")

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(command: Command) -> Command:
    """Add `--config PATH` and `--profile NAME`, given as `config` and `profile_name`."""
    names = ", ".join(profile_names())
    command = click.option("--profile", "profile_name", metavar="NAME", help=f"Use a built-in configuration: {names}.")(
        command
    )
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Use this file. [default: ./fenzhen.yaml, else a profile that fits the memory]",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`, given as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(command)


def rows_option(command: Command) -> Command:
    """Add `--rows`, given as `rows_files`."""
    return click.option(
        "--rows",
        "rows_files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Labelled rows, JSON lines; may be given several times. [default: those stored while serving]",
    )(command)


def public_option(command: Command) -> Command:
    """Add `--public`."""
    return click.option(
        "--public", type=click.Path(path_type=Path), metavar="DATA", help="Folder of the public routing sets."
    )(command)


def judge_option(command: Command) -> Command:
    """Add `--judge`."""
    return click.option(
        "--judge", type=click.Path(path_type=Path), metavar="PATH", help="Another judge. [default: the one in use]"
    )(command)


def load(config: Path | None, profile_name: str | None) -> tuple[Settings, str]:
    """The settings to run with, and where they come from. Raises UserError."""
    settings, label = _chosen(config, profile_name)
    settings = overridden(settings, os.environ)
    context = click.get_current_context(silent=True)
    invocation = context.find_object(Invocation) if context else None
    if invocation:
        invocation.state_dir = settings.site.state_dir.expanduser()
    return settings, label


def _chosen(config: Path | None, profile_name: str | None) -> tuple[Settings, str]:
    if config and profile_name:
        raise click.UsageError("--config and --profile exclude each other", click.get_current_context(silent=True))
    if config:
        return read_settings(config), str(config)
    if profile_name:
        return profile(profile_name), f"profile {profile_name}"
    # An empty one does not count: in `fenzhen config > fenzhen.yaml` the shell makes it before we start.
    if DEFAULT_FILE.exists() and (not DEFAULT_FILE.is_file() or DEFAULT_FILE.stat().st_size > 0):
        return read_settings(DEFAULT_FILE), str(DEFAULT_FILE)
    memory_bytes = read_memory(Path("/")).total_bytes
    name = default_profile(memory_bytes)
    return profile(name), f"profile {name}, for {gigabytes(memory_bytes)} of memory"
