"""The sockets of a port that is shared, as the kernel really treats them."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from router.listener import others_listen, refuse_silently, waiting_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel offers none of it")


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(sockets: ExitStack, port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    listener = sockets.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(16)
    return listener


def connected(sockets: ExitStack, listener: socket.socket) -> socket.socket:
    return sockets.enter_context(socket.create_connection(listener.getsockname()[:2], timeout=2))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_quiet_listener_is_dealt_nothing_new_and_keeps_what_it_was_dealt(sockets: ExitStack, host: str) -> None:
    listener = listening(sockets, host=host)
    before = connected(sockets, listener)
    assert waiting_in(listener) == 1
    assert refuse_silently(listener)
    late = sockets.enter_context(socket.socket(listener.family))
    late.settimeout(0.2)
    with pytest.raises(TimeoutError):
        late.connect(listener.getsockname())
    accepted, _ = listener.accept()
    sockets.enter_context(accepted)
    assert waiting_in(listener) == 0
    before.sendall(b"question")
    assert accepted.recv(100) == b"question"
    accepted.sendall(b"answer")
    assert before.recv(100) == b"answer"


def test_whoever_was_turned_away_reaches_the_other_listener_by_himself(sockets: ExitStack) -> None:
    leaving = listening(sockets)
    assert refuse_silently(leaving)
    late = sockets.enter_context(socket.socket())
    late.setblocking(False)
    late.connect_ex(leaving.getsockname())
    staying = listening(sockets, leaving.getsockname()[1])
    leaving.close()
    staying.settimeout(4)
    accepted, _ = staying.accept()
    sockets.enter_context(accepted)


def test_another_listener_of_the_port_is_seen_and_one_of_another_port_is_not(sockets: ExitStack) -> None:
    ours = listening(sockets)
    listening(sockets)
    connected(sockets, ours)
    assert not others_listen([ours])
    twin = listening(sockets, ours.getsockname()[1])
    assert others_listen([ours])
    assert not others_listen([ours, twin])
    twin.close()
    assert not others_listen([ours])


def test_a_kernel_that_tells_nothing_is_taken_to_have_others(sockets: ExitStack, tmp_path: Path) -> None:
    assert others_listen([listening(sockets)], tmp_path)


def test_a_socket_that_is_closed_is_neither_waited_for_nor_made_quiet(sockets: ExitStack) -> None:
    listener = listening(sockets)
    listener.close()
    assert waiting_in(listener) == 0
    assert not refuse_silently(listener)
