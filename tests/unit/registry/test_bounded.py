import threading
import time

import pytest

from cluster.errors import TimedOut, Unavailable
from registry.bounded import MOST_HANGING, Bounded


def test_an_answer_and_an_error_come_through() -> None:
    bounded = Bounded("it", 5)
    assert bounded.run(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        bounded.run(lambda: 1 // 0)


def test_what_hangs_is_left_behind_in_time_and_soon_nothing_new_is_tried() -> None:
    let_go = threading.Event()
    bounded = Bounded("it", 0.01)
    began_s = time.monotonic()
    for _ in range(MOST_HANGING):
        with pytest.raises(TimedOut, match="it did not answer within 1 s"):
            bounded.run(lambda: let_go.wait(30))
    with pytest.raises(Unavailable, match=f"{MOST_HANGING} calls still wait"):
        bounded.run(lambda: let_go.wait(30))
    assert time.monotonic() - began_s < 10

    let_go.set()
    ends_s = time.monotonic() + 10
    while time.monotonic() < ends_s:
        try:
            assert bounded.run(lambda: 4, least_s=5) == 4
        except Unavailable:
            time.sleep(0.01)
        else:
            return
    pytest.fail("it is never asked again")


def test_a_large_file_has_more_time() -> None:
    never = threading.Event()
    assert Bounded("it", 0.01).run(lambda: never.wait(0.3), file_bytes=20_000_000) is False
