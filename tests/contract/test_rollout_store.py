"""What every database of rollouts promises: SQLite and a real PostgreSQL."""

import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from cluster.errors import Unavailable, UserError
from registry.database import Database
from registry.history import Note
from registry.lease import LostLease
from registry.rollout import Rollout
from registry.rollout_states import Canary, Duty, Loading, Promoted, RolledBack, as_configured
from registry.rollout_store import Answer, RolloutStore, Watch
from tests.fakes.postgres import Postgres
from tests.fakes.rollouts import BASE, NAME, STARTED, adapter_release, rollout

LEASE_S = 30.0
Url = Callable[[], str]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'rollouts.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.uri(server.new_database())


@pytest.fixture
def store(url: str) -> Iterator[RolloutStore]:
    made = RolloutStore(Database(url))
    yield made
    made.close()


def note(event: str) -> Note:
    return Note(NAME, "r1", event, "controller", "because", '{"a": "\\u5206"}')


def test_a_rollout_is_read_as_it_was_written(store: RolloutStore) -> None:
    first = replace(rollout(Canary(12.5, 1)), previous=as_configured(BASE, name=NAME))
    store.start(first, STARTED)
    now = store.snapshot()
    assert (now.rollouts, now.duties, now.leader) == ((first,), {}, "")
    assert store.latest() == store.latest(NAME) == (first,)
    assert store.latest("other") == ()


def test_one_name_has_one_rollout_at_a_time(store: RolloutStore) -> None:
    store.start(rollout(), STARTED)
    with pytest.raises(UserError, match="runs already"):
        store.start(rollout(rollout_id="r2"), STARTED)
    store.start(rollout(rollout_id="r3", name="other"), STARTED)
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    store.advance(lease, rollout(RolledBack(1.0, "", "")), None, note("rolled back"))
    store.start(rollout(rollout_id="r2"), STARTED)
    assert {each.rollout_id for each in store.snapshot().rollouts} == {"r2", "r3"}
    assert len(store.history()) == 4, "what was refused left nothing"


def test_of_many_starts_at_one_moment_one_is_stored(url: str) -> None:
    refused: list[str] = []

    def start(number: int) -> None:
        own = RolloutStore(Database(url))
        try:
            own.start(rollout(rollout_id=f"r{number}"), STARTED)
        except UserError as error:
            refused.append(str(error))
        finally:
            own.close()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = RolloutStore(Database(url))
    assert (len(store.snapshot().rollouts), len(refused)) == (1, 5)
    assert store.verify()[0] == ""
    store.close()


def test_a_rollout_of_what_is_no_longer_stable_is_refused(store: RolloutStore) -> None:
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    promoted = rollout(Promoted(1.0))
    store.advance(lease, promoted, Duty(adapter_release(2), adapter_release(1)), note("promoted"))
    store.advance(lease, replace(promoted, state=RolledBack(1.0, "", "")), None, note("done"))
    with pytest.raises(UserError, match="has come to version 2"):
        store.start(rollout(rollout_id="r2"), STARTED)


def test_a_change_is_stored_whole_with_a_new_generation(store: RolloutStore) -> None:
    store.start(rollout(), STARTED)
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    before = store.snapshot().generation
    duty = Duty(adapter_release(1))
    order = store.give(rollout(), "promote", by="anna", reason="it is fine", stage="shadow")
    assert [each.verb for each in store.snapshot().orders["r1"]] == ["promote"]
    assert store.answer(order) is None
    generation, entry = store.advance(
        lease, rollout(Canary(5.0, 0)), duty, note("canary 1/3"), (order, Answer(True, "on"))
    )
    now = store.snapshot()
    assert (now.rollouts[0].stage, now.duties, now.orders) == ("canary 1/3", {NAME: duty}, {})
    assert generation == now.generation > before
    assert store.answer(order) == Answer(True, "on")
    assert store.history(NAME)[-1] == entry


def test_a_rollback_goes_before_all_that_was_ordered_earlier(store: RolloutStore) -> None:
    store.start(rollout(), STARTED)
    for verb in ("hold", "promote", "roll_back"):
        store.give(rollout(), verb, by="anna")
    assert [each.verb for each in store.snapshot().orders["r1"]] == ["roll_back", "hold", "promote"]


def test_orders_that_are_left_at_the_end_are_answered(store: RolloutStore) -> None:
    store.start(rollout(), STARTED)
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    order = store.give(rollout(), "promote", by="anna")
    store.advance(lease, rollout(RolledBack(1.0, "", "")), None, note("rolled back"))
    assert store.answer(order) == Answer(False, "the rollout is over: rolled back")


def test_one_holds_the_lease_until_it_ends_or_is_released(store: RolloutStore) -> None:
    first = store.acquire("a", 0.4)
    assert first is not None
    assert store.acquire("b", LEASE_S) is None
    assert store.snapshot().leader == "a"
    store.renew(first, 0.4)
    time.sleep(0.5)
    assert store.snapshot().leader == ""
    second = store.acquire("b", LEASE_S)
    assert second is not None
    assert second.epoch == first.epoch + 1
    store.release(first)
    assert store.snapshot().leader == "b", "who has lost it releases nothing"
    store.release(second)
    assert store.acquire("c", LEASE_S) is not None


def test_who_has_lost_the_lease_writes_nothing(store: RolloutStore) -> None:
    store.start(rollout(), STARTED)
    first = store.acquire("a", 0.05)
    assert first is not None
    order = store.give(rollout(), "promote", by="anna")
    time.sleep(0.1)
    assert store.acquire("b", LEASE_S) is not None
    before = (store.snapshot().rollouts, store.snapshot().generation, store.history())
    writes: list[Callable[[], object]] = [
        lambda: store.renew(first, LEASE_S),
        lambda: store.require(first),
        lambda: store.advance(first, rollout(Loading(1.0)), Duty(adapter_release(1)), note("loading")),
        lambda: store.refuse(first, order, "no", note("refused")),
        lambda: store.next_generation(first, 0),
        lambda: store.keep(first, Watch("r1", "loading", 1.0, b"", "{}")),
    ]
    for write in writes:
        with pytest.raises(LostLease):
            write()
    assert (store.snapshot().rollouts, store.snapshot().generation, store.history()) == before
    assert store.snapshot().duties == {}
    assert store.answer(order) is None


def test_of_many_that_want_the_lease_one_gets_it(url: str) -> None:
    stores = [RolloutStore(Database(url)) for _ in range(6)]
    won: list[object] = []
    threads = [threading.Thread(target=lambda each=each: won.append(each.acquire("x", LEASE_S))) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([lease for lease in won if lease is not None]) == 1
    for each in stores:
        each.close()


def test_numbers_of_traffic_only_grow(store: RolloutStore) -> None:
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    first = store.next_generation(lease, 0)
    assert store.next_generation(lease, 0) == first + 1
    assert store.next_generation(lease, 1000) == 1001, "above what an older database had put in force"


def test_evidence_is_kept_and_replaced(store: RolloutStore) -> None:
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    assert store.watch("r1") is None
    for watched_s in (1.0, 2.5):
        store.keep(lease, Watch("r1", "shadow", watched_s, bytes(range(256)), '{"waits_for": "分"}'))
    kept = store.watch("r1")
    assert kept is not None
    assert (kept.watched_s, kept.evidence, kept.document) == (2.5, bytes(range(256)), '{"waits_for": "分"}')


def test_what_rollouts_and_duties_need_is_named(store: RolloutStore) -> None:
    assert store.needed_versions() == frozenset()
    store.start(rollout(canary=adapter_release(5)), STARTED)
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    other = rollout(RolledBack(0.0, "", ""), name="other", rollout_id="r2")
    store.advance(lease, other, Duty(adapter_release(3, "other"), as_configured(BASE, name="other")), note("x"))
    assert store.needed_versions() == {(NAME, 1), (NAME, 5), ("other", 3)}


def test_an_entry_that_was_altered_is_named(url: str, store: RolloutStore) -> None:
    for number in range(5):
        store.note(note(f"event {number}"))
    words, seal = store.verify()
    assert (words, seal) == ("", store.history()[-1].seal)
    engine = create_engine(url)
    with pytest.raises(DBAPIError, match="only ever added to"), engine.begin() as connection:
        connection.execute(text("UPDATE fenzhen_history SET said = 'all was well' WHERE seq = 3"))
    with pytest.raises(DBAPIError, match="only ever added to"), engine.begin() as connection:
        connection.execute(text("DELETE FROM fenzhen_history WHERE seq = 3"))
    is_sqlite = url.startswith("sqlite")
    # Who owns the database can take the guard away; the seals still tell.
    off = ["DROP TRIGGER fenzhen_history_no_update", "DROP TRIGGER fenzhen_history_no_delete"]
    with engine.begin() as connection:
        for statement in off if is_sqlite else ["DROP TRIGGER fenzhen_history_guard ON fenzhen_history"]:
            connection.execute(text(statement))
        connection.execute(text("UPDATE fenzhen_history SET said = 'all was well' WHERE seq = 3"))
    assert "entry 3 does not fit" in store.verify()[0]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM fenzhen_history WHERE seq = 3"))
    assert "entry 3 is missing" in store.verify()[0]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM fenzhen_history WHERE seq > 2"))
    assert "missing at the end" in store.verify()[0]
    engine.dispose()


def test_a_database_of_another_version_is_left_alone(url: str, store: RolloutStore) -> None:
    store.snapshot()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE fenzhen_control SET schema_version = 99"))
    engine.dispose()
    newer = RolloutStore(Database(url))
    with pytest.raises(UserError, match="schema 99"):
        newer.snapshot()
    newer.close()


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "rollouts.db"
    store = RolloutStore(Database(f"sqlite:///{path}"))
    lease = store.acquire("a", LEASE_S)
    assert lease is not None
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()


def test_a_database_that_is_away_is_said_so_without_the_password_and_used_again(postgres: Postgres) -> None:
    uri = postgres.uri(postgres.new_database()).replace("fenzhen@", "fenzhen:sesame-open@")
    store = RolloutStore(Database(uri))
    store.start(rollout(), STARTED)
    postgres.kill()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                store.snapshot()
            assert "sesame" not in str(caught.value)
            assert caught.value.__cause__ is None
    finally:
        postgres.start()
    assert [each.name for each in store.snapshot().rollouts] == [NAME]
    store.close()


def test_a_database_that_hangs_ends_a_call_within_its_time(postgres: Postgres) -> None:
    store = RolloutStore(Database(postgres.uri(postgres.new_database())))
    store.start(rollout(), STARTED)
    blocker = create_engine(postgres.uri(f"test_{postgres._databases}"))
    with blocker.connect() as connection, connection.begin():
        connection.execute(text("SELECT * FROM fenzhen_control FOR UPDATE"))
        began_s = time.monotonic()
        with pytest.raises(Unavailable):
            store.note(note("x"))
        assert time.monotonic() - began_s < 5.0
    blocker.dispose()
    store.close()


@pytest.mark.parametrize("url", ["mysql://root:sesame@host/x", "no url: sesame", "sqlite://"])
def test_what_is_no_database_of_ours_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(UserError) as caught:
        Database(url)
    assert "sesame" not in str(caught.value)


def test_a_rollout_kept_in_the_store_keeps_its_prompt_but_the_history_has_none(store: RolloutStore) -> None:
    from registry.rollout import Seen
    from registry.rollout_words import note_of

    stable = adapter_release(1)
    secret = replace(stable, side=replace(stable.side, prompt="Our agent's own words."), kind="prompt")
    before: Rollout = rollout(Canary(0.0, 0), canary=secret)
    entry = note_of(before, replace(before, state=Canary(1.0, 1)), Seen())
    assert "own words" not in entry.document
    store.start(before, STARTED)
    assert store.snapshot().rollouts == (before,)
