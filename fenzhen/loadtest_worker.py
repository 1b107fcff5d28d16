"""`fenzhen loadtest worker`: one of several machines that send a run's load."""

import os
import socket
import sys
import time
from typing import Final, NoReturn

import click

from cluster.errors import TimedOut, UserError
from fenzhen.loadtest_needs import require_packages
from fenzhen.output import Output
from loadtests.generator import LOCUSTFILE, environment_of

DEFAULT_PORT: Final = 5557
"""Locust's own."""
_CONNECT_TIMEOUT_S: Final = 5.0
_TRY_AGAIN_S: Final = 1.0


@click.command()
@click.option(
    "--master", required=True, metavar="HOST[:PORT]", help=f"Where `fenzhen loadtest run` waits. [port: {DEFAULT_PORT}]"
)
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers on this machine.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=600.0, show_default=True, metavar="SECONDS",
    help="For the master to be there.",
)  # fmt: skip
def worker(master: str, processes: int, wait_s: float) -> None:
    """Send a part of the load of a run that another machine leads: `fenzhen loadtest run --expect-workers N`.

    The plan comes from there, and the samples go there. Keys and files that the plan names must be here, too. It ends
    with the run. Who can reach the master's port can read the plan and send samples: use it in a network of your own.
    """
    printed = Output()
    require_packages()
    host, port = address_of(master)
    await_master(host, port, wait_s, printed)
    printed.say(f"the master at {host}:{port} is there; it says when to begin")
    _become_locust(host, port, processes)


def address_of(master: str) -> tuple[str, int]:
    """Host and port of HOST[:PORT], [IPv6]:PORT included. Raises UserError."""
    host, separator, port = master.rpartition(":")
    if not separator or master.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = master, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UserError(f"--master must be HOST or HOST:PORT, got {master!r}")
    return host, int(port)


def await_master(host: str, port: int, wait_s: float, printed: Output) -> None:
    """Wait until somebody listens there: locust itself would not say that nobody does. Raises UserError, TimedOut."""
    end_s = time.monotonic() + wait_s
    has_said = False
    while True:
        try:
            with socket.create_connection((host, port), _CONNECT_TIMEOUT_S):
                return
        except socket.gaierror as error:
            raise UserError(f"the master's host {host} cannot be found: {error.strerror}") from error
        except OSError as error:
            if time.monotonic() >= end_s:
                raise TimedOut(
                    f"nobody has waited for workers at {host}:{port} for {wait_s:g} s ({error.strerror or error}); "
                    "start `fenzhen loadtest run --expect-workers N` there, with a --master-bind-host that is reached"
                ) from error
        if not has_said:
            printed.say(f"waiting for the master at {host}:{port}")
            has_said = True
        time.sleep(_TRY_AGAIN_S)


def _become_locust(host: str, port: int, processes: int) -> NoReturn:
    """This process goes on as locust: nothing is left behind that would have to end it."""
    command = [
        sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--worker", "--stages",
        "--master-host", host, "--master-port", str(port),
    ]  # fmt: skip
    if processes > 1:
        command += ["--processes", str(processes)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment_of({}))  # noqa: S606  Each word is ours.
