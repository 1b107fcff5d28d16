"""Addresses of databases and of MLflow servers: checked, and shown without their passwords."""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

_SECRET_IN_QUERY: Final = re.compile(r"([?&](?:password|passfile|sslpassword)=)[^&]*", re.IGNORECASE)
_POSTGRES: Final = "postgresql+psycopg://"
_SQLITE: Final = "sqlite:///"


def without_password(uri: str) -> str:
    """The address as it may be shown and written down: the password left out, the name kept."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return uri
    authority, slash, tail = rest.partition("/")
    # A password may hold an @ that nobody has quoted: the last one ends it.
    user, at, host = authority.rpartition("@")
    shown = f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{tail}"
    return _SECRET_IN_QUERY.sub(r"\1", shown)


def passwords_in(uri: str) -> tuple[str, ...]:
    """All passwords that stand in an address, as written and as meant: for taking them out of others' messages."""
    authority = uri.partition("://")[2].partition("/")[0]
    user = authority.rpartition("@")[0]
    written = [user.partition(":")[2], *(match[0].partition("=")[2] for match in _SECRET_IN_QUERY.finditer(uri))]
    return tuple(dict.fromkeys(text for one in written if one for text in (one, unquote(one))))


def tracking_uri_of(text: str) -> str:
    """MLflow's address. Raises ValueError with a sentence to mend it by."""
    if text.lower().startswith(("http://", "https://")):
        if not _host_of(text):
            raise ValueError(f"{without_password(text)} names no host; write http://HOST:PORT")
        return text.rstrip("/")
    if text.lower().startswith("file:") or "://" not in text:
        raise ValueError(
            f"{text} is a folder, and MLflow 3 keeps nothing in bare files any more; write sqlite:////FOLDER/registry.db"
        )
    return database_uri_of(text, "MLflow's address", " or an MLflow server's http://HOST:PORT")


def database_uri_of(text: str, what: str = "a database", more: str = "") -> str:
    """SQLAlchemy's URL of SQLite or PostgreSQL. Raises ValueError with a sentence to mend it by."""
    shown = without_password(text)
    if text.startswith(_SQLITE):
        path = text.removeprefix(_SQLITE)
        if not path.startswith("/"):
            raise ValueError(f"{shown} depends on the folder one stands in; write sqlite:////FOLDER/FILE, four slashes")
        return text
    if text.startswith(_POSTGRES):
        if not _host_of(text) and "host=" not in text:
            raise ValueError(f"{shown} names no host; write {_POSTGRES}USER@HOST/DATABASE")
        return text
    if text.startswith(("postgres://", "postgresql")):
        raise ValueError(f"{shown} leaves the driver open; write {_POSTGRES}USER@HOST/DATABASE")
    raise ValueError(f"{what} is sqlite:////FOLDER/FILE, {_POSTGRES}USER@HOST/DATABASE{more}, got {shown}")


def require_no_password(uri: str, variable: str) -> str:
    """Refuse a password in the configuration's file. Raises ValueError."""
    if passwords_in(uri):
        raise ValueError(f"a password does not belong into this file: put the whole address into {variable}")
    return uri


def _host_of(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        # Reading it is what checks it.
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{without_password(text)} has a port that is none") from error
    return parts.hostname
