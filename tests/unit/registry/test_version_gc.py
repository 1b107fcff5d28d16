from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import OurFault, Unavailable
from registry.mlflow_uploads import Orphan
from registry.version_cache import VersionCache
from registry.version_gc import Rule, digests_in_use, plan_of
from registry.version_sweep import Sweep
from registry.versions import Alias, Lineage, Version

NOW_S = 1_000_000.0


def version(number: int, *aliases: Alias, name: str = "hotline", age_s: float = 1e5) -> Version:
    sha256 = f"{number:064x}"
    return Version(name, number, "adapter", "small", sha256, (), Lineage(), {}, (), "", NOW_S - age_s, aliases)


def removed(versions: list[Version], needed: set[tuple[str, int]] = frozenset(), **rule: float) -> list[int]:  # type: ignore[assignment]
    settled = Rule(int(rule.get("keep_last", 0)), rule.get("min_age_s", 0.0))
    return [one.version for one in plan_of(versions, frozenset(needed), NOW_S, settled).remove]


def test_what_an_alias_or_a_rollout_needs_stays() -> None:
    versions = [version(1, "previous"), version(2, "stable"), version(3), version(4), version(5, "canary")]
    assert removed(versions, {("hotline", 3), ("other", 4)}) == [4]


def test_the_last_of_each_name_and_young_ones_stay() -> None:
    versions = [version(1), version(2), version(3, age_s=10), version(1, name="other")]
    assert removed(versions, keep_last=1) == [2, 1]
    assert removed(versions, min_age_s=60) == [2, 1, 1]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.floats(0, 1e6)), unique_by=lambda row: row[0]),
    st.sets(st.integers(1, 9)),
    st.integers(0, 4),
    st.floats(0, 1e6),
)
def test_whatever_the_rule_nothing_needed_goes(
    rows: list[tuple[int, bool, float]], needed: set[int], keep_last: int, min_age_s: float
) -> None:
    versions = [version(number, *(("stable",) if has else ()), age_s=age_s) for number, has, age_s in rows]
    plan = plan_of(versions, frozenset(("hotline", one) for one in needed), NOW_S, Rule(keep_last, min_age_s))
    assert not any(one.aliases or one.version in needed for one in plan.remove)
    assert {one.version for one in plan.remove} | {one.version.version for one in plan.keep} == {
        one.version for one in versions
    }
    newest = sorted((one.version for one in versions), reverse=True)[:keep_last]
    assert not {one.version for one in plan.remove} & set(newest)


class Rollouts:
    """Says what rollouts need; each look may say something else."""

    def __init__(self, *needed: set[tuple[str, int]] | Unavailable) -> None:
        self._needed = list(needed)

    def needed_versions(self) -> frozenset[tuple[str, int]]:
        now = self._needed.pop(0) if len(self._needed) > 1 else self._needed[0]
        if isinstance(now, Unavailable):
            raise now
        return frozenset(now)


class Store:
    """As much of a store as a sweep asks for."""

    def __init__(self, *versions: Version, faults: tuple[str, ...] = ()) -> None:
        self.kept = list(versions)
        self.removed_orphans: list[str] = []
        self._faults = faults

    def audit(self) -> tuple[tuple[Version, ...], tuple[str, ...]]:
        return tuple(self.kept), self._faults

    def orphans(self, min_age_s: float) -> tuple[Orphan, ...]:
        return (Orphan("run", "hotline", 0.0),)

    def remove_orphan(self, run_id: str) -> None:
        self.removed_orphans.append(run_id)

    def delete(self, name: str, version: int) -> None:
        self.kept = [one for one in self.kept if (one.name, one.version) != (name, version)]


def sweep(store: Store, rollouts: Rollouts, folder: Path) -> Sweep:
    return Sweep(store, rollouts, VersionCache(folder), Rule(0, 0), 60)


def test_rollouts_that_cannot_be_asked_keep_everything(tmp_path: Path) -> None:
    store = Store(version(1))
    with pytest.raises(Unavailable):
        sweep(store, Rollouts(Unavailable("the database does not answer")), tmp_path).find(NOW_S)
    assert len(store.kept) == 1


def test_a_version_that_a_rollout_wants_in_the_meantime_is_spared(tmp_path: Path) -> None:
    store = Store(version(1), version(2))
    clearing = sweep(store, Rollouts(set(), {("hotline", 1)}), tmp_path)
    swept = clearing.remove(clearing.find(NOW_S))
    assert [one.version for one in swept.versions] == [2]
    assert swept.spared == ("hotline 1: a rollout needs it now",)
    assert store.removed_orphans == ["run"]


def test_nothing_goes_while_a_version_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OurFault, match="nothing is removed while a version cannot be read:\nhotline 2"):
        sweep(Store(version(1), faults=("hotline 2: changed",)), Rollouts(set()), tmp_path).find(NOW_S)


def test_copies_that_nobody_needs_go_and_others_stay(tmp_path: Path) -> None:
    needed, wanted, unneeded = version(1, "stable"), version(2), version(3)
    for one in (needed, wanted, unneeded):
        (tmp_path / one.sha256).mkdir()
    (tmp_path / ".partial-x").mkdir()
    clearing = sweep(Store(needed, wanted, unneeded), Rollouts({("hotline", 2)}), tmp_path)
    later_s = (tmp_path / ".partial-x").stat().st_mtime + 7200

    assert clearing.find(later_s - 7200).folders == ()
    clearing.remove(clearing.find(later_s))

    assert sorted(path.name for path in tmp_path.iterdir()) == [needed.sha256, wanted.sha256]
    assert digests_in_use([needed, unneeded], frozenset()) == {needed.sha256}
