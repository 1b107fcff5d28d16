"""MLflow's client, opened when it is first needed, each call bounded and each error in our words.

The only module that knows MLflow: what others get of it are its client and its artifact repositories, inside `call`.
"""

import logging
import math
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from cluster.errors import FenzhenError, NotFound, OurFault, Unavailable, UserError
from cluster.store_uri import passwords_in, without_password
from registry.bounded import Bounded

# Making MLflow's tables takes seconds, once in a database's life, and its import one more.
OPEN_S: Final = 60.0
# A server passes a large file on before it answers; metadata is given up earlier, by `Bounded`.
TRANSFER_S: Final = 300
_SQLITE: Final = "sqlite:///"
_MAX_TEXT: Final = 300
# What libraries bury in long lines of their own.
_SIGNS: Final = (
    ("Connection refused", "nothing listens there"),
    ("Name or service not known", "there is no such host"),
    ("Temporary failure in name resolution", "its name cannot be looked up now"),
    ("No route to host", "there is no way to that host"),
    ("lock timeout", "another process holds what we need"),
    ("database is locked", "another process holds the database"),
    ("statement timeout", "it does not answer"),
    ("timed out", "it does not answer"),
    ("timeout expired", "it does not answer"),
    ("Connection aborted", "it has cut the connection"),
    ("Connection reset", "it has cut the connection"),
)

Answer = TypeVar("Answer")


class MlflowSession:
    """One MLflow: a database, or a server."""

    def __init__(self, tracking_uri: str, timeout_s: float) -> None:
        self.shown = without_password(tracking_uri)
        """The address, for people."""
        self.is_server = tracking_uri.startswith("http")
        self._secrets = passwords_in(tracking_uri)
        self._uri = _bounded_postgres(tracking_uri, timeout_s)
        self._bounded = Bounded(f"the registry at {self.shown}", timeout_s)
        self._client: Any = None
        self._opening = threading.Lock()

    def call(self, what: Callable[[Any], Answer], *, file_bytes: int = 0) -> Answer:
        """What something does with MLflow's client. Raises NotFound, Unavailable, UserError or OurFault.

        `NotFound` and `UserError` say that nothing was changed; after another error it may have been, or be later.
        """
        client = self._open()
        return self._run(lambda: what(client), file_bytes=file_bytes)

    def repository(self, uri: str) -> Any:
        """MLflow's artifact repository at an address: to be used inside `call`."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(uri, tracking_uri=self._uri)

    def metric(self, name: str, value: float, at_ms: int, step: int = 0) -> Any:
        """A metric for `log_batch`."""
        from mlflow.entities import Metric

        return Metric(name, value, at_ms, step)

    def parameter(self, name: str, value: str) -> Any:
        """A parameter for `log_batch`."""
        from mlflow.entities import Param

        return Param(name, value)

    def _open(self) -> Any:
        if self._client is None:
            if not self._opening.acquire(timeout=OPEN_S):
                raise Unavailable(f"the registry at {self.shown} does not answer")
            try:
                if self._client is None:
                    _prepare()
                    is_made = self.is_server or self._run(lambda: _has_tables(self._uri))
                    self._client = self._run(lambda: _client(self._uri), least_s=0.0 if is_made else OPEN_S)
            finally:
                self._opening.release()
        return self._client

    def _run(self, call: Callable[[], Answer], *, file_bytes: int = 0, least_s: float = 0.0) -> Answer:
        try:
            return self._bounded.run(call, file_bytes=file_bytes, least_s=least_s)
        except FenzhenError:
            raise
        except Exception as error:  # MLflow lets through whatever the libraries below it raise.
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> FenzhenError:
        code, text = getattr(error, "error_code", ""), self._clean(str(error))
        if code == "RESOURCE_DOES_NOT_EXIST":
            return NotFound(text)
        if code == "RESOURCE_ALREADY_EXISTS":
            return AlreadyThere(text)
        if "out-of-date database schema" in text:
            return UserError(
                f"the database {self.shown} was made by another version of MLflow; make a backup, then `mlflow db "
                "upgrade ADDRESS` brings it up to date"
            )
        status = getattr(getattr(error, "response", None), "status_code", None)
        if code in ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED") or status in (401, 403):
            return UserError(
                f"the registry at {self.shown} refuses us; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a "
                "password in FENZHEN_TRACKING_URI, say who we are"
            )
        if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"):
            return OurFault(f"the registry at {self.shown} did not understand us: {text[:_MAX_TEXT]}")
        if isinstance(error, (TypeError, AttributeError, ImportError)):
            return OurFault(f"MLflow cannot be used: {type(error).__name__}: {text[:_MAX_TEXT]}")
        for sign, reason in _SIGNS:
            if sign in text:
                return Unavailable(f"the registry at {self.shown} cannot be reached: {reason}")
        return Unavailable(f"the registry at {self.shown} cannot be used now: {text[:_MAX_TEXT]}")

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


class AlreadyThere(UserError):
    """MLflow has something of this name: another process was faster."""


def pages(page: Callable[[str | None], Any]) -> list[Any]:
    """All pages of one of MLflow's searches."""
    found: list[Any] = []
    token = None
    while True:
        part = page(token)
        found += part
        token = part.token
        if not token:
            return found


def _prepare() -> None:
    """Import MLflow, and only here, with what has to be said before and after that."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    # On standard output, in the middle of what `--json` prints.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TRANSFER_S))
    # Whoever calls us knows better when to try again; making a version twice would be worse than failing.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # botocore waits a minute for each try.
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")
    # Its errors come to us as exceptions; as log lines they would quote statements.
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL + 1)
    import mlflow.tracking  # noqa: F401
    from mlflow.store.db import utils

    # It would try for the better part of an hour, holding a lock that the next call needs.
    utils.MAX_RETRY_COUNT = 1


def _has_tables(uri: str) -> bool:
    """Whether MLflow has used a database before."""
    import mlflow.store.db.utils

    utils: Any = mlflow.store.db.utils  # It has no types.
    if uri.startswith(_SQLITE):
        _make_private(Path(uri.removeprefix(_SQLITE)))
    engine = utils.create_sqlalchemy_engine(uri)
    try:
        return bool(utils._all_tables_exist(engine))
    finally:
        engine.dispose()


def _client(uri: str) -> Any:
    """MLflow's client. Takes seconds where tables have to be made."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    # The two halves open their database when they are first used.
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)
    return client


def _make_private(database: Path) -> None:
    """Make the folder of a SQLite file, for its owner alone."""
    if not database.parent.is_dir():
        database.parent.mkdir(parents=True, mode=stat.S_IRWXU)


def _bounded_postgres(uri: str, timeout_s: float) -> str:
    """The address with limits that the server and the driver keep: what was given up shall not happen later."""
    if not uri.startswith("postgresql"):
        return uri
    limit_ms = math.ceil(timeout_s * 1000)
    wanted = {
        "connect_timeout": str(math.ceil(timeout_s)),
        "tcp_user_timeout": str(limit_ms),
        "options": quote(f"-c statement_timeout={limit_ms} -c lock_timeout={limit_ms}"),
    }
    mark = "&" if "?" in uri else "?"
    return uri + mark + "&".join(f"{key}={value}" for key, value in wanted.items() if f"{key}=" not in uri)
