"""What tests of several folders share: real databases and servers, each started once and only if it is asked for."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from registry.mlflow_store import MlflowStore
from tests.fakes.mlflow_server import MlflowServer
from tests.fakes.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One real PostgreSQL for all tests; each makes a database of its own in it."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: it takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    MlflowStore(f"sqlite:///{path}", "/nowhere", path.parent, 30).versions()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """The same in PostgreSQL. A program of its own: a template must have no connections."""
    name = postgres.new_database()
    code = (
        "import sys; from pathlib import Path; from registry.mlflow_store import MlflowStore;"
        "MlflowStore(sys.argv[1], '/nowhere', Path('/nowhere'), 30).versions()"
    )
    subprocess.run([sys.executable, "-c", code, postgres.uri(name)], check=True, timeout=90)
    return name


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    # Imported late: it takes a second, and few tests want it.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    httpx.put(f"http://{host}:{port}/versions").raise_for_status()
    yield f"http://{host}:{port}"
    server.stop()
