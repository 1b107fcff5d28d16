"""`fenzhen registry gc`: remove what nobody needs, and never what an alias or a rollout does."""

import time
from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from fenzhen.durations import Duration
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.registry_versions import age, size_of
from registry.rollout_store import open_rollouts
from registry.stores import open_versions, versions_dir
from registry.version_cache import VersionCache
from registry.version_gc import Rule
from registry.version_sweep import Found, Sweep, Swept


@click.command()
@config_options
@json_option
@click.option(
    "--keep-last", type=click.IntRange(0), default=3, show_default=True, help="Versions of each name to keep."
)
@click.option("--older-than", type=Duration(3650), default="30d", show_default=True, help="Keep younger versions.")
@click.option(
    "--orphans", type=Duration(3650), default="1d", show_default=True, help="Age of uploads that came to nothing."
)
@click.option("--yes", is_flag=True, help="Remove it. Without this it is only shown.")
def gc(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    keep_last: int,
    older_than: float,
    orphans: float,
    yes: bool,
) -> None:
    """Remove versions that are old and not wanted, uploads that never became a version, and copies on this machine.

    What an alias points to or a rollout needs stays; if the rollouts cannot be asked, all stays.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    rollouts = open_rollouts(settings)
    sweep = Sweep(
        open_versions(settings), rollouts, VersionCache(versions_dir(settings)), Rule(keep_last, older_than), orphans
    )
    try:
        found = sweep.find(time.time())
        swept = sweep.remove(found) if yes else None
    finally:
        rollouts.close()
    output.result(_document(found, swept), _told(found, swept))


def _document(found: Found, swept: Swept | None) -> dict[str, Any]:
    gone = swept or found
    return {
        "is_done": swept is not None,
        "versions": [
            {"name": one.name, "version": one.version, "sha256": one.sha256, "size_bytes": size_of(one)}
            for one in gone.versions
        ],
        "orphans": [{"run_id": one.run_id, "name": one.name, "began_s": one.began_s} for one in gone.orphans],
        "folders": [str(folder) for folder in gone.folders],
        "kept": [
            {"name": one.version.name, "version": one.version.version, "reason": one.reason} for one in found.kept
        ],
        "spared": list(swept.spared) if swept else [],
    }


def _told(found: Found, swept: Swept | None) -> str:
    gone = swept or found
    lines = [f"  {one.name} {one.version}  {decimal(size_of(one))}, {age(one.created_s)} old" for one in gone.versions]
    lines += [f"  an upload of {one.name} that came to nothing, {age(one.began_s)} ago" for one in gone.orphans]
    lines += [f"  the copy {folder}" for folder in gone.folders]
    kept = [f"  {one.version.name} {one.version.version}: {one.reason}" for one in found.kept]
    spared = [f"  {reason}" for reason in swept.spared] if swept else []
    head = "Removed:" if swept else "Would go with --yes:"
    return "\n".join(
        [
            *([head, *lines] if lines else ["Nothing is to be removed."]),
            *(["Kept:", *kept] if kept else []),
            *(["Spared, wanted in the meantime:", *spared] if spared else []),
        ]
    )
