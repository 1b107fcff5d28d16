"""Where requests go, and the part of their head that is the same for all: read, checked and encoded once."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cluster.errors import UserError

Headers = tuple[tuple[str, str], ...]

# RFC 9110, 5.1 and 5.5: a name is a token; a value holds visible characters, blanks between them.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")


@dataclass(frozen=True, slots=True)
class Address:
    """One HTTP/1.1 server, and its chat completions."""

    is_tls: bool
    host: str
    """For the resolver and for the certificate's check."""
    port: int
    host_header: str
    path: str

    def head(self, headers: Headers) -> bytes:
        """The request's head up to the value of its last header, content-length. Raises UserError for a header that
        would break out of it, without telling its value, which may be a key.
        """
        for name, value in headers:
            if not _NAME.fullmatch(name):
                raise UserError(f"{name!r} cannot be the name of a header: letters, digits and hyphens only")
            if not _VALUE.fullmatch(value):
                raise UserError(
                    f"the value of the header {name} has a character that no header may hold, or blanks around it: "
                    "look at the plan's tenants, and at the environment variables with keys"
                )
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"host: {self.host_header}",
            "user-agent: fenzhen-loadtest",
            "content-type: application/json",
            *(f"{name}: {value}" for name, value in headers),
            "content-length: ",
        ]
        return "\r\n".join(lines).encode("ascii")


def address_of(base_url: str) -> Address:
    """Read an address, with or without /v1 at its end. Raises UserError."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError as error:
        raise UserError(f"the address of the target cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UserError("the address of the target must look like http://HOST:PORT or https://HOST")
    if parts.username is not None or parts.password is not None:
        # Not shown: it holds a password.
        raise UserError("the address of the target holds a name or a password: put a key into target.api_key_env")
    if parts.query or parts.fragment:
        raise UserError(f"the address of the target has something after its path: {base_url}")
    path = parts.path.rstrip("/")
    if not re.fullmatch(r"[!-~]*", path):
        raise UserError(f"the path of the target must be written in ASCII, with %: {path!r}")
    return Address(
        is_tls=parts.scheme == "https",
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        host_header=(f"[{host}]" if ":" in host else host) + (f":{port}" if port else ""),
        path=(path if path.endswith("/v1") else path + "/v1") + "/chat/completions",
    )
