"""What a load test is put on: the stack that runs here, or any address."""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.errors import Unavailable, UserError
from cluster.settings import Settings
from cluster.stack_state import StackState, read_state


@dataclass(frozen=True, slots=True)
class Place:
    """Who answers, and what is known of it."""

    url: str
    """The address without /v1 and without a slash at the end."""
    tested: str
    """What answers there, one line for people; empty if nothing is known."""
    engines: Mapping[str, str]
    """Addresses of the engines whose /metrics can be read, and the model of each; "" where nobody says."""
    state: StackState | None
    """The stack that runs on this machine, if it is the one that is asked."""
    state_dir: Path


def place_of(
    settings: Settings, url: str | None, engine_urls: tuple[str, ...] = (), *, elsewhere: bool = False
) -> Place:
    """What answers at `url`, or the stack that runs here. Raises Unavailable if none runs, UserError.

    Only this machine is put under load unless `elsewhere` says that another one is meant to be.
    """
    state_dir = settings.site.state_dir.expanduser()
    state = read_state(state_dir)
    alive = state is not None and state.is_alive
    if url is None:
        if state is None or not alive:
            raise Unavailable("nothing is running here to put load on; `fenzhen up` starts it, or name one with --url")
        if state.phase != "ready":
            raise Unavailable(f"the stack is not ready ({state.message}); `fenzhen status` tells more")
        url = state.base_url
    address = base_of(url)
    if not elsewhere and not is_loopback(address):
        raise UserError(
            f"{address} is another machine: load on it may stop its work for others; add --elsewhere if that is meant"
        )
    # Named by its own address, the stack here is still known.
    ours = state if state is not None and alive and base_of(state.base_url) == address else None
    engines = {base_of(one): "" for one in engine_urls}
    if ours is not None and not engines:
        engines = {endpoint.base_url: endpoint.model for endpoint in ours.endpoints if endpoint.base_url}
    return Place(address, _words_of(ours), engines, ours, state_dir)


def base_of(url: str) -> str:
    """The address without /v1, credentials, query and slashes at the end. Raises UserError."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise UserError(f"{url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{url!r} is no address; write http://HOST:PORT or https://HOST")
    if parts.username or parts.password:
        raise UserError("an address with a name or password in it would end up in reports; use target.api_key_env")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/').removesuffix('/v1')}"


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own, by every address that its name has. Raises Unavailable."""
    host = urlsplit(url).hostname or ""
    try:
        found = {str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise Unavailable(f"the name {host} has no address: {error.strerror}") from error
    return all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found)


def _words_of(state: StackState | None) -> str:
    if state is None:
        return ""
    counts: dict[str, int] = {}
    for endpoint in state.endpoints:
        counts[endpoint.model] = counts.get(endpoint.model, 0) + 1
    engines = ", ".join(f"{count} × {model}" for model, count in sorted(counts.items()))
    # Of a file only its name: reports are mailed.
    return f"{Path(state.settings_from).name}: {engines}"
