"""`fenzhen config`: the configuration in effect, as YAML."""

from pathlib import Path

import click

from cluster.settings_file import as_yaml
from fenzhen.options import config_options, load


@click.command()
@config_options
def config(config: Path | None, profile_name: str | None) -> None:
    """Print the configuration in effect, defaults written out.

    `fenzhen config > fenzhen.yaml` makes a file to change; the next command in this folder reads it.
    """
    settings, label = load(config, profile_name)
    click.echo(f"# Made from {label}.\n{as_yaml(settings)}", nl=False)
