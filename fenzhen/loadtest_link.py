"""`fenzhen loadtest link`: a line before an engine that a test can make slow."""

import asyncio
import contextlib
import signal

import click

from fenzhen.output import Output


@click.command()
@click.option("--to", required=True, metavar="HOST:PORT", help="The server behind it.")
@click.option(
    "--listen", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="On 127.0.0.1. [default: a free one]"
)
def link(to: str, listen: int) -> int:
    """Put a line before a server that can be made slow while it is in use; ends with Ctrl-C.

    Name its address instead of the server's, such as an endpoint of an external pool in fenzhen.yaml. Then
    `fenzhen loadtest run --fault slow-link:127.0.0.1:PORT=200ms@30s+20s` slows it down for a while.
    """
    import uvloop

    uvloop.run(_run(to, listen, Output()))
    return 0


async def _run(to: str, listen: int, printed: Output) -> None:
    """Relay until told to end. Raises UserError."""
    from loadtests.faults.relay import LOOPBACK
    from loadtests.faults.slow_link import SlowLink, controlled, relaying, server_of

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    host, port = server_of(to)
    async with contextlib.AsyncExitStack() as stack:
        relay, found = await stack.enter_async_context(relaying(host, port, listen))
        await stack.enter_async_context(controlled(SlowLink(relay), found))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        printed.say(
            f"{LOOPBACK}:{found} leads to {to}; slow it down with --fault slow-link:{LOOPBACK}:{found}=200ms@30s"
        )
        await stop.wait()
