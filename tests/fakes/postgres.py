"""A real PostgreSQL for tests: a cluster in a temporary folder, on loopback, ended with the tests."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
from psycopg import sql

# Debian keeps the server's programs out of the path.
_DEBIAN = Path("/usr/lib/postgresql")
_START_S = 30.0


class Postgres:
    """Runs until the `with` block ends. Anyone on this machine may come in: there is nothing of worth in it."""

    def __init__(self) -> None:
        self._bin = _programs()
        self._user = _ordinary_user()
        self._folder = Path(tempfile.mkdtemp(prefix="fenzhen-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def __enter__(self) -> Self:
        if self._user:
            shutil.chown(self._folder, self._user)
        # `--no-sync` and fsync=off: what a test writes need not survive this machine.
        subprocess.run(
            [self._bin / "initdb", "-D", self._folder / "data", "-U", "fenzhen", "-A", "trust", "-E", "UTF8",
             "--no-locale", "--no-sync"],
            user=self._user, check=True, capture_output=True, timeout=60, cwd=self._folder,
        )  # fmt: skip
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server, again after `kill`, on the same port and with the same databases."""
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", self._folder / "data", "-p", str(self.port),
             *(part for key, value in options.items() for part in ("-c", f"{key}={value}"))],
            user=self._user, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self._folder, start_new_session=True,
        )  # fmt: skip
        ends_s = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self._conninfo("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, "PostgreSQL ended while it was starting"
                assert time.monotonic() < ends_s, "PostgreSQL did not start"
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End the server and all its processes at once."""
        if self._process:
            self.signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP: connections are still accepted by the kernel, and nothing ever answers. SIGCONT ends that."""
        assert self._process
        # Each connection has a process, which leaves the server's group.
        parent = psutil.Process(self._process.pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def new_database(self, template: str = "template1") -> str:
        """Make a database, as a copy of another, and give its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return name

    def uri(self, database: str) -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://fenzhen@127.0.0.1:{self.port}/{database}"

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=fenzhen dbname={database}"


def _programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise RuntimeError("these tests need PostgreSQL's server programs: apt-get install postgresql")


def _ordinary_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
