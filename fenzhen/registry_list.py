"""`fenzhen registry list`: all versions, a line each."""

from pathlib import Path

import click
from rich.table import Table

from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.registry_versions import age, document_of
from registry.stores import open_versions
from registry.version_tags import gate_verdict


@click.command("list")
@config_options
@json_option
@click.argument("name", required=False)
def list_versions(config: Path | None, profile_name: str | None, as_json: bool, name: str | None) -> None:
    """List the versions of NAME, or of all names."""
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    versions = open_versions(settings).versions(name)
    table = Table(box=None, pad_edge=False)
    for title in ("name", "version", "kind", "served by", "aliases", "digest", "age", "gates"):
        table.add_column(title, no_wrap=title in ("name", "version", "digest", "age"), overflow="fold")
    for version in versions:
        table.add_row(
            version.name, str(version.version), version.kind, version.serves or "-",
            ", ".join(version.aliases) or "-", version.sha256[:8], age(version.created_s),
            gate_verdict(version.gates) or "none",
        )  # fmt: skip
    about = f"of {name} " if name else ""
    empty = f"There are no versions {about}yet; `fenzhen registry register` keeps one."
    output.result([document_of(version) for version in versions], table if versions else empty)
