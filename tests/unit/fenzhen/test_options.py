from pathlib import Path

import click
import pytest

from cluster.errors import UserError
from cluster.settings_file import as_yaml, profile
from fenzhen.errors import Invocation
from fenzhen.options import load


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FENZHEN_PORT", raising=False)


def test_a_file_in_this_folder_is_read_without_being_asked_for() -> None:
    Path("fenzhen.yaml").write_text(as_yaml(profile("tiny")).replace("port: 8000", "port: 8123"))
    settings, label = load(None, None)
    assert (settings.router.port, label) == (8123, "fenzhen.yaml")


def test_a_profile_asked_for_goes_before_the_file() -> None:
    Path("fenzhen.yaml").write_text("nonsense")
    assert load(None, "tiny") == (profile("tiny"), "profile tiny")


def test_a_file_asked_for_must_be_there() -> None:
    with pytest.raises(UserError, match=r"other\.yaml does not exist"):
        load(Path("other.yaml"), None)


def test_without_a_file_the_profile_fits_the_memory() -> None:
    settings, label = load(None, None)
    assert settings in (profile("tiny"), profile("qwen"))
    assert label.startswith("profile ")
    assert label.endswith(" GB of memory")


def test_the_empty_file_that_a_shell_makes_for_our_output_does_not_count() -> None:
    Path("fenzhen.yaml").touch()
    assert load(None, None)[1].startswith("profile ")


def test_a_file_and_a_profile_exclude_each_other() -> None:
    with pytest.raises(click.UsageError, match="exclude each other"):
        load(Path("fenzhen.yaml"), "tiny")


def test_the_environment_goes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FENZHEN_PORT", "9000")
    assert load(None, "tiny")[0].router.port == 9000


def test_the_edge_learns_where_tracebacks_belong() -> None:
    invocation = Invocation()
    with click.Context(click.Command("doctor"), obj=invocation):
        settings, _ = load(None, "tiny")
    assert invocation.state_dir == settings.site.state_dir.expanduser()
