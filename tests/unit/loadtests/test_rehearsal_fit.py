"""From measured times back to what an engine takes: found again where it is known."""

import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cluster.errors import UserError
from loadtests.rehearsal.batch import Batch, Request
from loadtests.rehearsal.fit import Coefficients, fitted, noise_of
from loadtests.rehearsal.hearing import Heard
from loadtests.rehearsal.held_out import capacity_per_s, deviations_of, traffic_of
from loadtests.rehearsal.measuring import Row, decode_row, mixed_rows
from loadtests.rehearsal.timing import Timing, read_timing, shipped_timings, write_timing

KNOWN = Coefficients(0.004, 0.012, 0.0004, 1.5e-7, 0.0011, 2.5e-6)
PROMPTS = (16, 64, 128, 256, 512, 1024, 2048)


BENT = KNOWN._replace(per_sequence_s=0.0001, per_sequence_beyond_s=0.006, flat_sequences=6)


def known_timing(noise: float = 0.0, known: Coefficients = KNOWN) -> Timing:
    like = read_timing("small-gpu-assumed")
    limits = like.limits.model_copy(update={"max_num_seqs": 16, "schedules_ahead": False})
    return like.model_copy(update={**known._asdict(), "noise_sigma": noise, "limits": limits})


def heard(timing: Timing, sizes: list[tuple[int, int]], seed: int, later: dict[int, int] | None = None) -> list[Heard]:
    """What a perfect client would hear of these requests, sent at once, or the n-th when so many steps are done."""
    batch = Batch(timing, seed)
    requests = [Request(prompt, answer) for prompt, answer in sizes]
    later = later or {}
    sent = dict.fromkeys(range(len(sizes)), 0.0)
    times: dict[int, list[float]] = {number: [] for number in range(len(sizes))}
    for number, request in enumerate(requests):
        if number not in later:
            batch.add(request, 0.0)
    now_s, steps = timing.request_overhead_s, 0
    while (plan := batch.step(now_s)) is not None:
        now_s += plan.duration_s
        for request in batch.end(plan):
            times[requests.index(request)].append(now_s)
        steps += 1
        for number, after in later.items():
            if after == steps:
                # In the middle of the next step.
                sent[number] = now_s + plan.duration_s / 2
                batch.add(requests[number], sent[number])
    return [Heard(sent[number], tuple(times[number]), sizes[number][1]) for number in times]


def measured_rows(timing: Timing) -> list[Row]:
    """As `measuring` makes them, from the simulation."""
    rows = []
    for place, tokens in enumerate(PROMPTS):
        times = sorted(heard(timing, [(tokens, 1)], 3 * place + one)[0].ttft_s for one in range(3))
        rows.append(Row(f"prompt of {tokens}", times[1], 1, 1, tokens, tokens * (tokens - 1) / 2))
    for batch in (1, 2, 4, 6, 8, 12, 16):
        for context in (32, 1024):
            more = -(-batch * context // timing.limits.max_num_batched_tokens)
            row, _ = decode_row(heard(timing, [(context, 48 + more)] * batch, batch), context)
            assert row is not None
            rows.append(row)
    for tokens in (64, 256, 512):
        everyone = heard(timing, [(32, 100)] * 4 + [(tokens, 1)], tokens, later={4: 20})
        rows += mixed_rows(everyone[:4], everyone[4:], tokens)
    return rows


def test_exact_measurements_give_the_coefficients_back() -> None:
    found, error = fitted(measured_rows(known_timing()))
    assert error < 0.005
    for name, value in KNOWN._asdict().items():
        assert getattr(found, name) == pytest.approx(value, rel=0.03), name


def test_a_bend_in_the_cost_of_answers_is_found() -> None:
    found, error = fitted(measured_rows(known_timing(known=BENT)))
    assert error < 0.005
    assert found.flat_sequences == 6
    assert found.per_sequence_beyond_s == pytest.approx(0.006, rel=0.05)


def test_noisy_measurements_give_nearly_the_same_times() -> None:
    found, _ = fitted(measured_rows(known_timing(noise=0.08)))
    back = known_timing().model_copy(update=found._asdict())
    for work in ((0, 0, 1, 500), (0, 0, 16, 8000), (512, 512 * 511 // 2, 4, 600), (2000, 2000 * 1999 // 2, 0, 0)):
        assert back.step_s(*work) == pytest.approx(known_timing().step_s(*work), rel=0.15)


def test_a_measurement_that_was_disturbed_is_left_out() -> None:
    rows = measured_rows(known_timing())
    disturbed = [replace(row, seconds=row.seconds * (4 if place == 4 else 1)) for place, row in enumerate(rows)]
    found, _ = fitted(disturbed)
    assert found.per_prefill_token_s == pytest.approx(KNOWN.per_prefill_token_s, rel=0.1)
    assert found.base_s == pytest.approx(KNOWN.base_s, rel=0.1)


def test_nothing_comes_out_below_zero() -> None:
    lot = random.Random(1)
    rows = [
        Row("x", lot.random() + 0.01, 1, 1, lot.random(), lot.random(), lot.random(), lot.random()) for _ in range(30)
    ]
    assert min(fitted(rows)[0]) >= 0


def test_too_few_measurements_are_said_so() -> None:
    with pytest.raises(UserError, match="needed for a fit"):
        fitted(measured_rows(known_timing())[:3])


def test_the_noise_is_found_around_each_streams_own_pace() -> None:
    lot = random.Random(2)
    streams = [[pace * lot.lognormvariate(0, 0.1) for _ in range(300)] for pace in (0.01, 0.03, 0.3)]
    assert noise_of(streams) == pytest.approx(0.1, rel=0.15)
    assert noise_of([]) == 0


def test_answers_that_hardly_overlap_are_no_measurement() -> None:
    first = Heard(0.0, tuple(one / 100 for one in range(10)), 10)
    later = Heard(0.0, tuple(0.05 + one / 100 for one in range(10)), 10)
    assert decode_row([first, later], 32) == (None, [])


def test_held_out_traffic_is_seeded_and_stays_below_what_the_timing_promises() -> None:
    timing = known_timing()
    capacity = capacity_per_s(timing, 5)
    light, heavy, people = traffic_of(timing, 60.0, 5)
    assert (light, heavy, people) == traffic_of(timing, 60.0, 5)
    assert len(light.asked) == pytest.approx(0.4 * 60 * capacity, rel=0.3)
    assert len(heavy.asked) == pytest.approx(0.8 * 60 * capacity, rel=0.3)
    assert all(before.at_s <= after.at_s for before, after in pairwise(heavy.asked))
    assert people.people == 4


def test_the_error_is_that_of_the_stand_in_against_the_engine() -> None:
    real = [Heard(0.0, (0.1 + one / 10, 0.2 + one / 10), 2) for one in range(4)]
    stand_in = [Heard(0.0, (0.11 + one / 10, 0.21 + one / 10), 2) for one in range(4)]
    by_figure = {one.figure: one for one in deviations_of("some load", real, stand_in)}
    assert by_figure["TTFT p50"].ratio == pytest.approx(0.01 / 0.25)
    assert by_figure["TPOT p50"].ratio == pytest.approx(0.0)
    assert by_figure["throughput"].ratio < 0


# ---- the files ------------------------------------------------------------------------------------------------------


def test_those_that_come_with_us_say_where_they_are_from() -> None:
    assert {"large-gpu-assumed", "small-gpu-assumed"} <= set(shipped_timings())
    for name in shipped_timings():
        timing = read_timing(name)
        assert timing.name == name
        assert (timing.provenance.kind == "assumed") == name.endswith("-assumed")
        assert timing.provenance.sources or timing.provenance.deviations


def test_a_timing_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "mine.json"
    write_timing(known_timing(), path)
    assert read_timing(str(path)) == known_timing()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"base": 1}, "base: Extra inputs"),
        ({"base_s": -1}, "base_s: Input should be greater"),
        ({"base_s": 0, "per_sequence_s": 0}, "a step takes time"),
        ({"provenance": {"kind": "assumed", "text": "a guess"}}, "need sources"),
    ],
)
def test_a_timing_that_is_wrong_names_the_key(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(json.loads(known_timing().model_dump_json()) | change), encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_timing(str(path))


def test_a_timing_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UserError, match="small-gpu-assumed"):
        read_timing("smal-gpu")
