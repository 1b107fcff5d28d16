"""What every registry of versions promises: the fake, and MLflow on each of its databases and stores of files."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from cluster.errors import NotFound, OurFault, UserError
from registry.digests import file_sha256, folder_sha256
from registry.mlflow_store import MlflowStore
from registry.versions import Draft, Gate, Lineage, Version, VersionStore
from tests.fakes.version_files import adapter_folder, prompt_file
from tests.fakes.version_store import FakeVersionStore

TIMEOUT_S = 10.0


@dataclass
class Case:
    """One store, and how its files can be reached behind its back."""

    store: VersionStore
    spoil: Callable[[Version, str, bytes | None], None]
    """Replace the content of a version's file, or remove it."""
    prefix: str = ""

    def draft(self, name: str = "hotline", **more: object) -> Draft:
        draft = Draft(f"{self.prefix}{name}", "adapter", "small")
        return replace(draft, **more)  # type: ignore[arg-type]

    def own(self) -> tuple[Version, ...]:
        """All versions, of this test alone where the store is shared."""
        return tuple(version for version in self.store.versions() if version.name.startswith(self.prefix))


@pytest.fixture(params=["fake", "sqlite", "postgres", "server", "s3"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    artifacts = tmp_path / "artifacts"

    def mlflow(uri: str, artifacts: Path | str = artifacts) -> MlflowStore:
        return MlflowStore(uri, str(artifacts), tmp_path / "lists", TIMEOUT_S)

    def sqlite() -> str:
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "registry.db")
        return f"sqlite:///{tmp_path / 'registry.db'}"

    match request.param:
        case "fake":
            fake = FakeVersionStore(tmp_path / "fake")
            return Case(
                fake, lambda version, path, data: spoil(fake.folder_of(version.name, version.version) / path, data)
            )
        case "sqlite":
            return Case(mlflow(sqlite()), spoil_below(artifacts))
        case "postgres":
            server = request.getfixturevalue("postgres")
            template = request.getfixturevalue("postgres_template")
            return Case(mlflow(server.uri(server.new_database(template))), spoil_below(artifacts))
        case "server":
            running = request.getfixturevalue("mlflow_server")
            prefix = f"t{abs(hash(request.node.nodeid)) % 10**9}-"
            return Case(mlflow(running.url), spoil_below(running.artifacts), prefix)
        case _:
            url = request.getfixturevalue("s3_url")
            for key, value in {
                "MLFLOW_S3_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            }.items():
                monkeypatch.setenv(key, value)
            return Case(mlflow(sqlite(), f"s3://versions/{tmp_path.name}"), spoil_in_s3(url, tmp_path.name))


def spoil(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


def spoil_below(artifacts: Path) -> Callable[[Version, str, bytes | None], None]:
    def act(version: Version, path: str, data: bytes | None) -> None:
        sha256 = next(file.sha256 for file in version.files if file.path == path)
        found = [one for one in artifacts.rglob(path) if one.is_file() and file_sha256(one) == sha256]
        assert found
        for one in found:
            spoil(one, data)

    return act


def spoil_in_s3(url: str, prefix: str) -> Callable[[Version, str, bytes | None], None]:
    def act(version: Version, path: str, data: bytes | None) -> None:
        s3: Any = boto3.client("s3", endpoint_url=url)
        listed = s3.list_objects_v2(Bucket="versions", Prefix=f"{prefix}/")["Contents"]
        keys = [entry["Key"] for entry in listed if entry["Key"].endswith(f"/{path}")]
        assert keys
        for key in keys:
            if data is None:
                s3.delete_object(Bucket="versions", Key=key)
            else:
                s3.put_object(Bucket="versions", Key=key, Body=data)

    return act


def test_a_version_is_read_back_as_it_was_registered(case: Case, tmp_path: Path) -> None:
    files = adapter_folder(tmp_path / "a")
    (files / "notes").mkdir()
    (files / "notes" / "说明.md").write_text("für alle")
    first = case.store.register(case.draft(), adapter_folder(tmp_path / "before", fill=b"\0"))
    draft = case.draft(
        lineage=Lineage("tickets-2026 sha256:ab", "f3a9", "qwen2.5-0.5b at 7ae5576", first.version),
        results={"accuracy": 0.1 + 0.2, "loss": 1e-9},
        gates=(Gate("accuracy", ">= 0.9", 0.1 + 0.2, False), Gate("recall", "> 0", None, False)),
        note='Mit "Zitat",\nzwei Zeilen; 第二版',
    )

    kept = case.store.register(draft, files)

    assert (first.version, kept.version) == (1, 2)
    assert case.store.version(draft.name, 2) == kept
    assert case.store.versions(draft.name) == (first, kept) == case.own()
    assert kept.sha256 == folder_sha256(files)
    assert {file.path: file.size_bytes for file in kept.files}["notes/说明.md"] == 9
    assert (kept.kind, kept.serves, kept.lineage, kept.note) == ("adapter", "small", draft.lineage, draft.note)
    assert (kept.results, kept.gates, kept.aliases) == (draft.results, draft.gates, ())
    assert kept.created_s >= first.created_s > 1e9


def test_files_come_back_whole_under_their_digest(case: Case, tmp_path: Path) -> None:
    files = adapter_folder(tmp_path / "a")
    (files / "tokenizer").mkdir()
    (files / "tokenizer" / "vocab.txt").write_text("a b c")
    version = case.store.register(case.draft(), files)

    folder = case.store.fetch(version, tmp_path / "versions")

    assert folder == tmp_path / "versions" / version.sha256
    assert folder_sha256(folder) == version.sha256
    assert (folder / "tokenizer" / "vocab.txt").read_text() == "a b c"
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [version.sha256]


def test_a_file_that_was_changed_in_the_store_is_not_used(case: Case, tmp_path: Path) -> None:
    version = case.store.register(case.draft(), adapter_folder(tmp_path / "a"))
    case.spoil(version, "adapter_model.safetensors", b"other weights")

    with pytest.raises(OurFault, match=r"1 is not what was registered: adapter_model\.safetensors has"):
        case.store.fetch(version, tmp_path / "versions")
    assert list((tmp_path / "versions").iterdir()) == []


def test_a_file_that_is_gone_from_the_store_is_named(case: Case, tmp_path: Path) -> None:
    version = case.store.register(case.draft(), adapter_folder(tmp_path / "a"))
    case.spoil(version, "adapter_config.json", None)

    with pytest.raises(OurFault, match=r"adapter_config\.json is missing"):
        case.store.fetch(version, tmp_path / "versions")
    assert list((tmp_path / "versions").iterdir()) == []


def test_a_damaged_copy_on_this_machine_is_fetched_again(case: Case, tmp_path: Path) -> None:
    version = case.store.register(case.draft(), adapter_folder(tmp_path / "a"))
    folder = case.store.fetch(version, tmp_path / "versions")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "more").write_text("")

    assert folder_sha256(case.store.fetch(version, tmp_path / "versions")) == version.sha256


def test_the_same_files_are_registered_once_under_a_name(case: Case, tmp_path: Path) -> None:
    files = adapter_folder(tmp_path / "a")
    case.store.register(case.draft(), files)

    with pytest.raises(UserError, match=r"hotline has these very files already: version 1"):
        case.store.register(case.draft(note="again"), files)
    assert len(case.own()) == 1
    assert case.store.register(case.draft("other"), files).version == 1


def test_an_alias_points_at_one_version_and_moves(case: Case, tmp_path: Path) -> None:
    draft = case.draft()
    for fill in (b"\1", b"\2"):
        case.store.register(draft, adapter_folder(tmp_path / "a", fill=fill))
    case.store.set_alias(draft.name, "stable", 1)
    case.store.set_alias(draft.name, "canary", 2)
    assert [version.aliases for version in case.own()] == [("stable",), ("canary",)]

    case.store.set_alias(draft.name, "previous", 1)
    case.store.set_alias(draft.name, "stable", 2)
    case.store.set_alias(draft.name, "canary", None)
    case.store.set_alias(draft.name, "canary", None)

    assert [version.aliases for version in case.own()] == [("previous",), ("stable",)]
    assert case.store.version(draft.name, 2).aliases == ("stable",)


def test_a_version_with_an_alias_is_not_deleted_and_a_number_is_never_used_again(case: Case, tmp_path: Path) -> None:
    draft = case.draft()
    for fill in (b"\1", b"\2"):
        case.store.register(draft, adapter_folder(tmp_path / "a", fill=fill))
    case.store.set_alias(draft.name, "stable", 2)
    with pytest.raises(UserError, match="2 is stable: move the alias first"):
        case.store.delete(draft.name, 2)

    case.store.set_alias(draft.name, "stable", None)
    case.store.delete(draft.name, 2)

    assert [version.version for version in case.own()] == [1]
    with pytest.raises(NotFound, match="has no version 2"):
        case.store.version(draft.name, 2)
    assert case.store.register(draft, adapter_folder(tmp_path / "a", fill=b"\2")).version == 3


def test_what_is_not_there_is_said_to_be_missing(case: Case, tmp_path: Path) -> None:
    name = case.draft("nobody").name
    assert case.store.versions(name) == ()
    with pytest.raises(NotFound):
        case.store.version(name, 1)
    with pytest.raises(NotFound):
        case.store.set_alias(name, "stable", 1)
    with pytest.raises(NotFound):
        case.store.delete(name, 1)
    case.store.set_alias(name, "stable", None)


def test_a_prompt_is_one_text_whatever_its_file_is_called(case: Case, tmp_path: Path) -> None:
    draft = case.draft(kind="prompt")
    version = case.store.register(draft, prompt_file(tmp_path / "系统.md", "Sei freundlich."))

    assert [file.path for file in version.files] == ["prompt.txt"]
    folder = case.store.fetch(version, tmp_path / "versions")
    assert (folder / "prompt.txt").read_text() == "Sei freundlich."
    with pytest.raises(UserError, match="has these very files already"):
        case.store.register(draft, prompt_file(tmp_path / "other.txt", "Sei freundlich."))


def test_what_is_no_version_is_refused_and_nothing_is_kept(case: Case, tmp_path: Path) -> None:
    pickled = adapter_folder(tmp_path / "pickled")
    (pickled / "training_args.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"training_args\.bin may be a pickle"):
        case.store.register(case.draft(), pickled)
    with pytest.raises(UserError, match="no version 7 that could be the parent"):
        case.store.register(case.draft(lineage=Lineage(parent=7)), adapter_folder(tmp_path / "a"))
    with pytest.raises(UserError, match="cannot be a name"):
        case.store.register(case.draft("../x"), adapter_folder(tmp_path / "a"))
    assert case.own() == ()


def test_a_list_of_files_too_long_for_a_tag_is_kept_beside_them(case: Case, tmp_path: Path) -> None:
    files = adapter_folder(tmp_path / "a")
    for number in range(60):
        (files / f"shard-{number:05}-of-00060.json").write_text(str(number))

    version = case.store.register(case.draft(), files)

    assert len(version.files) == 62
    assert case.own() == (version,)
    assert folder_sha256(case.store.fetch(version, tmp_path / "versions")) == version.sha256


def test_registers_at_the_same_time_get_numbers_of_their_own(case: Case, tmp_path: Path) -> None:
    folders = [adapter_folder(tmp_path / str(number), fill=bytes([number])) for number in range(4)]
    results: list[object] = []

    def register(folder: Path) -> None:
        try:
            results.append(case.store.register(case.draft(), folder).version)
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=register, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(results, key=str) == [1, 2, 3, 4]
    assert [version.version for version in case.own()] == [1, 2, 3, 4]


def test_of_two_that_register_the_same_files_at_once_one_is_kept(case: Case, tmp_path: Path) -> None:
    files = adapter_folder(tmp_path / "a")
    results: list[object] = []
    together = threading.Barrier(2)

    def register() -> None:
        together.wait(10)
        try:
            results.append(case.store.register(case.draft(), files))
        except UserError as error:
            results.append(str(error))

    threads = [threading.Thread(target=register) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    (kept,) = case.own()
    assert kept in results
    assert any("has these very files already" in str(result) for result in results)
