import errno
import os
import socket
from collections.abc import Iterator

import pytest

from cluster.finding import Verdict
from cluster.port_check import Address, Holder, port, reach, read_address
from cluster.settings import Router

TAKEN = OSError(errno.EADDRINUSE, "Address already in use")


@pytest.fixture
def listening_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_was_just_given_back_is_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    address = read_address("127.0.0.1", free, ())
    assert port(Router(port=free), address).verdict == "ok"


def test_a_taken_port_names_who_holds_it(listening_port: int) -> None:
    finding = port(Router(port=listening_port), read_address("127.0.0.1", listening_port, ()))
    assert finding.verdict == "fail"
    assert f"127.0.0.1:{listening_port} is taken by this process (pid " in finding.fact


def test_a_port_held_by_the_stack_that_runs_already_is_no_obstacle(listening_port: int) -> None:
    finding = port(Router(port=listening_port), read_address("127.0.0.1", listening_port, {os.getpid()}))
    assert finding.verdict == "ok"
    assert f"held by our own stack that runs (pid {os.getpid()})" in finding.fact


def test_a_host_name_that_does_not_exist_is_named() -> None:
    finding = port(Router(host="no.such.host.invalid"), read_address("no.such.host.invalid", 8000, ()))
    assert finding.verdict == "fail"
    assert finding.fact.startswith("cannot listen on no.such.host.invalid:8000: ")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address(TAKEN, None), "taken by a process of another user"),
        (Address(TAKEN, Holder(7, "nginx", is_ours=False)), "taken by nginx (pid 7)"),
        (Address(OSError(errno.EACCES, "Permission denied"), None), "reserved for root"),
    ],
)
def test_a_port_that_cannot_be_had_says_why(address: Address, words: str) -> None:
    finding = port(Router(), address)
    assert finding.verdict == "fail"
    assert words in finding.fact


@pytest.mark.parametrize(
    ("host", "verdict"),
    [("127.0.0.1", "ok"), ("::1", "ok"), ("localhost", "ok"), ("0.0.0.0", "warn"), ("::", "warn"), ("box.lan", "warn")],
)
def test_an_address_that_others_can_reach_is_remarked(host: str, verdict: Verdict) -> None:
    assert reach(Router(host=host)).verdict == verdict
