"""Addresses of servers that run already, as a person writes them and as the router needs them."""

import ipaddress
import re
from urllib.parse import urlsplit

# As the resolver takes it: longer or empty labels end in errors of its own, far from the line to mend.
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


def base_url_of(text: str) -> str:
    """`http://host:port`, in lower case and without the last slash. Raises ValueError with a sentence to mend it by."""
    scheme, _, rest = text.partition("://")
    if scheme.lower() == "https":
        raise ValueError(f"{_shown(text)} is HTTPS, which the router does not speak to servers yet; give http://")
    if scheme.lower() != "http" or not rest:
        raise ValueError(f"{_shown(text)} must be http://host:port")
    authority, slash, path = rest.partition("/")
    if "@" in rest:
        # Without the text itself: it holds a password.
        raise ValueError("a name and a password cannot stand in a base URL; leave out all up to the @")
    if (slash and path) or "?" in rest or "#" in rest:
        raise ValueError(f"{_shown(text)} must end after the port; the router adds /v1/... by itself")
    host, port = _host_and_port(text, authority)
    return f"http://{host}:{port}"


def _host_and_port(text: str, authority: str) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:
        raise ValueError(f"{_shown(text)} has no port; write http://{_shown(authority)}:8000 if that is the one")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{_shown(text)}: the port must be between 1 and 65535, got {_shown(port)!r}")
    if host.startswith("[") and host.endswith("]") and "%" not in host:
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]", int(port)
        except ValueError as error:
            raise ValueError(f"{_shown(text)}: {_shown(host)} is not an IPv6 address") from error
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise ValueError(f"{_shown(text)}: {_shown(host)!r} is not a host's name or address")
    return host.lower(), int(port)


def host_and_port(base_url: str) -> tuple[str, int]:
    """The two parts that a connection is opened with; an IPv6 address without its brackets."""
    parts = urlsplit(base_url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
