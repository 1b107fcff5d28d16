"""Leaving a port that others share, without losing a connection.

Replicas on one host listen on the same port (SO_REUSEPORT), and the kernel deals connections out to them. One that
closes its socket resets every connection that it has been dealt and has not accepted yet: its clients lose requests.
So a listener first stops being dealt any (a socket filter drops the opening packet, which the client's kernel sends
again after a second, to whoever listens then), accepts what it was dealt, and only then closes.
"""

import ctypes
import logging
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Python does not name it. The number is that of all architectures that vLLM runs on.
_SO_ATTACH_FILTER: Final = 26
# Classic BPF (opcode, jump if true, jump if false, operand) over the TCP header, of which byte 13 holds the flags.
_DROP_NEW_CONNECTIONS: Final = (
    (0x30, 0, 0, 13),  # load the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFF_FFFF),  # else take all of it
)
# In Linux's struct tcp_info, for a listening socket: how many connections wait to be accepted.
_WAITING_AT: Final = 24
_LISTEN: Final = "0A"

_log = logging.getLogger(__name__)


def refuse_silently(listener: socket.socket) -> bool:
    """Let the kernel drop new connections to this socket, while those under way complete. False: not to be had here."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_NEW_CONNECTIONS))
    described = struct.pack("HL", len(_DROP_NEW_CONNECTIONS), ctypes.addressof(program))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except OSError as error:
        _log.warning("new connections cannot be held off while this replica leaves: %s", error)
        return False
    return True


def waiting_in(listener: socket.socket) -> int:
    """How many connections have been made and not been accepted yet; 0 where the kernel does not tell."""
    if sys.platform != "linux":
        return 0
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING_AT + 4)
    except OSError:
        return 0
    waiting: int = struct.unpack_from("I", info, _WAITING_AT)[0] if len(info) >= _WAITING_AT + 4 else 0
    return waiting


def others_listen(listeners: Sequence[socket.socket], tables: Path = Path("/proc/self/net")) -> bool:
    """Whether somebody else listens on the port of these sockets too. True if the kernel does not tell."""
    ours = {listener.getsockname()[1] for listener in listeners}
    count = 0
    try:
        for table in ("tcp", "tcp6"):
            path = tables / table
            # A machine without IPv6 has no table of it.
            if table == "tcp" or path.exists():
                count += sum(_listens(line, ours) for line in path.read_text(encoding="ascii").splitlines()[1:])
    except OSError:
        return True
    return count > len(listeners)


def _listens(line: str, ports: set[int]) -> bool:
    """Whether one line of the kernel's table of sockets is a listener on one of these ports."""
    _, local, _, state = line.split(maxsplit=4)[:4]
    return state == _LISTEN and int(local.rpartition(":")[2], 16) in ports
