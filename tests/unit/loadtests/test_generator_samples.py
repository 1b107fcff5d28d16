"""Samples on their way to the disk, and keys on their way to the workers."""

import os
from pathlib import Path

import pytest

from cluster.errors import UserError
from loadtests.asking.ledger import Ledger, unanswered
from loadtests.asking.messages import packed, unpacked
from loadtests.asking.sample_file import SampleFile
from loadtests.keys import keys_of
from loadtests.plan import Constant, Plan, Stage, Target, Tenant, Workload
from loadtests.records.sample import read_samples
from loadtests.workload.turn import Turn

TURN = Turn("stream", 0, 3, "q1", "zh", "easy", "hotline", "red", "auto", b"{}", (), True, None)


def test_the_ledger_counts_each_second_by_itself() -> None:
    ledger = Ledger()
    for lag_s in (0.001, 0.004):
        ledger.due()
        ledger.sent(lag_s)
    ledger.settled(unanswered(TURN, 0, 1, 0.5, 0.001, ""))
    lines, tick = ledger.close_second(0, 0.25, 40)
    assert len(list(read_samples(lines.splitlines(keepends=True)))) == 1
    assert (tick.due, tick.sent, tick.done, tick.errors, tick.in_flight) == (2, 2, 1, 0, 1)
    assert (tick.lag_max_s, tick.cpu_ratio, tick.tokens) == (0.004, 0.25, 40)
    ledger.settled(unanswered(TURN, 0, 1, 0.6, 0.004, "timeout"))
    lines, tick = ledger.close_second(1, 0.2, 41)
    assert (tick.due, tick.done, tick.errors, tick.in_flight, tick.lag_max_s, tick.tokens) == (0, 1, 1, 0, 0.0, 1)
    assert ledger.close_second(2, 0.2, 41)[0] == b""


def test_lines_are_appended_whole(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"before\n")
    file = SampleFile(path)
    file.append(b"one\ntwo\n")
    file.append(b"")
    file.append(b"three\n")
    assert path.read_bytes() == b"before\none\ntwo\nthree\n"
    assert file.close(1.0) == ""


def test_a_disk_that_was_full_loses_nothing(tmp_path: Path) -> None:
    # A pipe that nobody reads is full soon; it takes the beginning of what is written, as a disk does.
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = SampleFile(path)
    os.set_blocking(file.fileno(), False)
    lines = [b"%07d\n" % number for number in range(40_000)]
    file.append(b"".join(lines[:20_000]))
    file.append(b"".join(lines[20_000:]))
    read = b""
    while len(read) < 320_000:
        read += os.read(reader, 1 << 20)
        file.append(b"")
    assert read == b"".join(lines)
    assert file.close(1.0) == ""
    os.close(reader)


def test_what_could_not_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = SampleFile(path)
    os.set_blocking(file.fileno(), False)
    file.append(b"x" * 1_000_000)
    assert file.close(0.0).startswith("samples.jsonl could not be written: ")
    os.close(reader)


def test_gaps_survive_the_channel() -> None:
    gaps = {(0, "small"): {1: 2, 700: 5}, (3, ""): {}}
    assert unpacked(packed(gaps)) == gaps


def plan_with_keys() -> Plan:
    return Plan(
        target=Target(api_key_env="MAIN_KEY"),
        workload=Workload(tenants=(Tenant(name="tax", api_key_env="TAX_KEY"), Tenant(name="police"))),
        stages=(Stage(name="one", seconds=1, arrivals=Constant(rate_per_s=1)),),
    )


def test_keys_come_from_the_environment() -> None:
    environment = {"MAIN_KEY": "m", "TAX_KEY": "t", "OTHER": "o"}
    assert keys_of(plan_with_keys(), environment) == {"MAIN_KEY": "m", "TAX_KEY": "t"}


def test_a_key_that_is_not_set_is_named() -> None:
    with pytest.raises(UserError, match="TAX_KEY, which is not set"):
        keys_of(plan_with_keys(), {"MAIN_KEY": "m", "TAX_KEY": ""})
