"""Whether the router's address is free, who holds it if not, and who can reach it."""

import errno
import ipaddress
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass

import psutil

from cluster.finding import Finding
from cluster.settings import Router


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port."""

    pid: int | None
    """None where the system does not tell us, mostly because it is another user's."""
    name: str
    is_ours: bool
    """It belongs to the stack that runs already with the same state folder."""


@dataclass(frozen=True, slots=True)
class Address:
    """What became of an attempt to listen on the router's address."""

    problem: OSError | None
    """None: it is free."""
    holder: Holder | None
    """Who has it, where it is taken and that is known."""


def read_address(host: str, port: int, own_pids: Collection[int]) -> Address:
    """Listen on the address for a moment. `own_pids` are the processes of the stack that runs already."""
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            # Connections of a server that has just ended linger for a minute and are no obstacle.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
            listener.listen(1)
    except OSError as problem:
        return Address(problem, _holder(port, own_pids) if problem.errno == errno.EADDRINUSE else None)
    return Address(None, None)


def port(router: Router, address: Address) -> Finding:
    """The router can listen, or our own router already does."""
    where = f"{router.host}:{router.port}"
    holder = address.holder
    if address.problem is None:
        return Finding("port", "ok", f"{where} is free")
    if holder and holder.is_ours:
        return Finding("port", "ok", f"{where} is held by our own stack that runs (pid {holder.pid})")
    if address.problem.errno == errno.EADDRINUSE:
        who = f"{holder.name} (pid {holder.pid})" if holder and holder.pid else "a process of another user"
        remedy = "stop it, or take another port with FENZHEN_PORT or router.port"
        return Finding("port", "fail", f"{where} is taken by {who}", remedy)
    if address.problem.errno == errno.EACCES:
        return Finding("port", "fail", f"{where} is reserved for root", "take a port above 1023 under router.port")
    reason = address.problem.strerror or str(address.problem)
    return Finding("port", "fail", f"cannot listen on {where}: {reason}", "mend router.host")


def reach(router: Router) -> Finding:
    """Who can send requests: the router asks nobody for a name or a key."""
    if _is_loopback(router.host):
        return Finding("reach", "ok", f"{router.host}: this machine only")
    fact = f"{router.host}: other machines can send requests, and nothing asks who they are"
    return Finding("reach", "warn", fact, "router.host: 127.0.0.1, or a firewall")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _holder(port: int, own_pids: Collection[int]) -> Holder | None:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return None
    pids = [c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port]
    pid = next((pid for pid in pids if pid), None)
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        name = "this process" if pid == os.getpid() else process.name()
    except psutil.Error:
        return Holder(pid, "a process", is_ours=False)
    return Holder(pid, name, is_ours=pid in own_pids)
