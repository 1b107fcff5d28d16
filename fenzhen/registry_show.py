"""`fenzhen registry show`: one version, with all that is known of it."""

from pathlib import Path

import click

from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.registry_versions import document_of, find, lines_of
from registry.stores import open_versions


@click.command()
@config_options
@json_option
@click.argument("name")
@click.argument("which", metavar="[VERSION|@ALIAS]", required=False)
def show(config: Path | None, profile_name: str | None, as_json: bool, name: str, which: str | None) -> None:
    """Show a version of NAME: its files, where it comes from, its results and gates.

    Give a number, @stable, @canary or @previous; without one the newest is shown.
    """
    settings, _ = load(config, profile_name)
    version = find(open_versions(settings), name, which)
    Output(as_json).result(document_of(version), lines_of(version))
