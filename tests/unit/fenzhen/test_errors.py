from collections.abc import Callable
from pathlib import Path

import click
import pytest

from cluster.errors import BadRequest, FenzhenError, OurFault, TimedOut, Unavailable, UserError
from fenzhen.errors import Invocation, exit_code_of


def raising(error: BaseException) -> Callable[[], object]:
    def command() -> object:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("mend this"), 2),
        (BadRequest("mend this", "field"), 2),
        (Unavailable("mend this"), 3),
        (TimedOut("mend this"), 3),
        (OurFault("mend this"), 1),
    ],
)
def test_an_error_of_ours_is_one_sentence_and_an_exit_code(
    error: FenzhenError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(raising(error), Invocation()) == code
    assert capsys.readouterr() == ("", "fenzhen: mend this\n")


def test_each_line_of_a_long_error_says_who_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(raising(UserError("one\ntwo")), Invocation())
    assert capsys.readouterr().err == "fenzhen: one\nfenzhen: two\n"


def test_a_surprise_leaves_its_traceback_in_a_file_and_not_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(raising(KeyError("router")), Invocation(tmp_path / "state")) == 1
    (path,) = (tmp_path / "state").iterdir()
    assert capsys.readouterr().err == f"fenzhen: a fault of ours, KeyError: 'router'; the details are in {path}\n"
    assert "Traceback" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_state_folder_that_cannot_be_made_does_not_lose_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    assert exit_code_of(raising(KeyError()), Invocation(tmp_path / "file" / "state")) == 1
    assert list(tmp_path.glob("fault-*.txt"))
    assert "KeyError: no message;" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_quietly(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(raising(error), Invocation()) == 130
    assert capsys.readouterr().err == "fenzhen: interrupted\n"


def test_what_a_command_returns_is_its_exit_code() -> None:
    assert exit_code_of(lambda: 1, Invocation()) == 1
    assert exit_code_of(lambda: None, Invocation()) == 0
