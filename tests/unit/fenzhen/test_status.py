import io

from rich.console import Console

from cluster.directory import Endpoint, State
from fenzhen.stack_view import line_of
from fenzhen.status import _rows, _view


def row(model: str, number: int, state: State = "ready", *, is_external: bool = True) -> dict[str, object]:
    return {
        "id": f"{model}@far:{number}",
        "model": model,
        "state": state,
        "detail": "answers" if state == "ready" else "refuses connections",
        "restarts": 0,
        "base_url": f"http://far:{number}",
        "memory_bytes": 0,
        "is_external": is_external,
        "weights": "with servers that run already",
        "adapters": [],
        "adapter_faults": {},
    }


def test_a_small_pool_is_shown_row_by_row() -> None:
    rows = [row("far", number) for number in range(8)]
    engines = [row("near", number, is_external=False) for number in range(20)]
    assert _rows([*rows, *engines]) == [*rows, *engines]


def test_of_a_large_pool_the_number_and_the_first_that_are_down_are_shown() -> None:
    rows = [row("far", number, "restarting" if number % 2 else "ready") for number in range(100)]
    first, *down = _rows(rows)
    assert (first["state"], first["detail"], first["base_url"]) == ("ready", "50 of 100 answer", "")
    assert [each["base_url"] for each in down] == ["http://far:1", "http://far:3", "http://far:5"]
    dead = _rows([row("far", number, "restarting") for number in range(100)])[0]
    assert (dead["state"], dead["detail"]) == ("restarting", "0 of 100 answer")


def test_the_weights_of_a_model_are_named_once_and_nobody_elses_memory_is() -> None:
    head = {"status": "ready", "message": "", "base_url": "", "router": "", "memory_bytes": 5, "processes": 1}
    out = io.StringIO()
    document = {**head, "log_dir": "/l", "engines": [row("far", 1), row("far", 2)]}
    Console(file=out, width=120).print(_view(document))
    text = out.getvalue()
    assert text.count("with servers that run already") == 1
    assert "0 bytes" not in text


def test_adapters_are_shown_where_they_are_loaded_and_where_they_could_not_be() -> None:
    head = {"status": "ready", "message": "", "base_url": "", "router": "", "memory_bytes": 5, "processes": 1}
    loaded = row("far", 1) | {"adapters": ["forms@1-1a2b3c4d"]}
    broken = row("far", 2) | {"adapter_faults": {"forms@1-1a2b3c4d": "its rank 64 is over 16"}}
    out = io.StringIO()
    Console(file=out, width=120).print(_view({**head, "log_dir": "/l", "engines": [loaded, broken]}))
    assert "forms@1-1a2b3c4d in far@far:1\n" in out.getvalue()
    assert "forms@1-1a2b3c4d not in far@far:2: its rank 64 is over 16" in out.getvalue()


def test_a_line_of_a_start_names_the_server() -> None:
    server = Endpoint("far@a:1", "far", "http://a:1", "restarting", "refuses connections", 3, None, None, 5)
    assert line_of(server) == "far@a:1 refuses connections"
    engine = Endpoint("near-1", "near", "http://a:2", "restarting", "was killed", 3, None, None, 5)
    assert line_of(engine) == "near restarting: was killed (restarted 3 times)"
