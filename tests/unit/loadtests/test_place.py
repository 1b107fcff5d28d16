import time
from pathlib import Path

import psutil
import pytest

from cluster.directory import Endpoint
from cluster.errors import Unavailable, UserError
from cluster.settings import Settings
from cluster.settings_file import profile
from cluster.stack_state import Phase, StackState, own_start_s, write_state
from loadtests.place import base_of, is_loopback, place_of


def settings(folder: Path) -> Settings:
    tiny = profile("tiny")
    return tiny.model_copy(update={"site": tiny.site.model_copy(update={"state_dir": folder})})


def state(folder: Path, phase: Phase = "ready") -> StackState:
    engine = Endpoint("small#1", "small", "http://127.0.0.1:9001", "ready", "", 0, None, None, 1)
    written = StackState(
        pid=psutil.Process().pid,
        pid_started_s=own_start_s(),
        phase=phase,
        message="loading weights",
        base_url="http://127.0.0.1:8000",
        settings_from="profile tiny",
        models={},
        endpoints=(engine,),
        log_dir=folder,
    )
    write_state(folder, written)
    return written


def test_without_an_address_the_running_stack_is_asked(tmp_path: Path) -> None:
    running = state(tmp_path)
    place = place_of(settings(tmp_path), None)
    assert place.url == "http://127.0.0.1:8000"
    assert place.engines == {"http://127.0.0.1:9001": "small"}
    assert place.state == running
    assert place.tested == "profile tiny: 1 × small"


def test_nothing_running_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="`fenzhen up` starts it"):
        place_of(settings(tmp_path), None)


def test_a_stack_that_is_still_starting_is_not_put_under_load(tmp_path: Path) -> None:
    state(tmp_path, "engines")
    with pytest.raises(Unavailable, match="loading weights"):
        place_of(settings(tmp_path), None)


def test_the_stack_is_known_by_its_own_address_too(tmp_path: Path) -> None:
    state(tmp_path)
    assert place_of(settings(tmp_path), "http://127.0.0.1:8000/v1/").state is not None
    other = place_of(settings(tmp_path), "http://127.0.0.1:9999")
    assert (other.state, dict(other.engines), other.tested) == (None, {}, "")


def test_engines_that_are_named_are_read_instead(tmp_path: Path) -> None:
    state(tmp_path)
    assert dict(place_of(settings(tmp_path), None, ("http://127.0.0.1:7000/v1",)).engines) == {
        "http://127.0.0.1:7000": ""
    }


def test_another_machine_is_put_under_load_only_if_that_is_meant(tmp_path: Path) -> None:
    # An address for documentation (RFC 5737): nobody has it, and it is not connected to.
    with pytest.raises(UserError, match="--elsewhere"):
        place_of(settings(tmp_path), "http://192.0.2.1:8000")
    assert place_of(settings(tmp_path), "http://192.0.2.1:8000", elsewhere=True).url == "http://192.0.2.1:8000"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/?a=b", "http://127.0.0.1:8000"),
        ("https://ai.example/gate/v1", "https://ai.example/gate"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_an_address_is_written_in_one_way(url: str, base: str) -> None:
    assert base_of(url) == base


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://", "http://a:b", "http://a:99999999"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="is no address"):
        base_of(url)


def test_a_password_in_an_address_is_refused_without_saying_it() -> None:
    with pytest.raises(UserError, match="api_key_env") as caught:
        base_of("http://me:s3cret@127.0.0.1:8000")
    assert "s3cret" not in str(caught.value)


def test_a_name_is_this_machine_only_if_all_its_addresses_are() -> None:
    assert is_loopback("http://localhost:1")
    assert is_loopback("http://[::1]:1")
    assert not is_loopback("http://0.0.0.0:1")


def test_a_name_that_nobody_knows_is_said() -> None:
    with pytest.raises(Unavailable, match="has no address"):
        is_loopback("http://no-such-name.invalid")


def test_a_stack_that_has_died_is_not_asked(tmp_path: Path) -> None:
    running = state(tmp_path)
    write_state(tmp_path, running.model_copy(update={"pid_started_s": time.time() - 10_000}))
    with pytest.raises(Unavailable, match="nothing is running"):
        place_of(settings(tmp_path), None)
