from dataclasses import replace

import pytest

from cluster.directory import Endpoint, State, Table
from cluster.errors import Unavailable
from cluster.settings import ExternalPool, FolderSource, Model, Pool, Settings
from fenzhen.awaited import Awaited

SOURCE = FolderSource.model_validate({"kind": "folder", "path": "/m", "sha256": "0" * 64})
FAR = ExternalPool(model="far", endpoints=tuple(f"http://far:{port}" for port in range(1, 9)))


def card(name: str) -> Model:
    return Model(
        name=name,
        sources=(SOURCE,),
        disk_bytes=1,
        languages=("en",),
        max_difficulty=1,
        context_tokens=1,
        parameters_b=1,
    )


def settings(*pools: Pool | ExternalPool) -> Settings:
    return Settings(models=tuple(card(pool.model) for pool in pools), pools=pools)


def engine(name: str, state: State = "ready") -> Endpoint:
    return Endpoint(name, "near", f"http://127.0.0.1:{len(name)}", state, "", 0, None, None, 1)


def server(port: int, state: State = "ready", detail: str = "answers", model: str = "far") -> Endpoint:
    return Endpoint(f"{model}@far:{port}", model, f"http://far:{port}", state, detail, 0, None, None, 1)


def table(*rows: Endpoint) -> Table:
    return Table(1, rows)


def test_every_engine_is_waited_for() -> None:
    awaited = Awaited(settings(Pool(model="near", engines=2, memory_bytes=1)), 0.0)
    assert not awaited.is_enough(table(engine("a")))
    assert awaited.message(table(engine("a"), engine("b", "starting"))) == "1 of 2 engines answer"
    assert awaited.is_enough(table(engine("a"), engine("b")))
    assert awaited.message(table(engine("a"), engine("b"))) == "every engine answers"
    awaited.check_time(table(), 1e9)


def test_of_servers_that_run_already_one_in_each_pool_is_enough() -> None:
    other = FAR.model_copy(update={"model": "other"})
    awaited = Awaited(settings(FAR, other, Pool(model="near", memory_bytes=1)), 0.0)
    servers = server(1), replace(server(2), model="other")
    assert not awaited.is_enough(table(engine("a"), server(1)))
    assert not awaited.is_enough(table(*servers))
    assert awaited.is_enough(table(engine("a"), *servers))
    assert awaited.message(table(engine("a"), *servers)) == "3 of 17 endpoints answer"
    awaited.check_time(table(*servers), 1e9)


def test_a_pool_of_which_none_answers_in_time_is_given_up_with_what_is_wrong() -> None:
    other = FAR.model_copy(update={"model": "other", "first_answer_timeout_s": 30})
    awaited = Awaited(settings(FAR, other), 100.0)
    rows = table(server(1, "restarting", "refuses connections"), server(2, "restarting", "says 404 on /health"))
    awaited.check_time(rows, 130.0)
    with pytest.raises(Unavailable, match=r"no endpoint of pool other has answered within 30 s"):
        awaited.check_time(rows, 131.0)
    with pytest.raises(Unavailable) as caught:
        awaited.check_time(rows, 161.0)
    assert str(caught.value) == (
        "no endpoint of pool far has answered within 60 s (first_answer_timeout_s): http://far:1 refuses connections; "
        "http://far:2 says 404 on /health; http://far:3 has not answered yet; http://far:4 has not answered yet; "
        "http://far:5 has not answered yet; and 3 more; none of other, either"
    )
