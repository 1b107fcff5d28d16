"""The benchmark's plain functions: reading answers, figures over rounds, tables, the file, /proc."""

import io
import itertools
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cluster.errors import UserError
from cluster.settings import Settings
from cluster.settings_file import read_settings
from loadtests.router_bench import cpu, memory, prompts, wire
from loadtests.router_bench.answer_reader import AnswerReader, BadAnswerError
from loadtests.router_bench.bench import chosen, cores_of
from loadtests.router_bench.client import requests_of
from loadtests.router_bench.installing import ALL, PINS
from loadtests.router_bench.load import Load, Spread, Target, percentiles
from loadtests.router_bench.ours import FULL, configuration
from loadtests.router_bench.plot import draw, limit_of
from loadtests.router_bench.result import merge
from loadtests.router_bench.rivals import rivals
from loadtests.router_bench.sample import Sample
from loadtests.router_bench.stand_in import ports_of
from loadtests.router_bench.summary import document, medians, names_of, ratios, spreads
from loadtests.router_bench.table import table_of

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"


def sample(name: str, round_number: int, cpu_us: float, **more: float) -> Sample:
    return Sample(
        name=name,
        round=round_number,
        figures={"cpu_us": cpu_us, **more},
        requests=100,
        latencies=50,
        errors={},
        engine_surplus=0,
    )


ROUNDS = (
    sample("fenzhen-plain", 1, 40, rps=20_000),
    sample("vllm-router", 1, 100, rps=8_000),
    sample("vllm-router", 2, 200, rps=4_000),
    sample("fenzhen-plain", 2, 60, rps=18_000),
    sample("vllm-router", 3, 120, rps=7_000),
    sample("fenzhen-plain", 3, 48, rps=19_000),
)

# ---- reading answers ------------------------------------------------------------------------------------------------


@given(st.sampled_from([WHOLE, CHUNKED]), st.lists(st.integers(1, len(CHUNKED)), max_size=6))
def test_an_answer_reads_the_same_however_it_is_cut(answer: bytes, cuts: list[int]) -> None:
    reader, body = AnswerReader(), b""
    edges = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    for begin, end in itertools.pairwise(edges):
        assert not reader.is_complete
        body += reader.feed(answer[begin:end])
    assert reader.is_complete
    assert (reader.status, body) == (200, b"hello")


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED])
def test_an_answer_byte_by_byte_is_complete_at_its_last_byte_only(answer: bytes) -> None:
    reader, body = AnswerReader(), b""
    for at in range(len(answer)):
        assert not reader.is_complete
        body += reader.feed(answer[at : at + 1])
    assert reader.is_complete
    assert body == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE + b"x",
        CHUNKED + b"x",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 two OK\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_answer_with_an_end_is_refused(answer: bytes) -> None:
    with pytest.raises(BadAnswerError):
        AnswerReader().feed(answer)


def test_an_interim_answer_is_passed_over() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE) == b"hello"
    assert (reader.status, reader.is_complete) == (200, True)


def test_a_server_that_wants_to_close_is_heard() -> None:
    reader = AnswerReader()
    reader.feed(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert not reader.keeps_alive


# ---- the stand-in's eyes --------------------------------------------------------------------------------------------


def test_what_a_caller_writes_in_a_question_does_not_steer_the_stand_in() -> None:
    question = 'say "stream": true, "max_tokens": 9 and "model": "evil"'
    body = json.dumps({"messages": [{"role": "user", "content": question}], "model": "small", "max_tokens": 4}).encode()
    assert not wire.is_streamed(body)
    assert wire.number_of(body, b"max_tokens") == 4
    assert wire.model_of(body) == b"small"


@pytest.mark.parametrize("body", [b'{"stream":true}', b'{"stream" : true}', b'{"stream":\ttrue}'])
def test_a_stream_is_seen_however_json_is_spaced(body: bytes) -> None:
    assert wire.is_streamed(body) is (b"\t" not in body)


def test_ports_are_read_from_ranges_and_none_comes_twice() -> None:
    assert ports_of("9101-9103,9200") == [9101, 9102, 9103, 9200]
    with pytest.raises(ValueError, match="each port once"):
        ports_of("9101,9101")


# ---- requests -------------------------------------------------------------------------------------------------------


def test_every_candidate_gets_the_same_bytes_but_for_the_models_name() -> None:
    for one, other in zip(prompts.bodies("small"), prompts.bodies("auto"), strict=True):
        assert one.replace('"model":"small"', '"model":"auto"') == other


def test_a_stretch_of_requests_is_as_mixed_as_the_whole() -> None:
    first = [json.loads(body)["messages"][0]["content"] for body in prompts.bodies("small")[:8]]
    assert first.count(prompts.SYSTEM["zh"]) == 4


def test_no_two_requests_have_the_same_number() -> None:
    requests = requests_of(Target(name="it", port=1, bodies=("{}", "[]"), headers=FULL.headers))
    ids = {next(requests).split(b"x-request-id: ")[1].split(b"\r\n")[0] for _ in range(10)}
    assert ids == {b"bench-%d" % number for number in range(10)}


def test_a_load_is_either_closed_or_open() -> None:
    target = Target(name="it", port=1, bodies=("{}",))
    with pytest.raises(ValueError, match="closed loop"):
        Load(targets=(target,), seconds=1, rate_per_s=10, total=5)


# ---- figures --------------------------------------------------------------------------------------------------------


def test_percentiles_lie_where_they_should() -> None:
    cuts = percentiles([float(value) for value in range(101)])
    assert (cuts[49], cuts[98]) == (50, 99)
    assert percentiles([3.0]) == [3.0] * 99
    assert Spread.of_ns([]) is None


def test_medians_and_spreads_are_taken_over_rounds() -> None:
    assert medians(ROUNDS)["cpu_us"] == {"vllm-router": 120, "fenzhen-plain": 48}
    assert spreads(ROUNDS)["cpu_us"]["vllm-router"] == (100, 200)


def test_a_ratio_compares_what_was_measured_in_the_same_round() -> None:
    # 40/100, 60/200 and 48/120; the medians' own ratio would be the same only by chance.
    assert ratios(ROUNDS)["cpu_us"] == {"vllm-router": 1.0, "fenzhen-plain": 0.4}


def test_without_the_base_there_are_no_ratios() -> None:
    assert ratios([one for one in ROUNDS if one.name != "vllm-router"]) == {}


def test_rows_stand_in_the_same_order_whoever_came_first() -> None:
    assert names_of(ROUNDS) == ("vllm-router", "fenzhen-plain")


def test_the_document_has_plain_numbers_under_the_agreed_keys() -> None:
    told = document(ROUNDS)
    assert told["cpu_us"]["fenzhen-plain"] == 48
    assert told["rps"]["vllm-router"] == 7000
    assert {"cpu_us", "rps", "added_ms_p50", "added_ms_p99", "ttft_added_ms_p50", "chunks_per_s", "memory_mb"} <= set(
        told
    )
    assert json.loads(json.dumps(told))["samples"][0]["name"] == "fenzhen-plain"


def test_the_table_says_what_needs_a_word_and_fits_a_narrow_terminal() -> None:
    lost = ROUNDS[0].model_copy(update={"errors": {"status 503": 2}, "engine_surplus": 1, "name": "fenzhen-full"})
    out = io.StringIO()
    Console(file=out, width=80).print(table_of((*ROUNDS, lost)))
    text = out.getvalue()
    assert "fenzhen-full: 2 × status 503" in text
    assert "the engines saw 1 requests more than were sent" in text
    assert "its p99 rests on 150 requests only" in text
    assert "…" not in text


def test_the_picture_is_a_picture(tmp_path: Path) -> None:
    path = draw(ROUNDS, tmp_path / "deep" / "router.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_one_long_bar_does_not_hide_the_others() -> None:
    assert limit_of([18_000, 150, 120]) < 300
    assert limit_of([150, 120]) > 150
    assert limit_of([0.0, 0.0]) > 0


# ---- the file -------------------------------------------------------------------------------------------------------


def test_a_run_replaces_its_own_keys_and_keeps_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "router.json"
    merge(path, {"streams_2000": {"errors": 0}, "cpu_us": {"haproxy": 1}})
    merge(path, {"cpu_us": {"haproxy": 2}})
    assert json.loads(path.read_text()) == {"streams_2000": {"errors": 0}, "cpu_us": {"haproxy": 2}}
    assert [one.name for one in path.parent.iterdir()] == ["router.json"]


def test_a_file_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "router.json"
    path.write_text("half a fi")
    with pytest.raises(UserError, match="move it away"):
        merge(path, {"cpu_us": {}})
    assert path.read_text() == "half a fi"


# ---- processes ------------------------------------------------------------------------------------------------------


def test_memory_is_read_from_the_line_of_shared_pages_in_parts() -> None:
    text = "55d0-7ffe ---p 0 00:00 0 [rollup]\nRss:  2000 kB\nPss:  1500 kB\nPss_Dirty:  900 kB\n"
    assert memory.pss_bytes(text) == 1500 * 1024
    with pytest.raises(ValueError, match="no line"):
        memory.pss_bytes("Rss: 1 kB\n")
    assert memory.memory_bytes([os.getpid()]) > 10_000_000


def test_the_kernels_count_of_processor_time_agrees_with_our_own() -> None:
    before_s, own_s = cpu.cpu_s([os.getpid()]), time.process_time()
    while time.process_time() < own_s + 0.05:
        pass
    assert cpu.cpu_s([os.getpid()]) - before_s == pytest.approx(0.05, abs=0.02)


def test_a_process_that_is_gone_costs_nothing() -> None:
    assert cpu.cpu_s([2**22 + 1]) == 0
    assert memory.memory_bytes([2**22 + 1]) == 0
    assert cpu.tree(2**22 + 1) == ()


# ---- candidates -----------------------------------------------------------------------------------------------------


def test_only_those_that_are_named_are_measured(tmp_path: Path) -> None:
    servers = rivals(tmp_path)
    assert [one.name for one in chosen(servers, "litellm, haproxy")] == ["haproxy", "litellm"]
    assert len(chosen(servers, "")) == 4
    with pytest.raises(UserError, match="nginx is not one of"):
        chosen(servers, "nginx")


def test_one_core_is_not_enough() -> None:
    assert cores_of((2, 5, 7)) == (2, 5)
    with pytest.raises(UserError, match="two cores"):
        cores_of((0,))


@pytest.mark.parametrize("pins", sorted(PINS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_package_of_a_rival_is_pinned_by_version_and_hash(pins: Path) -> None:
    entries = pins.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    assert entries
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_every_rival_has_its_version(tmp_path: Path) -> None:
    assert {one.name: one.at(tmp_path).version for one in ALL} == {
        "haproxy": "2.6.12-1+deb12u4",
        "vllm-router": "0.1.17",
        "sglang-router": "0.3.2",
        "litellm": "1.106.0",
    }


def test_our_configuration_is_one_that_the_product_takes(tmp_path: Path) -> None:
    path = tmp_path / "fenzhen.yaml"
    path.write_text(configuration(range(9101, 9109), 8123, tmp_path), encoding="utf-8")
    settings = read_settings(path)
    assert isinstance(settings, Settings)
    assert settings.router.port == 8123
    assert [len(pool.endpoints) for pool in settings.external_pools] == [4, 4]
