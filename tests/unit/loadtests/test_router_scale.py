"""The plain functions of the scale benchmark."""

import json
import random
from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.settings import Settings
from loadtests.router_bench import faults, growth, patient, pool_scale, stream_scale
from loadtests.router_bench.costs import Cost, Delay
from loadtests.router_bench.findings import PARTS, Findings
from loadtests.router_bench.gauges import Footprint, Use
from loadtests.router_bench.load import Report, Spread
from loadtests.router_bench.made_up import conversations, of_length, prompt
from loadtests.router_bench.mix import SHARES, MixReport
from loadtests.router_bench.patient import KindReport, PatientReport
from loadtests.router_bench.prompt_scale import Prompt
from loadtests.router_bench.scale import chosen
from loadtests.router_bench.scale_plot import draw_all
from loadtests.router_bench.scale_table import tables_of
from loadtests.router_bench.slope import slope_of
from loadtests.router_bench.stack import configuration

COST = Cost(requests=100, errors={"status 503": 2}, rps=5000.0, cpu_us=50.0, generator_busy_ratio=0.99)
QUIET = KindReport(
    requests=10, right=10, retried=0, retries=0, why_retried={}, lost={}, broken={}, wrong={}, slowest_ms=5.0
)


def step(streams: int, *, is_active: bool) -> stream_scale.Step:
    return stream_scale.Step(
        streams=streams, is_active=is_active, pace_ms=100, open_at_once=streams, errors={}, chunks_per_s=streams * 10.0,
        cpu_ratio=0.2, cpu_us_per_chunk=25.0, generator_busy_ratio=0.5,
        uss_kb_per_stream=None if streams < 100 else 7.5, rss_kb_per_stream=8.0,
        ttft_p50_ms=1.0, ttft_p99_ms=2.0, gap_p50_ms=100.0, gap_p99_ms=101.0,
    )  # fmt: skip


def sample_of(done: int, uss_bytes: float) -> tuple[int, Footprint]:
    return done, Footprint(int(uss_bytes), int(uss_bytes) + 50_000_000)


# ---- the slope -------------------------------------------------------------------------------------------------------


def test_a_straight_line_has_its_slope_exactly() -> None:
    found = slope_of([(x, 3.0 * x + 7) for x in range(50)])
    assert found.value == found.low == found.high == pytest.approx(3.0)


def test_noise_without_growth_has_an_interval_that_holds_zero() -> None:
    lot = random.Random(3)
    found = slope_of([(x, 1000 + lot.gauss(0, 20)) for x in range(200)])
    assert found.low < 0 < found.high


def test_growth_under_noise_is_seen_and_its_interval_holds_the_truth() -> None:
    lot = random.Random(3)
    found = slope_of([(x, 2.0 * x + lot.gauss(0, 20)) for x in range(200)])
    assert 0 < found.low < 2.0 < found.high


def test_one_jump_is_no_growth() -> None:
    found = slope_of([(x, 0.0 if x < 30 else 1e6) for x in range(200)])
    assert found.low <= 0 < found.high


def test_neighbours_that_hang_together_make_it_less_sure() -> None:
    lot = random.Random(5)
    steps = [lot.gauss(0, 1) for _ in range(300)]
    walk = [(x, sum(steps[:x])) for x in range(300)]
    shuffled = [(x, y) for (x, _), (_, y) in zip(walk, random.Random(1).sample(walk, len(walk)), strict=True)]
    width = slope_of(walk).high - slope_of(walk).low
    assert width > slope_of(shuffled).high - slope_of(shuffled).low


def test_two_points_are_too_few_for_a_slope() -> None:
    with pytest.raises(ValueError, match="three points"):
        slope_of([(0, 0), (1, 1)])


# ---- growth ----------------------------------------------------------------------------------------------------------


def grown(bytes_a_request: float) -> growth.Growth:
    lot = random.Random(2)
    report = MixReport(done=100_000, kinds={"auto": 100_000}, wrong={}, connections_made=32)
    samples = [
        sample_of(done, 90e6 + max(0, 20_000 - done) * -500 + bytes_a_request * done + lot.gauss(0, 3000))
        for done in range(0, 100_001, 1_000)
    ]
    return growth.judged(report, samples, 20_000, Use(seconds=100.0, cpu_s=50.0, core_busy_ratio=0.9))


def test_memory_that_only_grows_while_it_warms_up_is_within_the_noise() -> None:
    assert grown(0.0).is_within_noise


def test_forty_bytes_kept_for_each_request_are_found() -> None:
    found = grown(40.0)
    assert not found.is_within_noise
    assert found.bytes_per_1000_requests == pytest.approx(40_000, rel=0.05)
    assert found.low_bytes_per_1000_requests < 40_000 < found.high_bytes_per_1000_requests


def test_the_warm_up_is_not_counted_as_measured_but_what_went_wrong_in_it_is() -> None:
    one = MixReport(done=100, kinds={"auto": 100}, wrong={"auto: reset": 1}, connections_made=3)
    both = growth.merged(one, MixReport(done=50, kinds={"auto": 40, "named": 10}, wrong={}, connections_made=2))
    found = growth.judged(both, [sample_of(done, 9e7) for done in range(0, 151, 10)], 100, Use(1.0, 0.5, 0.5))
    assert (found.requests, found.warm_up_requests) == (50, 100)
    assert found.kinds == {"auto": 140, "named": 10}
    assert found.wrong == {"auto: reset": 1}


def test_the_shares_of_the_mixed_load_are_hundredths() -> None:
    assert sum(SHARES.values()) == 100


# ---- streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_has_as_many_chunks_as_keep_it_open_for_long_enough() -> None:
    assert stream_scale.chunks_for(10.0, 5000) == 3
    assert stream_scale.chunks_for(10.1, 5000) == 4
    assert stream_scale.chunks_for(0.01, 5000) == 2


def test_streams_are_slowed_down_only_where_clients_could_not_follow() -> None:
    assert stream_scale.active_pace_ms(1000) == 100
    assert 5000 / (stream_scale.active_pace_ms(5000) / 1000) == pytest.approx(stream_scale.MOST_CHUNKS_PER_S)


def test_the_rate_of_chunks_is_the_real_one_where_streams_came_late() -> None:
    spread = Spread(count=10, p50_ms=2000, p90_ms=2000, p99_ms=2000, max_ms=2000)
    report = Report(
        name="x", sent=10, right=10, errors={}, connections_made=10, elapsed_s=3.0, chunks=110, latency=spread,
        ttft=None, gap=None,
    )  # fmt: skip
    assert stream_scale.chunk_rate(report, 10, 11, 100.0) == pytest.approx(50.0)


def test_memory_is_told_for_each_stream_above_idle() -> None:
    assert Footprint(3072, 4096).kb_per(2, Footprint(1024, 2048)) == (1.0, 1.0)


# ---- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("chars", [100, 1_000, 100_000])
def test_a_prompt_has_as_many_characters_as_asked_for_and_differs_from_the_next(language: str, chars: int) -> None:
    one, other = (prompt(language, chars, number) for number in (1, 2))  # type: ignore[arg-type]
    assert len(one) == len(other) == chars
    assert one != other


def test_long_prompts_are_few_and_short_ones_many() -> None:
    assert len(of_length("x", 1, "auto", "zh", 100).bodies) == 200
    assert len(of_length("x", 1, "auto", "zh", 100_000).bodies) == 10


def test_conversations_differ_and_go_to_the_models_in_turn() -> None:
    bodies = [json.loads(body) for body in conversations("x", 1, ["a", "b"], 500).bodies]
    assert len({body["messages"][1]["content"] for body in bodies}) == 500
    assert [body["model"] for body in bodies[:4]] == ["a", "b", "a", "b"]


# ---- stacks ----------------------------------------------------------------------------------------------------------


def test_the_configuration_of_a_large_stack_is_one_that_can_be_started(tmp_path: Path) -> None:
    pools = pool_scale.pools_of(range(20_000, 20_100), 100, 1)
    settings = Settings.model_validate(configuration(pools, tmp_path, {"port": 8123, "replicas": 2}))
    assert len(settings.external_pools) == 100
    assert settings.served_models[-1].max_difficulty == 1.0


def test_too_few_ports_are_an_error_and_not_a_smaller_stack() -> None:
    with pytest.raises(ValueError, match="1000 ports are needed"):
        pool_scale.pools_of(range(10), 1, 1000)


def test_only_ports_that_were_asked_meanwhile_count() -> None:
    assert pool_scale.by_port({"1": 5, "2": 7}, {"1": 5, "2": 9, "3": 1}) == {"2": 2, "3": 1}


# ---- the patient client ----------------------------------------------------------------------------------------------


def test_waits_are_those_of_openais_client() -> None:
    assert [patient.wait_s(attempt, None, 0.0) for attempt in range(6)] == [0.5, 1, 2, 4, 8, 8]
    assert patient.wait_s(0, None, 1.0) == pytest.approx(0.375)
    assert patient.wait_s(0, 7, 1.0) == 7
    assert patient.wait_s(0, 900, 0.0) == 0.5


def test_the_longest_silence_and_the_answers_in_time_are_told() -> None:
    report = patient.report_of({"kept": patient.Tally()}, [10.05, 10.06, 10.45, 10.47], 10.0)
    assert report.longest_gap_ms == pytest.approx(390)
    assert report.longest_gap_at_s == pytest.approx(0.06)
    assert report.answers_in_bins == (2, 0, 0, 0, 2)


def test_a_fault_adds_up_what_the_clients_saw() -> None:
    stream = QUIET.model_copy(update={"broken": {"closed": 3}, "lost": {"503": 1}, "slowest_ms": 1500.0})
    new = QUIET.model_copy(update={"retried": 4, "broken": {"reset": 1}, "wrong": {"status 500": 2}})
    report = PatientReport(
        kinds={"kept": QUIET, "new": new, "stream": stream}, longest_gap_ms=80.0, begun_s=100.0, longest_gap_at_s=4.0,
        answers_in_bins=(1, 2),
    )  # fmt: skip
    found = faults.judged(report, 104.0, 2.04, "")
    assert (found.requests, found.retried, found.lost, found.wrong) == (30, 4, 1, 2)
    assert (found.broken_streams, found.broken_answers) == (3, 1)
    assert (found.slowest_ms, found.fault_at_s, found.until_well_s) == (1500.0, 4.0, 2.0)


# ---- what people get -------------------------------------------------------------------------------------------------


def test_parts_are_chosen_by_name_and_a_wrong_name_is_answered_with_the_right_ones() -> None:
    assert chosen("") == PARTS
    assert chosen("growth, streams_2000") == ("streams_2000", "growth")
    with pytest.raises(UserError, match=r"strems is not one of streams_2000, streams"):
        chosen("strems")


def everything() -> Findings:
    fault = faults.judged(
        PatientReport(
            kinds={"kept": QUIET, "new": QUIET, "stream": QUIET}, longest_gap_ms=8.0, begun_s=0.0,
            longest_gap_at_s=1.0, answers_in_bins=(5, 6, 7),
        ), 0.1, 3.0, "not well after 120 s",
    )  # fmt: skip
    delay = Delay(requests=10, errors={}, added_p50_ms=0.3, added_p99_ms=None)
    steps = [step(count, is_active=is_active) for count in (1, 1000) for is_active in (False, True)]
    return Findings(
        streams_2000=stream_scale.Waves(
            streams=2000, errors=0, kb_per_stream=7.5, rss_kb_per_stream=7.6, second_wave_kb_per_stream=7.8,
            left_after_first_kb=15_000.0, idle_mb=89.0, warm_up_requests=5000, waves=(steps[3], steps[3]),
        ),
        streams=steps,
        prompts=[
            Prompt(chars=chars, language=language, model=model, cost=COST, delay=delay)
            for language in ("zh", "en")
            for model in ("small", "auto")
            for chars in (100, 1000)
        ],
        sizes=[_size(1, 1), _size(100, 1), _size(1, 1000)],
        replicas=[
            pool_scale.Replicas(replicas=count, named=COST, auto=COST, memory_mb=90.0, idle_cpu_ratio=0.01)
            for count in (1, 2)
        ],
        growth=grown(0.0),
        faults={"update": fault, "kill_replica": fault},
    )  # fmt: skip


def _size(models: int, endpoints: int) -> pool_scale.Size:
    return pool_scale.Size(
        models=models, endpoints=endpoints, named=COST, auto=COST, endpoints_used=models * endpoints,
        busiest_to_mean=1.2, memory_mb=90.0, idle_cpu_ratio=0.01, beside_idle_cpu_ratio=0.1, ready_s=12.0,
    )  # fmt: skip


def test_the_document_holds_what_was_measured_and_nothing_else() -> None:
    document = json.loads(json.dumps(everything().document()))
    assert set(document) == set(PARTS)
    assert document["streams_2000"]["errors"] == 0
    assert document["streams_2000"]["kb_per_stream"] == 7.5
    assert document["faults"]["kill_replica"]["lost"] == 0
    assert Findings().document() == {}


def test_the_tables_tell_every_part_and_what_did_not_become_well(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=80).print(tables_of(everything()))
    shown = capsys.readouterr().out
    for words in ("2,000 streams at once", "Open streams", "Length of the prompt", "Replicas", "Faults under load"):
        assert words in shown
    assert "no growth beyond the noise" in shown
    assert "kill_replica: not well after 120 s" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


def test_each_table_has_a_picture(tmp_path: Path) -> None:
    drawn = draw_all(everything(), tmp_path / "router.json")
    names = {"streams", "prompts", "sizes", "replicas", "growth", "faults"}
    assert {path.name for path in drawn} == {f"router-{name}.png" for name in names}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
