"""What every store of feedback promises: SQLite and a real PostgreSQL."""

import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import NotFound, Unavailable, UserError
from cluster.feedback_settings import Feedback
from registry.database import Database
from registry.feedback_store import MAX_OPINIONS, Exchange, FeedbackStore, Judged, Opinion, feedback_store
from registry.feedback_tables import FEEDBACK
from tests.fakes.postgres import Postgres

ASKED = Exchange("r-1", "m1", "hotline", 3, "internal", "district-3", (("user", "怎么办证？"),), "去窗口。", True)
SECRET = "我叫王小明，电话13800138000，身份证11010519491231002X"
SECRETS = ("13800138000", "11010519491231002X", "王小明")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'feedback.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.uri(server.new_database())


@pytest.fixture
def store(url: str) -> Iterator[FeedbackStore]:
    made = FeedbackStore(Database(url, FEEDBACK), Feedback(keep_ratio=1))
    yield made
    made.close()


def limited(url: str, **limits: object) -> FeedbackStore:
    """The same database with other limits."""
    feedback = Feedback(keep_ratio=1).model_copy(update=limits)
    return FeedbackStore(Database(url, FEEDBACK), feedback)


def test_an_opinion_stands_beside_its_answer(store: FeedbackStore) -> None:
    store.keep([ASKED])
    given = store.give("r-1", Opinion(1, True, "去三楼的窗口。", "楼层没说"))
    assert (given.model, given.version, given.is_first_rating, given.has_texts) == ("hotline", 3, True, True)
    (judged,) = store.judged()
    assert judged == Judged(
        judged.at_s, "hotline", 3, "internal", "district-3", ASKED.messages, "去窗口。", True,
        Opinion(1, True, "去三楼的窗口。", "楼层没说"),
    )  # fmt: skip
    assert store.judged(judged.at_s + 1) == ()


def test_the_last_opinion_counts_and_the_first_rating_is_told_once(store: FeedbackStore) -> None:
    store.keep([ASKED])
    firsts = [store.give("r-1", opinion).is_first_rating for opinion in (
        Opinion(None, True, "a"), Opinion(2, True, "b"), Opinion(5, True),
    )]  # fmt: skip
    assert firsts == [False, True, False]
    assert [judged.opinion for judged in store.judged()] == [Opinion(5, True)]


def test_what_is_unknown_is_said_so_and_stored_nowhere(store: FeedbackStore) -> None:
    with pytest.raises(NotFound, match="No answer is kept"):
        store.give("r-1", Opinion(1, True, "a"))
    store.keep([ASKED])
    assert store.judged() == ()


def test_a_second_request_with_the_same_id_gives_both_up_and_the_same_one_again_does_not(store: FeedbackStore) -> None:
    store.keep([ASKED])
    store.keep([ASKED])
    store.give("r-1", Opinion(5, True))
    store.keep([replace(ASKED, mark="m2", answer="etwas anderes")])
    with pytest.raises(NotFound, match="Several requests"):
        store.give("r-1", Opinion(5, True))
    assert store.judged() == ()


def test_without_consent_the_rating_alone_is_kept_and_words_given_before_are_erased(store: FeedbackStore) -> None:
    store.keep([ASKED])
    store.give("r-1", Opinion(1, True, "better", "because"))
    assert not store.give("r-1", Opinion(2, False, "better still", "because")).has_texts
    assert [judged.opinion for judged in store.judged()] == [Opinion(2, False)]


def test_what_is_forgotten_is_gone(store: FeedbackStore) -> None:
    store.keep([ASKED])
    store.give("r-1", Opinion(5, True))
    assert store.forget("r-1")
    assert not store.forget("r-1")
    assert store.judged() == ()
    with pytest.raises(NotFound):
        store.give("r-1", Opinion(5, True))


def test_what_is_old_is_erased_later_if_it_may_be_learnt_from(store: FeedbackStore, url: str) -> None:
    store.keep([ASKED, replace(ASKED, request_id="r-2"), replace(ASKED, request_id="r-3")])
    store.give("r-1", Opinion(5, True))
    store.give("r-2", Opinion(5, False))
    assert store.prune() == 0
    week_later = limited(url, keep_s=-1.0)
    assert week_later.prune() == 2
    assert len(week_later.judged()) == 1
    year_later = limited(url, keep_s=-1.0, learn_s=-1.0)
    assert year_later.prune() == 1
    assert year_later.judged() == ()
    for one in (week_later, year_later):
        one.close()


def test_when_there_is_too_much_the_oldest_without_consent_goes_first(store: FeedbackStore, url: str) -> None:
    for number in range(4):
        store.keep([replace(ASKED, request_id=f"r-{number}", answer="x" * 1000)])
    store.give("r-0", Opinion(5, True))
    small = limited(url, max_bytes=2500)
    assert small.prune() == 2
    store.give("r-0", Opinion(5, True))
    store.give("r-3", Opinion(5, True))
    for gone in ("r-1", "r-2"):
        with pytest.raises(NotFound):
            store.give(gone, Opinion(5, True))
    assert small.prune() == 0
    small.close()


def test_of_many_opinions_at_one_moment_none_is_lost(store: FeedbackStore, url: str) -> None:
    store.keep([replace(ASKED, request_id=f"r-{number}") for number in range(3)])

    def give(number: int) -> None:
        own = limited(url)
        for turn in range(5):
            own.give(f"r-{turn % 3}", Opinion(1 + number % 5, True, f"{number}/{turn}"))
        own.close()

    threads = [threading.Thread(target=give, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(store.judged()) == 3
    assert all(not store.give(f"r-{number}", Opinion(3, True)).is_first_rating for number in range(3))


def test_a_program_that_runs_wild_is_stopped(store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.feedback_store.MAX_OPINIONS", 3)
    store.keep([ASKED])
    for _ in range(3):
        store.give("r-1", Opinion(5, True))
    with pytest.raises(UserError, match="no more is taken"):
        store.give("r-1", Opinion(5, True))
    assert MAX_OPINIONS >= 3


def test_no_sign_in_a_text_is_too_much_for_the_database(store: FeedbackStore) -> None:
    store.keep([replace(ASKED, messages=(("user", "a\0b"),), answer="c\0d 😀")])
    store.give("r-1", Opinion(1, True, "e\0f", "\0"))
    (judged,) = store.judged()
    assert (judged.messages, judged.answer, judged.opinion.corrected) == ((("user", "a\0b"),), "c\0d 😀", "ef")


def test_personal_data_never_reaches_the_disk_and_what_is_forgotten_leaves_it(tmp_path: Path) -> None:
    store = feedback_store(Feedback(keep_ratio=1), tmp_path)
    asked = replace(ASKED, request_id="call-13800138000", messages=(("user", SECRET),), answer=f"MARKED {SECRET}")
    store.keep([asked, replace(asked, request_id="other", group="13800138000")])
    store.give("call-13800138000", Opinion(1, True, f"CORRECTED {SECRET}", SECRET))
    folder = tmp_path / "feedback"

    def on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in folder.iterdir())

    assert b"MARKED" in on_disk()
    assert b"CORRECTED" in on_disk()
    for secret in SECRETS:
        assert secret.encode() not in on_disk(), secret
    store.forget("call-13800138000")
    store.forget("other")
    assert b"MARKED" not in on_disk()
    assert b"CORRECTED" not in on_disk()
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    store.close()


def test_a_database_that_is_away_is_said_so_and_used_again(postgres: Postgres) -> None:
    uri = postgres.uri(postgres.new_database()).replace("fenzhen@", "fenzhen:sesame-open@")
    store = FeedbackStore(Database(uri, FEEDBACK), Feedback(keep_ratio=1))
    store.keep([ASKED])
    postgres.kill()
    try:
        with pytest.raises(Unavailable, match="the database of feedback") as caught:
            store.give("r-1", Opinion(5, True))
        assert "sesame" not in str(caught.value)
    finally:
        postgres.start()
    store.give("r-1", Opinion(5, True))
    store.close()
