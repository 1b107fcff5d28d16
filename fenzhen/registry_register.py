"""`fenzhen registry register`: files become the next version of a name."""

import json
import subprocess
from pathlib import Path
from typing import get_args

import click

from cluster.errors import UserError
from cluster.settings import Settings
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from fenzhen.registry_versions import document_of, lines_of
from registry.adapter_files import read_adapter
from registry.stores import open_versions
from registry.version_gates import gate_of, result_of
from registry.versions import Draft, Kind, Lineage

_GIT_S = 5.0


@click.command()
@config_options
@json_option
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(get_args(Kind)), required=True, help="What the files are.")
@click.option("--serves", default="", metavar="MODEL", help="The served model that carries it; a judge has none.")
@click.option("--data", default="", metavar="TEXT", help="What it was made from: a name and a digest.")
@click.option("--commit", metavar="TEXT", help="Code that made it. [default: git's HEAD, if this is a repository]")
@click.option("--base-model", default="", metavar="TEXT", help="Name and revision of the weights below it.")
@click.option("--parent", type=click.IntRange(1), metavar="VERSION", help="The version that it was made from.")
@click.option("--result", "result_texts", multiple=True, metavar="NAME=NUMBER", help="A result of its evaluation.")
@click.option(
    "--results", "results_file", type=click.Path(path_type=Path), metavar="FILE", help="JSON of more results."
)
@click.option("--require", "required", multiple=True, metavar="TEXT", help='A gate: "accuracy >= 0.9".')
@click.option("--note", default="", metavar="TEXT", help="A word for those who come after.")
def register(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    name: str,
    path: Path,
    kind: Kind,
    serves: str,
    data: str,
    commit: str | None,
    base_model: str,
    parent: int | None,
    result_texts: tuple[str, ...],
    results_file: Path | None,
    required: tuple[str, ...],
    note: str,
) -> int:
    """Keep PATH, a folder or one file, as the next version of NAME, with a digest of every file.

    The exit code is 1 if a gate is not passed; the version is kept all the same, and says so.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    results = _results(result_texts, results_file)
    _require_served(settings, kind, serves, path)
    if commit is None and (commit := _git_head()):
        output.say(f"Code commit: {commit}, git's HEAD in this folder; --commit says another.")
    draft = Draft(
        name=name,
        kind=kind,
        serves=serves,
        lineage=Lineage(data, commit or "", base_model or _base_of(kind, path), parent),
        results=results,
        gates=tuple(gate_of(text, results) for text in required),
        note=note,
    )
    with reporter(output.progress) as progress:
        version = open_versions(settings, progress).register(draft, path)
    output.result(document_of(version), lines_of(version))
    failed = sum(not gate.is_passed for gate in version.gates)
    if failed:
        output.say(f"{failed} of {len(version.gates)} gates are not passed.")
    return 1 if failed else 0


def _results(texts: tuple[str, ...], file: Path | None) -> dict[str, float]:
    """The results of the file, then those given one by one. Raises UserError."""
    results: dict[str, float] = {}
    if file is not None:
        try:
            document = json.loads(file.read_bytes())
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{file} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise UserError(f'{file} must be one object of names and numbers: {{"accuracy": 0.93}}')
        for metric, value in document.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"{file}: {metric} must be a number, got {json.dumps(value)[:80]}")
            results[metric] = float(value)
    for text in texts:
        metric, number = result_of(text)
        results[metric] = number
    return results


def _require_served(settings: Settings, kind: Kind, serves: str, path: Path) -> None:
    """Refuse what no pool of the configuration could carry, before anything is hashed. Raises UserError."""
    if kind == "judge":
        return
    names = [model.name for model in settings.served_models]
    if not serves:
        raise UserError(f"--serves is missing: which of {', '.join(names)} carries it?")
    if serves not in names:
        raise UserError(f"--serves: {serves!r} is not served; there are {', '.join(names)}")
    if kind == "adapter" and path.is_dir():
        rank = read_adapter(path).rank
        for pool in settings.engine_pools:
            if pool.model == serves and pool.max_adapters and rank > pool.max_adapter_rank:
                raise UserError(
                    f"{path} has rank {rank}, and {serves}'s engines take up to {pool.max_adapter_rank}: raise "
                    "max_adapter_rank of its pool, or train with a smaller one"
                )


def _base_of(kind: Kind, path: Path) -> str:
    """What an adapter itself says of its base."""
    return read_adapter(path).base_model if kind == "adapter" and path.is_dir() else ""


def _git_head() -> str:
    """The commit that is checked out where we stand, and whether files differ from it; empty without git."""
    try:
        head = _git("rev-parse", "HEAD")
        return f"{head}{' with changes' if head and _git('status', '--porcelain') else ''}"
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=_GIT_S, check=True)  # noqa: S607
    return done.stdout.strip()
