from pathlib import Path

import pytest

from cluster.errors import NotFound, UserError
from cluster.outcomes import Tally
from cluster.release_settings import DriftSettings
from registry import drift_store
from registry.database import Database
from registry.drift_store import DriftStore
from registry.drift_watch import LONGEST_WINDOWS, PARTS, DriftWatch

DAY = 86400.0
SETTINGS = DriftSettings()


@pytest.fixture
def store(tmp_path: Path) -> DriftStore:
    return DriftStore(Database(f"sqlite:///{tmp_path / 'rollouts.db'}"))


def tally(english: float = 0.1, requests: int = 150, version: int = 3) -> Tally:
    count = round(english * requests)
    return Tally(
        "small", version, requests, (0, 30, 20), (("zh", requests - count), ("en", count)), (9, 8, 7), (40, 10), 1
    )


def days(watch: DriftWatch, first: int, count: int, one: Tally) -> list[drift_store.DriftEntry]:
    """Tell the watch a tally every three hours; the last moment closes the last day."""
    found: list[drift_store.DriftEntry] = []
    for hour in range(first * 24, (first + count) * 24 + 1, 3):
        found += watch.take([one] if hour < (first + count) * 24 else [], hour * 3600.0)
    return found


def test_the_first_full_day_is_the_reference_and_a_change_after_it_is_an_entry(store: DriftStore) -> None:
    watch = DriftWatch(store, SETTINGS)
    assert days(watch, 0, 3, tally()) == []
    (entry,) = days(watch, 3, 1, tally(english=0.7))
    assert (entry.name, entry.version, entry.level, entry.requests) == ("small", 3, "urgent", 1200)
    assert (entry.since_s, entry.until_s) == (3 * DAY, 4 * DAY)
    assert store.entries_since() == (entry,)
    assert store.entries_since(4 * DAY + 1) == ()
    assert len(store.entries_since(all_windows=True)) == 3
    assert store.entries_since(name="other") == ()


def test_another_process_goes_on_with_what_was_counted(store: DriftStore) -> None:
    days(DriftWatch(store, SETTINGS), 0, 2, tally())
    half = DriftWatch(store, SETTINGS)
    for hour in range(48, 60, 3):
        half.take([tally(english=0.7)], hour * 3600.0)
    half.take([], 59 * 3600.0)
    after = DriftWatch(store, SETTINGS)
    found: list[drift_store.DriftEntry] = []
    for hour in range(60, 73, 3):
        found += after.take([tally(english=0.7)] if hour < 72 else [], hour * 3600.0)
    assert [entry.requests for entry in found] == [1200]


def test_a_new_version_has_a_reference_of_its_own(store: DriftStore) -> None:
    watch = DriftWatch(store, SETTINGS)
    days(watch, 0, 2, tally())
    assert days(watch, 2, 2, tally(english=0.7, version=4)) == []


def test_a_quiet_version_waits_until_it_has_enough_requests(store: DriftStore) -> None:
    watch = DriftWatch(store, SETTINGS)
    days(watch, 0, 3, tally(requests=30))
    assert store.watched("small", 3).reference is None  # type: ignore[union-attr]
    days(watch, 3, 3, tally(requests=30))
    known = store.watched("small", 3)
    assert known is not None
    assert known.reference is not None
    assert known.reference.window.requests >= SETTINGS.min_requests


def test_a_version_that_nobody_asks_any_more_is_let_go(store: DriftStore) -> None:
    watch = DriftWatch(store, SETTINGS)
    for hour in range(1, 5):
        watch.take([tally()], hour * 3600.0)
    watch.take([], (LONGEST_WINDOWS + 1) * DAY)
    known = store.watched("small", 3)
    assert known is not None
    assert known.parts == ()


def test_a_window_that_goes_on_for_weeks_keeps_few_parts(store: DriftStore) -> None:
    watch = DriftWatch(store, SETTINGS)
    for moment in range(13 * 8):
        watch.take([tally(requests=1)], moment * 3 * 3600.0)
    watch.take([], 13 * DAY)
    known = store.watched("small", 3)
    assert known is not None
    assert len(known.parts) <= 2 * PARTS + 1
    assert sum(part.requests for part in known.parts) == 13 * 8


def test_an_entry_is_taken_once(store: DriftStore) -> None:
    watch = DriftWatch(store, SETTINGS)
    days(watch, 0, 1, tally())
    (entry,) = days(watch, 1, 1, tally(english=0.7))
    assert store.take_entry(entry.entry_id, "training").taken_by == "training"
    assert store.take_entry(entry.entry_id, "training").taken_by == "training"
    with pytest.raises(UserError, match="taken by training already"):
        store.take_entry(entry.entry_id, "somebody")
    with pytest.raises(NotFound):
        store.take_entry(99, "somebody")


def test_old_windows_go_and_open_alerts_stay(store: DriftStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_store, "KEPT_WINDOWS", 3)
    watch = DriftWatch(store, SETTINGS)
    days(watch, 0, 1, tally())
    (alert,) = days(watch, 1, 1, tally(english=0.7))
    days(watch, 2, 6, tally())
    kept = store.entries_since(all_windows=True)
    assert len(kept) == 4
    assert kept[0] == alert


def test_versions_that_were_not_asked_for_long_are_forgotten(
    store: DriftStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_store, "KEPT_VERSIONS", 2)
    watch = DriftWatch(store, SETTINGS)
    for version in (1, 2, 3):
        days(watch, 0, 1, tally(version=version))
        watch.forget()
    assert store.watched("small", 1) is None
    assert store.watched("small", 3) is not None
