"""Connections to one server, kept for the next request. The last one used is used first, as in most clients."""

import errno
from typing import Any, Final

from gevent import socket, ssl

from cluster.errors import UserError
from loadtests.asking.address import Address

# A read takes what has come, up to this.
_READ_BYTES: Final = 64 * 1024
# After a server's restart all kept connections are dead; looking at thousands of them at once would stop the clock for
# everybody else.
_MOST_LOOKS: Final = 16
_MOST_KEPT: Final = 4096
_OUR_LIMITS: Final = {
    errno.EMFILE: "this machine allows the generator no more open files: raise `ulimit -n`",
    errno.ENFILE: "this machine has no more open files",
    errno.EADDRNOTAVAIL: "this machine has no more free ports for connections to the target",
    errno.ENOBUFS: "this machine has no more memory for connections",
    errno.ENOMEM: "this machine has no more memory for connections",
}


class Connection:
    """One TCP connection, maybe under TLS. Waits are ended from outside: see `loadtests.asking.patience`."""

    __slots__ = ("_socket",)

    def __init__(self, its_socket: Any) -> None:
        self._socket = its_socket

    def send(self, data: bytes) -> None:
        """Send everything. Raises OSError."""
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """What has come, once anything has; b"": the server has ended it. Raises OSError."""
        data: bytes = self._socket.recv(_READ_BYTES)
        return data

    def is_quiet(self) -> bool:
        """Whether it is still open, and says nothing that nobody has asked for. Does not wait."""
        self._socket.settimeout(0.0)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._socket.settimeout(None)
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Do not wait for anything."""
        self._socket.close()


class Connections:
    """A bounded store of kept connections. Names are resolved once, when it is made."""

    def __init__(self, address: Address) -> None:
        """Raises UserError if the host cannot be found."""
        self._address = address
        self._kept: list[Connection] = []
        self._is_closed = False
        self.note = ""
        """What this machine itself could not do, one sentence: then refused connections are not the server's fault."""
        self._context = _tls() if address.is_tls else None
        try:
            self._places = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UserError(f"the target's host {address.host} cannot be found: {error}") from None

    def kept(self) -> Connection | None:
        """One that has been used before and that the server has not closed since; None: make a fresh one."""
        for _ in range(min(_MOST_LOOKS, len(self._kept))):
            connection = self._kept.pop()
            if connection.is_quiet():
                return connection
            connection.close()
        return None

    def fresh(self) -> Connection:
        """Connect. Raises OSError."""
        try:
            return self._connect()
        except OSError as error:
            self.note = self.note or _OUR_LIMITS.get(error.errno or 0, "")
            raise

    def keep(self, connection: Connection) -> None:
        """For the next request."""
        if self._is_closed or len(self._kept) >= _MOST_KEPT:
            connection.close()
        else:
            self._kept.append(connection)

    def close(self) -> None:
        """Close what is kept, now and later."""
        self._is_closed = True
        while self._kept:
            self._kept.pop().close()

    def _connect(self) -> Connection:
        refusal = OSError("the host has no address")
        for place in list(self._places):
            family, kind, protocol, _, where = place
            its_socket = socket.socket(family, kind, protocol)
            try:
                its_socket.connect(where)
                its_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context is not None:
                    its_socket = self._context.wrap_socket(
                        its_socket, server_hostname=self._address.host, do_handshake_on_connect=False
                    )
                    its_socket.do_handshake()
            except OSError as error:
                its_socket.close()
                refusal = error
            except BaseException:
                # Nobody waits for it any more: out of patience, or killed.
                its_socket.close()
                raise
            else:
                if place is not self._places[0]:
                    # `localhost` is two addresses, and often only one of them answers.
                    self._places = [place, *(other for other in self._places if other is not place)]
                return Connection(its_socket)
        raise refusal


def _tls() -> Any:
    """The checks of ssl.create_default_context, which itself would make sockets that block every greenlet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context
