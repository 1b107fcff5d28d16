"""What becomes of versions when the registry is down, hangs, or a register is killed on its way."""

import contextlib
import logging
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cluster.errors import NotFound, OurFault, TimedOut, Unavailable, UserError
from registry.digests import folder_sha256
from registry.mlflow_store import MlflowStore
from registry.versions import Draft
from tests.fakes.mlflow_server import MlflowServer
from tests.fakes.postgres import Postgres
from tests.fakes.version_files import adapter_folder

DRAFT = Draft("hotline", "adapter", "small")
TIMEOUT_S = 2.0


def store_at(uri: str, folder: Path, timeout_s: float = 20.0) -> MlflowStore:
    return MlflowStore(uri, str(folder / "artifacts"), folder / "lists", timeout_s)


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "registry.db")
    return f"sqlite:///{tmp_path / 'registry.db'}"


@contextlib.contextmanager
def within(limit_s: float) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < limit_s


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_register_that_is_killed_anywhere_leaves_no_version_and_gc_finds_its_files(
    sqlite: str, tmp_path: Path
) -> None:
    files = adapter_folder(tmp_path / "a")
    artifacts = tmp_path / "artifacts"
    killed = subprocess.run(
        [sys.executable, "-m", "tests.contract.dying_register", sqlite, str(artifacts), str(files)],
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip

    lines = killed.stdout.split()
    # The last deaths come after the version was made: the next attempt then finds its files registered already.
    assert killed.returncode in (0, 1), killed.stderr
    assert len(lines) > 10
    store = store_at(sqlite, tmp_path)
    (version,) = store.versions()
    assert folder_sha256(store.fetch(version, tmp_path / "versions")) == version.sha256
    assert store.orphans(3600) == ()
    orphans = store.orphans(0)
    assert orphans
    for orphan in orphans:
        store.remove_orphan(orphan.run_id)
    assert store.orphans(0) == ()
    assert len(files_below(artifacts)) == len(version.files)
    assert store.damage(version) == ()


def test_an_upload_that_became_a_version_is_no_orphan(sqlite: str, tmp_path: Path) -> None:
    store = store_at(sqlite, tmp_path)
    version = store.register(DRAFT, adapter_folder(tmp_path / "a"))
    run_id = store._rows.row("hotline", 1).run_id

    store.remove_orphan(run_id)

    assert store.damage(version) == ()


def test_files_that_change_while_they_are_registered_are_not_kept(sqlite: str, tmp_path: Path) -> None:
    files = adapter_folder(tmp_path / "a")

    class Meddler:
        def stage(self, title: str, total_bytes: int | None) -> None:
            if "uploading" in title:
                (files / "adapter_config.json").write_text("{}")

        def advance(self, done_bytes: int) -> None: ...

        def note(self, line: str) -> None: ...

    store = MlflowStore(sqlite, str(tmp_path / "artifacts"), tmp_path / "lists", 20, Meddler())
    with pytest.raises(UserError, match="was changed while it was being registered"):
        store.register(DRAFT, files)

    assert store.versions() == ()
    assert files_below(tmp_path / "artifacts") == []
    assert store.orphans(0) == ()


def test_a_list_of_files_that_was_changed_in_the_database_stops_a_load(
    sqlite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(sqlite, tmp_path)
    version = store.register(DRAFT, adapter_folder(tmp_path / "a"))
    store.register(DRAFT, adapter_folder(tmp_path / "b", fill=b"\2"))
    tag = f'[["../../{version.files[0].path}","{version.files[0].sha256}",1]]'
    store._session.call(lambda client: client.set_model_version_tag("hotline", "1", "fenzhen.files", tag))

    with pytest.raises(OurFault, match="hotline 1: its list of files has been changed"):
        store.version("hotline", 1)
    assert [version.version for version in store.versions()] == [2]
    assert "left out: hotline 1" in caplog.text
    assert len(store.audit()[1]) == 1


def test_versions_of_others_in_the_same_mlflow_are_left_alone(sqlite: str, tmp_path: Path) -> None:
    store = store_at(sqlite, tmp_path)
    store.register(DRAFT, adapter_folder(tmp_path / "a"))
    store._session.call(lambda client: client.create_registered_model("theirs"))
    store._session.call(lambda client: client.create_model_version("theirs", "s3://somewhere/else"))

    assert [version.name for version in store.versions()] == ["hotline"]
    assert store.versions("theirs") == ()
    with pytest.raises(NotFound):
        store.delete("theirs", 1)


def test_a_database_that_another_process_holds_is_not_waited_for(sqlite: str, tmp_path: Path) -> None:
    import sqlite3

    store = store_at(sqlite, tmp_path, TIMEOUT_S)
    store.register(DRAFT, adapter_folder(tmp_path / "a"))
    holder = sqlite3.connect(sqlite.removeprefix("sqlite:///"))
    holder.execute("BEGIN EXCLUSIVE")
    with within(TIMEOUT_S + 6), pytest.raises(Unavailable):
        store.set_alias("hotline", "stable", 1)
    holder.close()
    assert store.version("hotline", 1).version == 1


def test_postgres_that_stops_answering_is_given_up_and_used_again(
    postgres: Postgres, postgres_template: str, tmp_path: Path
) -> None:
    store = store_at(postgres.uri(postgres.new_database(postgres_template)), tmp_path, TIMEOUT_S)
    fresh = store_at(postgres.uri(postgres.new_database(postgres_template)), tmp_path, TIMEOUT_S)
    version = store.register(DRAFT, adapter_folder(tmp_path / "a"))
    cached = store.fetch(version, tmp_path / "versions")
    postgres.signal(signal.SIGSTOP)
    try:
        for asked in (store, fresh):
            with within(TIMEOUT_S + 6), pytest.raises(Unavailable, match="answer"):
                asked.versions()
        with within(TIMEOUT_S + 6), pytest.raises(Unavailable):
            store.register(DRAFT, adapter_folder(tmp_path / "b", fill=b"\2"))
        # What is on this machine is used without asking anybody.
        assert store.fetch(version, tmp_path / "versions") == cached
    finally:
        postgres.signal(signal.SIGCONT)

    assert store.versions() == (version,)
    assert fresh.versions() == ()


def test_a_lock_that_is_not_let_go_in_postgres_ends_in_time_and_moves_nothing_later(
    postgres: Postgres, postgres_template: str, tmp_path: Path
) -> None:
    database = postgres.new_database(postgres_template)
    store = store_at(postgres.uri(database), tmp_path, TIMEOUT_S)
    store.register(DRAFT, adapter_folder(tmp_path / "a"))
    with psycopg.connect(f"host=127.0.0.1 port={postgres.port} user=fenzhen dbname={database}") as holder:
        holder.execute("LOCK TABLE registered_model_aliases IN ACCESS EXCLUSIVE MODE")
        with within(TIMEOUT_S + 6), pytest.raises(Unavailable):
            store.set_alias("hotline", "stable", 1)
    time.sleep(0.5)

    assert store.version("hotline", 1).aliases == ()
    store.set_alias("hotline", "stable", 1)
    assert store.version("hotline", 1).aliases == ("stable",)


def test_postgres_that_is_killed_says_so_and_is_found_again(
    postgres: Postgres, postgres_template: str, tmp_path: Path
) -> None:
    store = store_at(postgres.uri(postgres.new_database(postgres_template)), tmp_path, TIMEOUT_S)
    version = store.register(DRAFT, adapter_folder(tmp_path / "a"))
    postgres.kill()
    try:
        with within(TIMEOUT_S + 6), pytest.raises(Unavailable, match="nothing listens there"):
            store.versions()
        with within(TIMEOUT_S + 6), pytest.raises(Unavailable):
            store.register(DRAFT, adapter_folder(tmp_path / "b", fill=b"\2"))
    finally:
        postgres.start()

    assert store.versions() == (version,)
    assert store.orphans(0) == ()


def test_a_server_that_stops_answering_is_given_up_and_used_again(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    store = store_at(mlflow_server.url, tmp_path, TIMEOUT_S)
    draft = Draft("stopped", "adapter", "small")
    version = store.register(draft, adapter_folder(tmp_path / "a"))
    mlflow_server.signal(signal.SIGSTOP)
    try:
        with within(TIMEOUT_S + 6), pytest.raises(TimedOut, match="did not answer within 2 s"):
            store.versions()
        with within(TIMEOUT_S + 6), pytest.raises(Unavailable):
            store.set_alias("stopped", "stable", 1)
    finally:
        mlflow_server.signal(signal.SIGCONT)

    assert store.versions("stopped") == (version,)


def test_a_server_that_is_killed_in_the_middle_of_a_register_keeps_nothing_half(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    draft = Draft("killed", "adapter", "small")
    before = files_below(mlflow_server.artifacts)

    class Killer:
        is_uploading = False

        def stage(self, title: str, total_bytes: int | None) -> None:
            self.is_uploading = "uploading" in title

        def advance(self, done_bytes: int) -> None:
            if self.is_uploading:
                mlflow_server.kill()

        def note(self, line: str) -> None: ...

    store = MlflowStore(mlflow_server.url, "", tmp_path / "lists", 20, Killer())
    try:
        with pytest.raises(Unavailable, match=r"cannot be reached: (nothing listens there|it has cut)"):
            store.register(draft, adapter_folder(tmp_path / "a"))
    finally:
        mlflow_server.start()

    calm = store_at(mlflow_server.url, tmp_path)
    assert calm.versions("killed") == ()
    assert len(files_below(mlflow_server.artifacts)) == len(before) + 1
    (orphan,) = [orphan for orphan in calm.orphans(0) if orphan.name == "killed"]
    calm.remove_orphan(orphan.run_id)
    assert files_below(mlflow_server.artifacts) == before
    assert calm.register(draft, adapter_folder(tmp_path / "a")).version == 1


def test_an_object_store_that_never_answers_is_given_up(
    sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        for key, value in {
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(key, value)
        store = MlflowStore(sqlite, "s3://versions/deaf", tmp_path / "lists", TIMEOUT_S)
        with within(2 * TIMEOUT_S + 6), pytest.raises(Unavailable):
            store.register(DRAFT, adapter_folder(tmp_path / "a"))
        assert store.versions() == ()
        assert len(store.orphans(0)) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql+psycopg://me:sEcret%40x@127.0.0.1:9/x",
        "http://me:sEcret%40x@127.0.0.1:9",
        "postgresql+psycopg://me@127.0.0.1:9/x?password=sEcret%40x",
    ],
)
def test_a_password_is_in_no_error_and_in_no_log(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Unavailable) as failure:
        store_at(uri, tmp_path, TIMEOUT_S).versions()

    said = " ".join([str(failure.value), caplog.text, *capfd.readouterr()])
    assert "sEcret" not in said
    assert "127.0.0.1:9" in str(failure.value)
