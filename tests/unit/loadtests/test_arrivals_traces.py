"""Recorded requests: read from both kinds of files, scaled in time and load, cut to length; broken files say where."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import UserError
from loadtests.arrivals.arrival import Arrival
from loadtests.arrivals.schedule import arrivals_of, check_arrivals
from loadtests.plan import Plan

AZURE_HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens"


def azure(path: Path, *rows: str, end: str = "\r\n") -> Path:
    # The published files have no line end after the last row.
    path.write_bytes(end.join([AZURE_HEAD, *rows]).encode())
    return path


def every_second(path: Path, count: int) -> Path:
    return azure(path, *(f"2023-11-16 18:{at // 60:02d}:{at % 60:02d}.0000000,{at + 10},5" for at in range(count)))


def mooncake(path: Path, *rows: tuple[int, int, int, list[int]]) -> Path:
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows), encoding="utf-8")
    return path


def plan_of(path: Path, seconds: float = 1000, before_s: float = 0, seed: int = 7, **trace: Any) -> Plan:
    stage = {"name": "trace", "seconds": seconds, "arrivals": {"kind": "trace", "path": path} | trace}
    before = [{"name": "before", "seconds": before_s, "people": {"count": 1}}] if before_s else []
    return Plan.model_validate({"seed": seed, "stages": [*before, stage]})


def replayed(path: Path, *workers: int, **how: Any) -> list[Arrival]:
    return list(arrivals_of(plan_of(path, **how), *workers))


def test_azure_rows_come_at_their_times_with_their_lengths(tmp_path: Path) -> None:
    path = azure(
        tmp_path / "trace.csv",
        "2023-11-16 23:59:59.5000000,374,44",
        "2023-11-17 00:00:00.7512500,1030,0",
        "2023-11-17 00:00:00.7512500,12,3",
    )
    first, second, third = replayed(path)
    assert first == Arrival(0.0, 0, 374, 44)
    assert second[1:4] == (0, 1030, 1), "an empty answer counts as one token"
    assert third.at_s == second.at_s == pytest.approx(1.25125, abs=1e-6)


def test_azure_rows_of_2024_name_their_zone(tmp_path: Path) -> None:
    path = azure(tmp_path / "t.csv", "2024-05-12 00:00:00+00:00,1,1", "2024-05-12 00:00:02.250+00:00,1,1", end="\n")
    assert [arrival.at_s for arrival in replayed(path)] == [0, 2.25]


def test_mooncake_rows_come_with_the_blocks_that_they_share(tmp_path: Path) -> None:
    path = mooncake(tmp_path / "trace.jsonl", (3000, 600, 5, [0, 1]), (3000, 1024, 7, [0, 2]), (6500, 1, 1, [9]))
    assert replayed(path, before_s=10) == [
        Arrival(10.0, 1, 600, 5, (0, 1)),
        Arrival(10.0, 1, 1024, 7, (0, 2)),
        Arrival(13.5, 1, 1, 1, (9,)),
    ]


def test_a_packed_trace_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    plain = mooncake(tmp_path / "a.csv", (0, 1, 1, [0]))
    packed = tmp_path / "b"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert replayed(plain) == replayed(packed) == [Arrival(0.0, 0, 1, 1, (0,))]


def test_time_runs_slower_and_begins_where_asked(tmp_path: Path) -> None:
    path = every_second(tmp_path / "t.csv", 60)
    arrivals = replayed(path, start_s=20, time_scale=2, seconds=9)
    assert [(arrival.at_s, arrival.prompt_tokens) for arrival in arrivals] == [
        (0, 30), (2, 31), (4, 32), (6, 33), (8, 34)
    ]  # fmt: skip


def test_the_first_row_after_the_start_comes_at_once(tmp_path: Path) -> None:
    path = mooncake(tmp_path / "t", (0, 1, 1, [0]), (60_000, 2, 1, [1]), (61_000, 3, 1, [2]))
    assert [(arrival.at_s, arrival.prompt_tokens) for arrival in replayed(path, start_s=10)] == [(0, 2), (1, 3)]


def test_less_load_is_drawn_the_same_for_all_workers(tmp_path: Path) -> None:
    path = every_second(tmp_path / "t.csv", 3000)
    drawn = replayed(path, seconds=3600, load_scale=0.25)
    assert len(drawn) == pytest.approx(750, abs=5 * (3000 * 0.25 * 0.75) ** 0.5)
    assert {arrival.at_s for arrival in drawn} < set(range(3000))
    assert [arrival for pair in zip(replayed(path, 0, 2, seconds=3600, load_scale=0.25),
                                    replayed(path, 1, 2, seconds=3600, load_scale=0.25), strict=False)
            for arrival in pair] == drawn[: len(drawn) // 2 * 2]  # fmt: skip
    assert drawn != replayed(path, seconds=3600, load_scale=0.25, seed=8)


def test_more_load_repeats_rows_a_little_later_with_the_same_prefix(tmp_path: Path) -> None:
    rows = [(number * 100, 512, 4, [number]) for number in range(1000)]
    arrivals = replayed(mooncake(tmp_path / "t", *rows), load_scale=2.5)
    assert len(arrivals) == pytest.approx(2500, abs=5 * (1000 * 0.25) ** 0.5)
    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    for number in (0, 500, 999):
        copies = [arrival.at_s for arrival in arrivals if arrival.prefix_blocks == (number,)]
        assert len(copies) in (2, 3)
        assert copies[0] == pytest.approx(number / 10)
        assert copies[-1] - copies[0] <= 1


def test_prompts_answers_and_blocks_are_cut(tmp_path: Path) -> None:
    path = mooncake(tmp_path / "t", (0, 2000, 900, [0, 1, 2, 3]), (1, 100, 10, [0]))
    assert replayed(path, max_prompt_tokens=1000, max_answer_tokens=50) == [
        Arrival(0.0, 0, 1000, 50, (0, 1)),
        Arrival(0.001, 0, 100, 10, (0,)),
    ]


def test_a_trace_that_ends_before_its_stage_leaves_the_rest_empty(tmp_path: Path) -> None:
    assert len(replayed(every_second(tmp_path / "t.csv", 3), seconds=1000)) == 3


def test_rows_behind_the_stage_are_not_read(tmp_path: Path) -> None:
    path = azure(tmp_path / "t.csv", "2023-11-16 18:00:00,1,1", "2023-11-16 18:00:10,1,1", "broken")
    assert len(replayed(path, seconds=5)) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("when,what\n1,2\n", ":1: this is no trace that we know"),
        (f"{AZURE_HEAD}\n2023-11-16 18:00:00,1\n", ":2: expected 3 values"),
        (f"{AZURE_HEAD}\n2023-11-16 18:00:00,1,1\nyesterday,1,1\n", ":3: TIMESTAMP must be like"),
        (f"{AZURE_HEAD}\n2023-11-16 18:00:00,-5,1\n", ":2: ContextTokens must be a whole number from 0, got '-5'"),
        (f"{AZURE_HEAD}\n2023-11-16 18:00:00,5,\n", ":2: GeneratedTokens must be a whole number from 0, got ''"),
        (f"{AZURE_HEAD}\n2023-11-16 18:00:09,1,1\n2023-11-16 18:00:08,1,1\n", ":3: it is earlier than the line before"),
        ('{"timestamp": 0', ":1: it is no JSON"),
        ('{"timestamp": 0, "input_length": 5}', ":1: hash_ids, output_length is missing"),
        ('{"timestamp": 0.5, "input_length": 5, "output_length": 1, "hash_ids": [1]}', ":1: timestamp must be a whole"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": 7}', ":1: hash_ids must be a list"),
        (
            '{"timestamp": 0, "input_length": 40, "output_length": 1, "hash_ids": [1, 2, 3]}',
            ":1: 40 tokens are 1 blocks of 512, but hash_ids has 3",
        ),
        (f"{AZURE_HEAD}\n", "has no rows"),
        ("{" + " " * 2_000_000, ":1: the line is longer than 1 MiB"),
    ],
)
def test_a_broken_trace_says_where_and_what_to_mend(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        replayed(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        replayed(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        replayed(tmp_path)
    whole = gzip.compress(every_second(tmp_path / "t.csv", 500).read_bytes())
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        replayed(tmp_path / "cut.gz")


def test_a_trace_of_which_nothing_is_left_is_an_error(tmp_path: Path) -> None:
    path = every_second(tmp_path / "t.csv", 10)
    with pytest.raises(UserError, match="is 9 s long: start_s 100 lies behind its end"):
        replayed(path, start_s=100)
    with pytest.raises(UserError, match="load_scale 1e-09 leaves nothing"):
        replayed(path, load_scale=1e-9)


def test_a_broken_line_is_found_before_the_test_begins(tmp_path: Path) -> None:
    path = azure(tmp_path / "t.csv", "2023-11-16 18:00:00,1,1", "2023-11-16 18:00:10,1,1", "broken")
    check_arrivals(plan_of(path, seconds=5))
    with pytest.raises(UserError, match=":4:"):
        check_arrivals(plan_of(path, seconds=50))
