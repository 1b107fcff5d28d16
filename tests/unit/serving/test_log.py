from pathlib import Path

from serving.log import BoundedLog, last_lines, size_bytes, telling_line


def test_a_full_log_is_moved_aside_once_and_never_takes_more_than_two_files(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    with BoundedLog(path, limit_bytes=100) as log:
        for number in range(50):
            log.write(b"line %02d\n" % number)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["engine.log", "engine.log.1"]
    assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())
    assert last_lines(path)[-1] == "line 49"


def test_a_log_goes_on_where_the_last_life_ended(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    with BoundedLog(path) as log:
        log.write(b"first life\n")
    start = size_bytes(path)
    with BoundedLog(path) as log:
        log.write(b"second life\n")
    assert last_lines(path, start) == ["second life"]


def test_a_log_rotated_in_this_life_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"new\n")
    assert last_lines(path, since_bytes=5000) == ["new"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log") == []
    assert size_bytes(tmp_path / "none.log") == 0


def test_the_line_quoted_is_the_cores_own_error_not_the_servers_echo_of_it() -> None:
    lines = [
        "(EngineCore pid=9) ERROR 11-22 08:22:39 [core.py:1] Traceback (most recent call last):",
        "(EngineCore pid=9) ERROR 11-22 08:22:39 [core.py:1] ValueError: No room for the KV cache",
        "(APIServer pid=8) RuntimeError: Engine core initialization failed. See root cause above. Failed: {}",
        "(APIServer pid=8) INFO 11-22 08:22:40 [launcher.py:1] bye",
    ]
    assert telling_line(lines) == "ValueError: No room for the KV cache"


def test_a_validation_error_is_quoted_with_what_is_wrong() -> None:
    lines = [
        "(APIServer pid=8) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "(APIServer pid=8)   Value error, Invalid repository ID or local directory specified: '/none'.",
    ]
    assert telling_line(lines) == (
        "1 validation error for ModelConfig Value error, Invalid repository ID or local directory specified: '/none'."
    )


def test_without_an_error_the_last_line_is_quoted() -> None:
    assert telling_line(["one", "(APIServer pid=8) INFO 11-22 08:22:40 [a.py:1] two", ""]) == "two"


def test_an_engine_that_wrote_nothing_is_said_to() -> None:
    assert telling_line([]) == "wrote nothing"


def test_a_very_long_line_is_cut() -> None:
    assert len(telling_line(["RuntimeError: " + "x" * 10_000])) == 300
