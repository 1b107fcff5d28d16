"""slowhttptest against a router: clients that send or read as slowly as they can, hundreds at once.

    python -m tests.conformance.slow_attacks PATH/TO/slowhttptest

Asks the router itself all the while; says for each attack how the others fared and whether all attackers were left.
"""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

from tests.conformance.test_connections import LAST, POST, said_whole
from tests.fakes.stack import FakeStack, fake_stack

CONNECTIONS: Final = 800
CLIENT_TIMEOUT_S: Final = 5
# Longer than the router's patience and one sweep, so that every attacker is seen being left.
TEST_S: Final = 12
ATTACKS: Final = {
    "slow head": ["-H"],
    "slow body": ["-B", "-s", "8192"],
    "slow read": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"],
}


async def attack(tool: Path, stack: FakeStack, options: list[str]) -> str:
    """Run one attack; gives what slowhttptest said."""
    url = f"http://127.0.0.1:{stack.port}/v1/models"
    more = ["-c", str(CONNECTIONS), "-r", "400", "-i", "1", "-l", str(TEST_S), "-p", "2", "-u", url]
    running = await asyncio.create_subprocess_exec(
        str(tool), *options, *more, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(running.communicate(), TEST_S * 5)
    return re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", output.decode(errors="replace"))


async def ask_on(stack: FakeStack, waits_s: list[float]) -> None:
    """Chat ten times a second, and note how long each answer took."""
    while True:
        began_s = time.monotonic()
        answer = await said_whole(stack, POST + LAST)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        waits_s.append(time.monotonic() - began_s)
        await asyncio.sleep(0.1)


async def judge(tool: Path, title: str, options: list[str]) -> bool:
    """Run one attack against a router of its own; whether it did no harm."""
    async with fake_stack(client_timeout_s=CLIENT_TIMEOUT_S, keep_alive_s=CLIENT_TIMEOUT_S) as stack:
        waits_s: list[float] = []
        asking = asyncio.create_task(ask_on(stack, waits_s))
        output = await attack(tool, stack, options)
        until_s = time.monotonic() + 2 * CLIENT_TIMEOUT_S
        while len(stack.router._connections) > 1 and time.monotonic() < until_s:
            await asyncio.sleep(0.1)
        left = len(stack.router._connections) - 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    availability = re.findall(r"service available:\s*(YES|NO)", output)
    is_good = bool(availability) and "NO" not in availability and left <= 0 and max(waits_s) < 1
    print(
        f"{title}: {CONNECTIONS} attackers; looked at {len(availability)} times, "
        f"available {availability.count('YES')} times; {len(waits_s)} chats beside it, slowest {max(waits_s):.2f} s; "
        f"attackers still there after it: {max(left, 0)}: {'good' if is_good else 'BAD'}"
    )
    if not is_good:
        print(output[-2000:])
    return is_good


async def main(tool: Path) -> int:
    """Run all attacks."""
    return 0 if all([await judge(tool, title, options) for title, options in ATTACKS.items()]) else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main(Path(sys.argv[1]))))
