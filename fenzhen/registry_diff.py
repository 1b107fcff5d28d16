"""`fenzhen registry diff`: two versions side by side."""

import json
from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from cluster.errors import OurFault
from cluster.settings import Settings
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from fenzhen.registry_versions import document_of, find
from registry.adapter_files import CONFIG_FILE
from registry.progress import Progress
from registry.stores import open_versions, versions_dir
from registry.version_diff import Difference, TextChange, config_changes, difference_of, text_difference
from registry.versions import Version


@click.command()
@config_options
@json_option
@click.argument("name")
@click.argument("old")
@click.argument("new")
def diff(config: Path | None, profile_name: str | None, as_json: bool, name: str, old: str, new: str) -> None:
    """Compare two versions of NAME, each a number or @stable, @canary, @previous.

    Tells files, results, where they come from and gates; of prompts also the texts, of adapters the configurations.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    store = open_versions(settings)
    before, after = find(store, name, old), find(store, name, new)
    difference = difference_of(before, after)
    text = ""
    changes: tuple[TextChange, ...] = ()
    with reporter(output.progress) as progress:
        if before.kind == after.kind == "prompt":
            one, other = (_read(settings, progress, version, version.files[0].path) for version in (before, after))
            text = text_difference(before, one, after, other)
        elif before.kind == after.kind == "adapter" and any(one.path == CONFIG_FILE for one in difference.files):
            configs = [_parsed(_read(settings, progress, version, CONFIG_FILE)) for version in (before, after)]
            changes = config_changes(configs[0], configs[1])
    output.result(_document(difference, text, changes), _told(difference, text, changes))


def _read(settings: Settings, progress: Progress, version: Version, path: str) -> str:
    """One file's text; all of the version is fetched and verified for it, and kept for a rollout."""
    folder = open_versions(settings, progress).fetch(version, versions_dir(settings))
    return (folder / path).read_text(encoding="utf-8")


def _parsed(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise OurFault(f"{CONFIG_FILE} cannot be read: {error}") from error
    return config if isinstance(config, dict) else {}


def _document(difference: Difference, text: str, changes: tuple[TextChange, ...]) -> dict[str, Any]:
    return {
        "old": document_of(difference.old),
        "new": document_of(difference.new),
        "files": [
            {"path": one.path, "old_bytes": one.old_bytes, "new_bytes": one.new_bytes} for one in difference.files
        ],
        "same_files": difference.same_files,
        "results": [
            {"metric": one.metric, "old": one.old, "new": one.new, "difference": one.difference}
            for one in difference.results
        ],
        "properties": [{"what": one.what, "old": one.old, "new": one.new} for one in difference.properties],
        "adapter_config": [{"what": one.what, "old": one.old, "new": one.new} for one in changes],
        "text": text,
    }


def _told(difference: Difference, text: str, changes: tuple[TextChange, ...]) -> str:
    old, new = difference.old, difference.new
    lines = [f"{old.name}: version {old.version} ({old.sha256[:8]}) and version {new.version} ({new.sha256[:8]})"]
    for one in difference.files:
        if one.old_bytes is None or one.new_bytes is None:
            what, size = ("added", one.new_bytes) if one.old_bytes is None else ("removed", one.old_bytes)
            lines.append(f"  {what:<8} {one.path} ({decimal(size or 0)})")
        else:
            lines.append(f"  changed  {one.path} ({decimal(one.old_bytes)}, now {decimal(one.new_bytes)})")
    lines.append(f"  {difference.same_files} files are the same" if difference.files else "  all files are the same")
    for row in difference.results:
        gap = "" if row.difference is None else f"  {row.difference:+g}"
        lines.append(f"  result   {row.metric}: {_number(row.old)} -> {_number(row.new)}{gap}")
    lines += [
        f"  {change.what}: {change.old or 'not said'} -> {change.new or 'not said'}"
        for change in (*difference.properties, *changes)
    ]
    return "\n".join([*lines, *([text] if text else [])])


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
