"""Which changes the running router can take over, and which need a restart."""

from pathlib import Path

import pytest

from cluster.closed import Closed
from cluster.settings import ExternalPool, FolderSource, Model, Settings
from cluster.settings_file import profile
from fenzhen.changes import changes

TINY = profile("tiny")
SMALL = TINY.served_models[0].name


def with_router(settings: Settings, **values: object) -> Settings:
    return settings.model_copy(update={"router": settings.router.model_copy(update=values)})


def with_card(settings: Settings, name: str, **values: object) -> Settings:
    cards = tuple(card.model_copy(update=values) if card.name == name else card for card in settings.models)
    return settings.model_copy(update={"models": cards})


def test_the_same_settings_are_no_change() -> None:
    assert changes(TINY, TINY) == changes(TINY, Settings.model_validate(TINY.model_dump(mode="json")))
    assert changes(TINY, TINY).router == changes(TINY, TINY).restart == ()


def test_the_router_s_own_settings_are_taken_over() -> None:
    found = changes(TINY, with_router(TINY, drain_s=5.0, replicas=3))
    assert found.router == ("router.drain_s: 30.0 → 5.0", "router.replicas: 1 → 3")
    assert found.restart == ()


@pytest.mark.parametrize("value", [{"host": "0.0.0.0"}, {"port": 9000}, {"ingress": "ray"}])
def test_where_callers_find_the_router_needs_a_restart(value: dict[str, object]) -> None:
    found = changes(TINY, with_router(TINY, **value))
    assert found.router == ()
    assert len(found.restart) == 1


@pytest.mark.parametrize(
    "value",
    [{"max_difficulty": 0.1}, {"languages": ("en", "fr")}, {"tools": True}, {"parameters_b": 9.0}, {"ability": 0.5}],
)
def test_what_a_model_is_trusted_with_is_taken_over(value: dict[str, object]) -> None:
    found = changes(TINY, with_card(TINY, SMALL, **value))
    assert found.restart == ()
    (line,) = found.router
    assert line.startswith(f"models.{SMALL}.{next(iter(value))}: ")


def test_what_an_engine_has_read_needs_a_restart() -> None:
    source = FolderSource(kind="folder", path=Path("/models/other"), sha256="0" * 64)
    found = changes(TINY, with_card(TINY, SMALL, context_tokens=1024, sources=(source,)))
    assert found.router == ()
    assert [line.split(":")[0] for line in found.restart] == [
        f"models.{SMALL}.context_tokens", f"models.{SMALL}.sources",
    ]  # fmt: skip
    assert all(len(line) < 200 for line in found.restart)


def test_what_only_a_fetch_reads_is_no_change() -> None:
    assert changes(TINY, with_card(TINY, SMALL, disk_bytes=1)) == changes(TINY, TINY)


def test_a_model_that_nobody_serves_is_no_change() -> None:
    more = Model(name="unused", languages=("en",), max_difficulty=1, context_tokens=1, parameters_b=1)
    assert changes(TINY, TINY.model_copy(update={"models": (*TINY.models, more)})) == changes(TINY, TINY)


def test_a_pool_that_comes_or_changes_needs_a_restart() -> None:
    pool = TINY.engine_pools[0]
    fewer = TINY.model_copy(update={"pools": TINY.pools[1:]})
    assert any(line.startswith(f"pools.{pool.model}.engines: 1 → not there") for line in changes(TINY, fewer).restart)
    threads = TINY.model_copy(update={"pools": (pool.model_copy(update={"cpu_threads": 2}), *TINY.pools[1:])})
    assert changes(TINY, threads).restart == (f"pools.{pool.model}.cpu_threads: 1 → 2",)


def test_how_much_an_outside_server_reads_concerns_the_router_alone() -> None:
    outside = ExternalPool(model=SMALL, endpoints=("http://127.0.0.1:9100",))
    settings = TINY.model_copy(update={"pools": (outside, *TINY.pools[1:])})
    found = changes(settings, with_card(settings, SMALL, context_tokens=1024))
    assert (found.restart, len(found.router)) == ((), 1)


def test_every_section_of_the_settings_is_compared() -> None:
    """A section that is added one day must not be overlooked: what is not known to be harmless needs a restart."""
    sections = {name for name, value in TINY if isinstance(value, Closed)}
    assert sections == {"router", "judging", "registry", "rollouts", "feedback", "site"}
    assert set(Settings.model_fields) == {"models", "pools"} | sections


def test_what_is_learnt_while_serving_is_taken_over() -> None:
    judging = TINY.judging.model_copy(update={"learn_ratio": 0.02})
    found = changes(TINY, TINY.model_copy(update={"judging": judging}))
    assert (found.router, found.restart) == (("judging.learn_ratio: 0.0 → 0.02",), ())
    feedback = TINY.feedback.model_copy(update={"keep_ratio": 0.1})
    found = changes(TINY, TINY.model_copy(update={"feedback": feedback}))
    assert (found.router, found.restart) == (("feedback.keep_ratio: 0.0 → 0.1",), ())


def test_when_a_pool_is_full_is_the_router_s_affair() -> None:
    pool = TINY.pools[0].model_copy(update={"busy_in_flight": 8})
    found = changes(TINY, TINY.model_copy(update={"pools": (pool, *TINY.pools[1:])}))
    assert found.router == (f"pools.{pool.model}.busy_in_flight: None → 8",)
    assert found.restart == ()


def test_the_controller_of_rollouts_is_replaced_for_what_it_reads_and_the_router_for_the_rest() -> None:
    rollouts = TINY.rollouts.model_copy(update={"lease_s": 9.0, "drift_ratio": 0.5})
    registry = TINY.registry.model_copy(update={"timeout_s": 20.0})
    found = changes(TINY, TINY.model_copy(update={"rollouts": rollouts, "registry": registry}))
    assert found.rollouts == ("registry.timeout_s: 10.0 → 20.0", "rollouts.lease_s: 5.0 → 9.0")
    assert found.router == ("rollouts.drift_ratio: 0.05 → 0.5",)
    assert found.restart == ()
