import os
import time
from pathlib import Path

import pytest

from cluster.errors import TimedOut, Unavailable, UserError
from registry.work import Work, bytes_below
from tests.unit.registry.support import RecordedProgress


@pytest.fixture
def work(tmp_path: Path) -> Work:
    lock_fd = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    return Work("tiny", tmp_path, lock_fd, RecordedProgress(), sleep=lambda _: None)


def test_a_child_that_ends_tells_its_status_and_its_last_line(work: Work) -> None:
    finished = work.run(["-c", "print('first'); print('last'); exit(3)"], env={}, silence_s=30)

    assert (finished.code, finished.last_line) == (3, "last")


def test_a_child_that_hangs_is_ended(work: Work) -> None:
    started_s = time.monotonic()
    with pytest.raises(TimedOut, match="nothing new came for 0 s"):
        work.run(["-c", "import time; time.sleep(60)"], env={}, silence_s=0.3)

    assert time.monotonic() - started_s < 10


def test_a_slow_child_is_left_alone_while_its_bytes_grow(work: Work) -> None:
    program = "import time\nfor _ in range(8):\n  open('{}', 'ab').write(b'x'); time.sleep(0.3)".format(
        work.folder / "grows"
    )
    seen: list[int] = []
    finished = work.run(
        ["-c", program],
        env={},
        silence_s=1.5,
        measure=lambda: bytes_below(work.folder),
        report=seen.append,
    )

    assert finished.code == 0
    assert seen == sorted(seen)
    assert len(seen) > 2


def test_a_network_failure_is_tried_three_times_and_said(work: Work) -> None:
    tries: list[int] = []

    def attempt() -> None:
        tries.append(1)
        raise Unavailable("no route")

    with pytest.raises(Unavailable):
        work.retry(attempt)
    assert len(tries) == 3
    assert isinstance(work.progress, RecordedProgress)
    assert work.progress.notes == ["tiny: no route; trying again in 2 s", "tiny: no route; trying again in 8 s"]


def test_a_wrong_digest_is_not_tried_again(work: Work) -> None:
    tries: list[int] = []

    def attempt() -> None:
        tries.append(1)
        raise UserError("wrong digest")

    with pytest.raises(UserError):
        work.retry(attempt)
    assert len(tries) == 1
