"""`fenzhen models`: what is configured, what is on the disk, and where it comes from."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
from rich.filesize import decimal
from rich.table import Table

from cluster.errors import NotFound, UserError
from cluster.settings import FolderSource, HubSource, Model, Settings, Source
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from registry.digests import folder_sha256
from registry.store import DamagedError, ModelStore, StoredModel

# Enough to recognise a pool by.
_MAX_NAMED = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def models() -> None:
    """List, fetch and verify the models of the configuration."""


@models.command("list")
@config_options
@json_option
def list_models(config: Path | None, profile_name: str | None, as_json: bool) -> None:
    """List the models, what they are trusted with, and whether they are on the disk."""
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    served = {model.name for model in settings.served_models}
    endpoints = {pool.model: pool.endpoints for pool in settings.external_pools}
    rows = []
    with reporter(output.progress) as progress:
        store = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, progress)
        for model in settings.models:
            problem = ""
            try:
                stored = store.find(model)
            except DamagedError as error:
                stored, problem = None, str(error)
            rows.append(
                {
                    "name": model.name,
                    "task": model.task,
                    "languages": list(model.languages),
                    "tools": model.tools,
                    "max_difficulty": model.max_difficulty,
                    "context_tokens": model.context_tokens,
                    "has_pool": model.name in served,
                    "endpoints": list(endpoints.get(model.name, ())),
                    "is_fetched": stored is not None,
                    "folder": str(stored.folder) if stored else None,
                    "size_bytes": stored.size_bytes if stored else None,
                    "problem": problem,
                    "origin": stored.origin if stored else _origin(model, endpoints.get(model.name, ())),
                }
            )
    table = Table(box=None, pad_edge=False)
    for title in ("model", "speaks", "up to difficulty", "context", "on disk", "weights"):
        table.add_column(title, overflow="fold", no_wrap=title == "model")
    for model, row in zip(settings.models, rows, strict=True):
        size = (
            decimal(row["size_bytes"]) if isinstance(row["size_bytes"], int)
            else "damaged" if row["problem"] else "no" if model.sources else "not needed"
        )  # fmt: skip
        table.add_row(
            model.name, ", ".join(model.languages), f"{model.max_difficulty:g}", f"{model.context_tokens:,}", size,
            str(row["origin"]),
        )  # fmt: skip
    output.result(rows, table)


@models.command()
@config_options
@click.argument("names", nargs=-1)
def fetch(config: Path | None, profile_name: str | None, names: tuple[str, ...]) -> None:
    """Fetch models by NAME, or all that engines on this machine serve."""
    for stored, say in _each(config, profile_name, names, ModelStore.fetch):
        say(f"{stored.model}: {stored.origin}\n  {stored.folder} ({decimal(stored.size_bytes)})")


@models.command()
@config_options
@click.argument("names", nargs=-1)
def verify(config: Path | None, profile_name: str | None, names: tuple[str, ...]) -> None:
    """Hash every file of the models anew and compare. Names as for `fetch`."""
    for stored, say in _each(config, profile_name, names, ModelStore.verify):
        say(f"{stored.model}: as fetched, sha256 {stored.sha256}")


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def digest(folder: Path) -> None:
    """Print the digest of a FOLDER, for a source of kind `folder`."""
    click.echo(folder_sha256(folder))


def _each(
    config: Path | None,
    profile_name: str | None,
    names: tuple[str, ...],
    do: Callable[[ModelStore, Model], StoredModel],
) -> Iterator[tuple[StoredModel, Callable[[str], None]]]:
    """Do something to each of the named models, with a progress bar; gives what became of it and a way to say so."""
    settings, _ = load(config, profile_name)
    output = Output()
    for model in _named(settings, names):
        with reporter(output.progress) as progress:
            stored = do(ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, progress), model)
        yield stored, output.say


def _named(settings: Settings, names: tuple[str, ...]) -> list[Model]:
    if not names:
        return list(settings.engine_models)
    known = {model.name: model for model in settings.models}
    for name in names:
        if name not in known:
            raise NotFound(f"there is no model {name!r} in the configuration; there are: {', '.join(known)}")
        if not known[name].sources:
            raise UserError(f"{name} has no sources: its pool has endpoints, servers that have the weights already")
    return [known[name] for name in names]


def _origin(model: Model, endpoints: Sequence[str]) -> str:
    """Where the weights would come from, or where they are already."""
    if endpoints:
        more = f" and {len(endpoints) - _MAX_NAMED} more" if len(endpoints) > _MAX_NAMED else ""
        return f"at {', '.join(endpoints[:_MAX_NAMED])}{more}, which run already"
    return " or ".join(_source_line(source) for source in model.sources)


def _source_line(source: Source) -> str:
    if isinstance(source, HubSource):
        return f"{source.repository} at {source.revision[:7]} from the hub"
    if isinstance(source, FolderSource):
        return f"folder {source.path}"
    return f"{source.weights} from {len(source.packages)} packages"
