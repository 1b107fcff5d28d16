"""Stand-in engines that take the time that a measured engine takes.

    python -m loadtests.rehearsal.server --timing smollm2-135m-cpu --model small --free-ports 4

Each port is an engine of its own, with its own batch, cache and /metrics. When all are open it prints one line of JSON,
`{"ports": [...], "pid": ...}`. It ends on SIGTERM, or with --until-stdin-ends when whoever started it is gone.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import uvloop

from cluster.errors import UserError
from loadtests.rehearsal.connection import Connection
from loadtests.rehearsal.engine import Engine
from loadtests.rehearsal.spoken import Habits
from loadtests.rehearsal.timing import Timing, read_timing
from loadtests.router_bench.stand_in import ports_of, raise_open_files

_BACKLOG: Final = 4096


async def serve(options: argparse.Namespace, timing: Timing) -> None:
    """Listen on all ports until told to end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for end in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(end, stop.set)
    if options.until_stdin_ends:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    ports: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        for number, wish in enumerate(options.ports or [0] * options.free_ports):
            habits = Habits(options.answer_tokens, options.answer_sigma, options.tool_ratio, options.seed + number)
            engine = Engine(options.model, timing, habits, loop, options.max_waiting)
            server = await loop.create_server(
                lambda engine=engine: Connection(engine),  # type: ignore[misc]
                options.host,
                wish,
                backlog=_BACKLOG,
            )
            stack.callback(engine.close)
            stack.callback(server.close)
            ports.append(server.sockets[0].getsockname()[1])
        print(json.dumps({"ports": ports, "pid": os.getpid()}), flush=True)
        # Nothing made so far is garbage; what requests leave behind has hardly any cycles.
        gc.collect()
        gc.freeze()
        await stop.wait()


def options_of(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.rehearsal.server", allow_abbrev=False)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--ports", type=ports_of, help="such as 9101-9108,9200")
    where.add_argument("--free-ports", type=int, help="so many ports that are free")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--timing", required=True, help="the name of one that comes with us, or a file")
    parser.add_argument("--model", required=True, help="the name that answers bear")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answer-tokens", type=int, default=120, help="median of answers that end by themselves")
    parser.add_argument("--answer-sigma", type=float, default=0.6, help="their spread, lognormal")
    parser.add_argument("--tool-ratio", type=float, default=1.0, help="how often a tool that is offered is called")
    parser.add_argument("--max-waiting", type=int, help="more are refused with 503 [default: all wait, as in vLLM]")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end with whoever started it")
    options = parser.parse_args(words)
    if options.free_ports is not None and options.free_ports < 1:
        parser.error("--free-ports must be at least 1")
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Serve."""
    options = options_of(words)
    try:
        timing = read_timing(options.timing)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    raise_open_files()
    try:
        uvloop.run(serve(options, timing))
    except OSError as error:
        print(f"cannot listen: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
