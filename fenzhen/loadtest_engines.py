"""`fenzhen loadtest engines`: a cluster of stand-in engines, to rehearse what is too big for this machine."""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from cluster.errors import OurFault, UserError
from cluster.settings_file import as_yaml
from fenzhen.options import json_option
from fenzhen.output import Output
from loadtests.rehearsal import stand_ins
from loadtests.rehearsal.cluster_file import (
    RehearsedCluster,
    cluster_text,
    keys_text,
    read_cluster,
    server_words,
    settings_of,
    timings_of,
)
from loadtests.rehearsal.timing import Timing

_LOOK_S: Final = 0.5
# Steps of several engines keep their times while a process has this much of a core left; more share one.
_ENGINES_A_PROCESS: Final = 8


@click.command()
@json_option
@click.argument("cluster", metavar="[CLUSTER]", default="city")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Say otherwise: --set models.0.engines=8")
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a configuration with these engines for `fenzhen up --config FILE`.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Of the router in FILE.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="That the engines are spread over, at least one a model. [default: one for 8 engines, not more than cores]",
)
@click.option("--print", "wants_text", is_flag=True, help="Print the cluster of that name instead, to change it.")
@click.option("--keys", "wants_keys", is_flag=True, help="Print all keys that a cluster may have instead.")
def engines(
    as_json: bool,
    cluster: str,
    overrides: tuple[str, ...],
    write: Path | None,
    port: int,
    processes: int | None,
    wants_text: bool,
    wants_keys: bool,
) -> int:
    """Run stand-ins for all engines of CLUSTER until Ctrl-C: a YAML file, or one that comes with us, such as city.

    They take the time that their timings say, and answer with made-up words. docs/load-rehearsal.md tells what such a
    rehearsal can show and what not.
    """
    if wants_text or wants_keys:
        click.echo(keys_text() if wants_keys else cluster_text(cluster), nl=False)
        return 0
    printed = Output(as_json)
    wanted = read_cluster(cluster, overrides)
    timings = timings_of(wanted)
    with contextlib.ExitStack() as stack:
        running = _started(wanted, processes, stack)
        ports = {name: [port for one in many for port in one.ports] for name, many in running.items()}
        if write is not None:
            folder = write.absolute().parent / f"{write.stem}-state"
            text = as_yaml(settings_of(wanted, timings, ports, folder, {"port": port}))
            try:
                write.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UserError(f"{write} cannot be written: {error.strerror}") from error
        urls = {name: [f"http://127.0.0.1:{one}" for one in many] for name, many in ports.items()}
        printed.result({"cluster": wanted.name, "engines": urls, "config": str(write) if write else None},
                       _view_of(wanted, timings, ports))  # fmt: skip
        if write is not None:
            printed.say(f"In another terminal: fenzhen up --config {write}")
        printed.say("Ctrl-C ends them.")
        with contextlib.suppress(KeyboardInterrupt):
            _wait(running)
    return 0


def shares_of(cluster: RehearsedCluster, processes: int | None, cores: int) -> dict[str, list[int]]:
    """How many engines each process of a model gets; each model has at least one process."""
    total = sum(model.engines for model in cluster.models)
    wanted = processes or min(cores, math.ceil(total / _ENGINES_A_PROCESS))
    shares = {}
    for model in cluster.models:
        count = min(model.engines, max(1, round(wanted * model.engines / total)))
        shares[model.name] = [model.engines // count + (number < model.engines % count) for number in range(count)]
    return shares


def _started(
    cluster: RehearsedCluster, processes: int | None, stack: contextlib.ExitStack
) -> dict[str, list[stand_ins.StandIns]]:
    shares = shares_of(cluster, processes, os.cpu_count() or 1)
    running: dict[str, list[stand_ins.StandIns]] = {}
    # No two engines draw the same noise.
    seed = cluster.seed
    for model in cluster.models:
        for share in shares[model.name]:
            one = stack.enter_context(stand_ins.started(server_words(model, seed), share))
            running.setdefault(model.name, []).append(one)
            seed += share
    return running


def _wait(running: dict[str, list[stand_ins.StandIns]]) -> None:
    """Until Ctrl-C. Raises OurFault if one of them ends by itself."""
    while True:
        time.sleep(_LOOK_S)
        for name, one in _each(running):
            if one.process.poll() is not None:
                raise OurFault(f"stand-ins of {name} have ended with status {one.process.returncode}")


def _each(running: dict[str, list[stand_ins.StandIns]]) -> Iterator[tuple[str, stand_ins.StandIns]]:
    for name, many in running.items():
        for one in many:
            yield name, one


def _view_of(cluster: RehearsedCluster, timings: dict[str, Timing], ports: dict[str, list[int]]) -> Table:
    table = Table("model", "engines", "timing", "ports", box=None, pad_edge=False)
    for model in cluster.models:
        kind = timings[model.name].provenance.kind
        named = ", ".join(str(port) for port in ports[model.name])
        table.add_row(model.name, str(model.engines), f"{timings[model.name].name} ({kind})", named)
    return table
