from hypothesis import given
from hypothesis import strategies as st

from serving import backoff


def test_the_wait_doubles_from_one_second() -> None:
    assert [backoff.wait_s(failures, chance=1.0) for failures in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_wait_is_never_longer_than_a_minute_nor_shorter_than_half_a_second(failures: int, chance: float) -> None:
    assert 0.5 <= backoff.wait_s(failures, chance) <= 60.0


def test_engines_that_died_together_do_not_come_back_together() -> None:
    assert backoff.wait_s(5, chance=0.1) != backoff.wait_s(5, chance=0.9)


def test_a_death_after_a_minute_of_service_is_counted_as_the_first() -> None:
    assert backoff.failures_after(7, held_ready_s=60.0) == 1


def test_a_death_soon_after_the_start_is_counted_on() -> None:
    assert backoff.failures_after(7, held_ready_s=59.0) == 8
