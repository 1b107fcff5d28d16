"""Who is drawn for which side."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import BadRequest
from cluster.traffic import Side, Split, Traffic
from router.splits import Drawn, Splits

STABLE = Side(3, "small", "small@3-aaaaaaaa")
CANARY = Side(4, "small", "small@4-bbbbbbbb")
KEYS = st.integers(0, 2**64 - 1)
RATIOS = st.floats(0, 1)
PEOPLE = range(20_000)


def split(ratio: float = 0.0, shadow: float = 0.0, rollout: str = "r1", canary: Side | None = CANARY) -> Split:
    return Split("small", STABLE, canary, ratio, shadow, rollout)


def splits(*all_of_them: Split, generation: int = 1) -> Splits:
    made = Splits()
    assert made.update(Traffic(generation, all_of_them, ()))
    return made


def drawn(made: Splits, key: int | None) -> Drawn:
    found = made.draw("small", key)
    assert found is not None
    return found


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.05, 0.25, 0.5, 0.8, 1.0])
def test_the_canary_gets_its_share_and_the_control_slice_is_as_large(ratio: float) -> None:
    made = splits(split(ratio))
    seen = [drawn(made, person) for person in PEOPLE]
    canary = sum(one.is_canary for one in seen) / len(seen)
    control = sum(one.is_recorded and not one.is_canary for one in seen) / len(seen)
    # Five standard deviations of the largest binomial.
    assert canary == pytest.approx(ratio, abs=5 * (0.25 / len(seen)) ** 0.5)
    assert control == pytest.approx(min(ratio, 1 - ratio), abs=5 * (0.25 / len(seen)) ** 0.5)
    assert all(one.is_recorded for one in seen if one.is_canary)
    assert {one.side for one in seen} == ({STABLE} if not ratio else {CANARY} if ratio == 1 else {STABLE, CANARY})


@given(KEYS, RATIOS, RATIOS)
def test_whoever_has_the_canary_keeps_it_as_its_share_grows(key: int, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    if drawn(splits(split(smaller)), key).is_canary:
        assert drawn(splits(split(larger)), key).is_canary


@given(KEYS, RATIOS, RATIOS)
def test_no_request_is_canary_and_control_and_only_stable_is_copied(key: int, ratio: float, shadow: float) -> None:
    found = drawn(splits(split(ratio, shadow)), key)
    assert found.side == (CANARY if found.is_canary else STABLE)
    assert not (found.is_canary and found.is_shadowed)
    if found.is_canary:
        assert found.is_recorded


@given(KEYS, st.floats(0, 0.5))
def test_the_control_slice_keeps_its_people_while_it_grows(key: int, ratio: float) -> None:
    before, after = drawn(splits(split(ratio)), key), drawn(splits(split(0.5)), key)
    if before.is_recorded:
        assert after.is_recorded
        assert after.is_canary == before.is_canary


@settings(max_examples=30)
@given(KEYS, RATIOS, st.text(max_size=80))
def test_two_replicas_draw_the_same(key: int, ratio: float, rollout: str) -> None:
    first, second = splits(split(ratio, 0.3, rollout)), splits(split(ratio, 0.3, rollout))
    assert drawn(first, key) == drawn(second, key)


def test_another_process_draws_the_same() -> None:
    program = (
        "from tests.unit.router.test_splits import *\n"
        "print(''.join('01'[drawn(splits(split(0.25)), key).is_canary] for key in range(500)))"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    here = splits(split(0.25))
    assert there.stdout.strip() == "".join("01"[drawn(here, key).is_canary] for key in range(500))


def test_another_rollout_takes_other_people_first() -> None:
    first, second = splits(split(0.1, rollout="r1")), splits(split(0.1, rollout="r2"))
    both = sum(drawn(first, person).is_canary and drawn(second, person).is_canary for person in PEOPLE)
    # By chance one in a hundred is in both.
    assert both / len(PEOPLE) == pytest.approx(0.01, abs=0.004)


def test_while_only_copies_go_to_the_canary_the_copied_are_the_control() -> None:
    made = splits(split(0.0, 0.3))
    seen = [drawn(made, person) for person in PEOPLE]
    assert not any(one.is_canary for one in seen)
    assert all(one.is_recorded == one.is_shadowed for one in seen)
    assert sum(one.is_shadowed for one in seen) / len(seen) == pytest.approx(0.3, abs=0.02)


def test_beside_a_canary_the_share_of_copies_is_of_what_stable_answers() -> None:
    made = splits(split(0.5, 0.4))
    stable = [one for one in (drawn(made, person) for person in PEOPLE) if not one.is_canary]
    assert sum(one.is_shadowed for one in stable) / len(stable) == pytest.approx(0.4, abs=0.025)


def test_who_has_no_key_is_drawn_by_chance() -> None:
    made = splits(split(0.25))
    assert sum(drawn(made, None).is_canary for _ in range(4000)) / 4000 == pytest.approx(0.25, abs=0.035)


def test_a_split_without_a_canary_or_with_one_that_waits_is_stable_and_unrecorded() -> None:
    for each in (split(0.5, 0.5, canary=None), split()):
        found = drawn(splits(each), 7)
        assert found[1:] == (STABLE, False, False, False)
    assert not splits(split(canary=None)).is_any_watched
    assert splits(split()).is_any_watched


def test_a_name_without_a_split_has_nothing_to_draw() -> None:
    made = splits(split())
    assert made.draw("large", 1) is None
    assert made.stable("large") is None
    assert "large" not in made
    assert not Splits()
    assert Splits().draw("small", 1) is None


def test_only_a_later_decision_counts_and_replaces_all() -> None:
    made = splits(split(0.5), generation=5)
    for generation in (4, 5):
        assert not made.update(Traffic(generation, (), ()))
    assert "small" in made
    assert made.update(Traffic(6, (Split("large", Side(0, "large", "large")),), ()))
    assert "small" not in made
    assert "large" in made
    assert made.generation == 6


@pytest.mark.parametrize(
    ("asked", "side"), [(b"canary", CANARY), (b" Canary ", CANARY), (b"4", CANARY), (b"stable", STABLE), (b"3", STABLE)]
)
def test_a_caller_may_name_a_side_and_then_weighs_in_no_comparison(asked: bytes, side: Side) -> None:
    found = splits(split(0.5)).pinned("small", asked)
    assert found is not None
    assert (found.side, found.is_recorded, found.is_shadowed) == (side, False, False)


@pytest.mark.parametrize("asked", [b"5", b"", b"newest", b"\xff", b"-4"])
def test_a_version_that_is_not_in_force_is_refused_with_those_that_are(asked: bytes) -> None:
    with pytest.raises(BadRequest, match=r"stable \(3\) and canary \(4\)") as caught:
        splits(split(0.5)).pinned("small", asked)
    assert caught.value.field == "x-fenzhen-version"


def test_a_name_without_a_split_has_itself_as_stable_version_0() -> None:
    made = splits(split(canary=None))
    assert made.pinned("large", b"stable") is None
    assert made.pinned("large", b"0") is None
    for name, asked in (("large", b"canary"), ("small", b"canary")):
        with pytest.raises(BadRequest, match="There are: stable"):
            made.pinned(name, asked)
