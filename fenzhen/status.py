"""`fenzhen status`: what runs, how it is, and what it costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import httpx
import psutil
from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cluster.stack_state import StackState, processes_below, read_state
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output

_TIMEOUT_S = 3.0
# A pool of more servers that run already is shown as how many answer, and the first of the others.
_MAX_EXTERNAL_ROWS = 8
_MAX_DOWN_ROWS = 3
_STYLES = {"ready": "green", "starting": "yellow", "restarting": "bold red", "draining": "yellow"}


@click.command()
@config_options
@json_option
def status(config: Path | None, profile_name: str | None, as_json: bool) -> int:
    """Show what runs and how it is.

    Exit code 0: everything is ready, 3: it is not (or nothing runs).
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    state = read_state(settings.site.state_dir)
    if state is None or not state.is_alive:
        last = f"\nThe last one: {state.phase}, {state.message}" if state is not None else ""
        output.result({"status": "not running"}, Text(f"Nothing is running; `fenzhen up` starts it.{last}"))
        return 3
    document = _document(state)
    output.result(document, _view(document))
    return 0 if document["status"] == "ready" else 3


def _document(state: StackState) -> dict[str, Any]:
    readiness = _readiness(state.base_url)
    engines = [
        {
            "id": endpoint.endpoint_id,
            "model": endpoint.model,
            "state": endpoint.state,
            "detail": endpoint.detail,
            "restarts": endpoint.restarts,
            "base_url": endpoint.base_url,
            "pid": endpoint.pid,
            "memory_bytes": _memory_bytes(endpoint.pid) if endpoint.pid is not None else 0,
            "is_external": endpoint.is_external,
            "weights": state.models.get(endpoint.model, ""),
            "adapters": list(endpoint.adapters),
            "adapter_faults": dict(endpoint.adapter_faults),
        }
        for endpoint in state.endpoints
    ]
    is_partly_down = state.phase == "ready" and any(engine["state"] != "ready" for engine in engines)
    return {
        "status": "partly down" if is_partly_down else state.phase,
        "message": state.message,
        "base_url": f"{state.base_url}/v1",
        "router": readiness,
        "configuration": state.settings_from,
        "supervisor_pid": state.pid,
        "engines": engines,
        "memory_bytes": _memory_bytes(state.pid),
        "processes": len(processes_below(state.pid)) + 1,
        "log_dir": str(state.log_dir),
    }


def _readiness(base_url: str) -> str:
    """What the router says of itself."""
    try:
        return str(httpx.get(f"{base_url}/readyz", timeout=_TIMEOUT_S).json()["status"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return f"does not answer ({type(error).__name__})"


def _memory_bytes(pid: int) -> int:
    """Resident memory of a process and all below it. Pages that two share count twice."""
    total = 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _rows(engines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the table shows: all, except of large pools of servers that run already."""
    rows: list[dict[str, Any]] = []
    for model in sorted({engine["model"] for engine in engines}):
        pool = [engine for engine in engines if engine["model"] == model]
        if not pool[0]["is_external"] or len(pool) <= _MAX_EXTERNAL_ROWS:
            rows.extend(pool)
            continue
        down = [engine for engine in pool if engine["state"] != "ready"]
        answer = len(pool) - len(down)
        state = "ready" if answer else down[0]["state"]
        rows.append(pool[0] | {"state": state, "detail": f"{answer} of {len(pool)} answer", "base_url": ""})
        rows.extend(down[:_MAX_DOWN_ROWS])
    return rows


def _view(document: dict[str, Any]) -> Group:
    engines = Table(box=None, pad_edge=False)
    for title in ("model", "state", "detail", "restarts", "memory", "address"):
        engines.add_column(title, justify="right" if title in ("restarts", "memory") else "left", overflow="fold")
    for engine in _rows(document["engines"]):
        engines.add_row(
            engine["model"],
            Text(engine["state"], style=_STYLES.get(engine["state"], "")),
            engine["detail"],
            str(engine["restarts"]),
            "" if engine["is_external"] else decimal(engine["memory_bytes"]),
            engine["base_url"],
        )
    adapters = [line for engine in document["engines"] for line in _adapter_lines(engine)]
    origins = {engine["model"]: engine["weights"] for engine in document["engines"]}
    weights = [Text(f"  {model}: {origin}") for model, origin in origins.items()]
    return Group(
        Text(f"{document['status']}: {document['message']}"),
        Text(f"address  {document['base_url']} (router: {document['router']})"),
        Text(f"memory   {decimal(document['memory_bytes'])} in {document['processes']} processes"),
        Text(f"logs     {document['log_dir']}\n"),
        engines,
        *([Text("\nadapters"), *adapters] if adapters else []),
        Text("\nweights"),
        *weights,
    )


def _adapter_lines(engine: dict[str, Any]) -> list[Text]:
    """What one engine has loaded beside its model, and what it could not load."""
    faulty: dict[str, str] = engine["adapter_faults"]
    loaded = [Text(f"  {name} in {engine['id']}") for name in engine["adapters"]]
    faults = [Text(f"  {name} not in {engine['id']}: {why}", style="red") for name, why in faulty.items()]
    return [*loaded, *faults]
