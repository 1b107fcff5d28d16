"""A server that leaves, as the connections see it that were idle or in the middle of an answer."""

import asyncio
import contextlib
import time

from tests.fakes.stack import fake_stack
from tests.integration.test_router_http import GET, post, until
from tests.integration.test_router_lives import streaming

OK = b'"ok"}'
CLOSE = b"\r\nconnection: close\r\n"


async def test_an_idle_connection_may_speak_once_more_and_is_told_that_it_ends() -> None:
    async with fake_stack(drain_idle_s=5) as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(GET)
        assert CLOSE not in await reader.readuntil(OK)
        draining = asyncio.create_task(stack.router.drain())
        await asyncio.sleep(0.2)
        writer.write(GET)
        assert CLOSE in await asyncio.wait_for(reader.read(), 1)
        writer.close()
        await asyncio.wait_for(draining, 1)


async def test_a_connection_that_stays_silent_is_kept_for_its_time_and_then_closed() -> None:
    async with fake_stack(drain_idle_s=0.5) as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        await until(lambda: bool(stack.router._connections), 1)
        began_s = time.monotonic()
        draining = asyncio.create_task(stack.router.drain())
        assert await asyncio.wait_for(reader.read(), 3) == b""
        assert 0.4 < time.monotonic() - began_s < 1.5
        await asyncio.wait_for(draining, 1)
        writer.close()


async def test_a_connection_that_was_told_nothing_is_not_closed_behind_its_answer() -> None:
    """The answer's head had left before the drain began: the client may be sending its next request already."""
    async with fake_stack(engines={"small": ["--token-delay-s 0.05"], "large": [""]}, drain_idle_s=5) as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(post(body=streaming(6)))
        head = await reader.readuntil(b"\r\n\r\n")
        draining = asyncio.create_task(stack.router.drain())
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(GET)
        last = await asyncio.wait_for(reader.read(), 1)
        assert CLOSE not in head
        assert CLOSE in last
        assert last.endswith(OK)
        writer.close()
        await asyncio.wait_for(draining, 1)


async def test_an_answer_that_announces_the_end_arrives_whole_though_more_requests_are_on_their_way() -> None:
    async with fake_stack(drain_idle_s=5) as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        await until(lambda: bool(stack.router._connections), 1)
        draining = asyncio.create_task(stack.router.drain())
        await asyncio.sleep(0)
        writer.write(GET)
        await asyncio.sleep(0.1)
        # Unread, our answer would be thrown away by the client's kernel if a reset followed it.
        with contextlib.suppress(OSError):
            for _ in range(3):
                writer.write(GET)
                await asyncio.sleep(0.05)
        answer = await asyncio.wait_for(reader.read(), 1)
        assert answer.count(b"HTTP/1.1 200 ") == 1
        assert CLOSE in answer
        writer.close()
        await asyncio.wait_for(draining, 1)
