"""Clusters to rehearse: the file, the configuration, how engines are spread, and the commands' edges."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from cluster.errors import UserError
from cluster.settings import ExternalPool
from cluster.settings_file import as_yaml, read_settings
from fenzhen.loadtest_engines import engines, shares_of
from fenzhen.loadtest_fit import fit, view_of
from loadtests.rehearsal.cluster_file import read_cluster, server_words, settings_of, shipped_clusters, timings_of
from loadtests.rehearsal.server import options_of
from loadtests.rehearsal.timing import Deviation, read_timing

ONE = """
name: ours
models:
  - {name: small, timing: small-gpu-assumed, engines: 3, max_difficulty: 0.5, parameters_b: 7}
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "cluster.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_the_cluster_that_comes_with_us_can_be_read_and_all_its_timings() -> None:
    for name in shipped_clusters():
        cluster = read_cluster(name)
        assert cluster.name == name
        assert set(timings_of(cluster)) == {model.name for model in cluster.models}


def test_the_configuration_is_one_that_up_reads(tmp_path: Path) -> None:
    cluster = read_cluster("city")
    ports = {"small": [9001, 9002, 9003, 9004], "large": [9005, 9006, 9007, 9008]}
    written = settings_of(cluster, timings_of(cluster), ports, tmp_path / "state", {"port": 8123})
    path = tmp_path / "fenzhen.yaml"
    path.write_text(as_yaml(written), encoding="utf-8")
    settings = read_settings(path)
    assert settings.router.port == 8123
    assert [model.context_tokens for model in settings.models] == [32768, 32768]
    first = [pool.endpoints[0] for pool in settings.pools if isinstance(pool, ExternalPool)]
    assert first == ["http://127.0.0.1:9001", "http://127.0.0.1:9005"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (ONE.replace("engines: 3", "engine: 3"), r"cluster.yaml line 4: .*did you mean engines"),
        (ONE.replace("engines: 3", "engines: 0"), "engines"),
        (ONE.replace("max_difficulty: 0.5, ", ""), "max_difficulty"),
        (ONE + ONE.splitlines()[-1] + "\n", "stands there twice"),
        ("name: x\nmodels: []\n", "models"),
    ],
)
def test_a_mistake_names_its_line_and_key(written: Callable[[str], str], text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_cluster(written(text))


def test_a_timing_that_is_not_there_names_its_model(written: Callable[[str], str]) -> None:
    cluster = read_cluster(written(ONE.replace("small-gpu-assumed", "nowhere.json")))
    with pytest.raises(UserError, match="model small: there is no timing"):
        timings_of(cluster)


def test_a_timing_of_ones_own_lies_beside_the_cluster(written: Callable[[str], str], tmp_path: Path) -> None:
    cluster = read_cluster(written(ONE.replace("small-gpu-assumed", "mine.json")))
    assert cluster.models[0].timing == str(tmp_path / "mine.json")


def test_what_is_said_on_the_command_line_counts() -> None:
    assert read_cluster("city", ["models.0.engines=9"]).models[0].engines == 9


def test_the_servers_options_are_those_that_it_knows(written: Callable[[str], str]) -> None:
    more = "answer_tokens: 9, tool_ratio: 0.5, max_waiting: 2, parameters_b"
    model = read_cluster(written(ONE.replace("parameters_b", more))).models[0]
    options = options_of([*server_words(model, 4), "--free-ports", "1"])
    assert (options.answer_tokens, options.tool_ratio, options.max_waiting, options.seed) == (9, 0.5, 2, 4)


@pytest.mark.parametrize(
    ("counts", "processes", "cores", "shares"),
    [
        ([4, 4], None, 2, [[4], [4]]),
        ([4, 4], 4, 2, [[2, 2], [2, 2]]),
        ([30, 2], None, 4, [[8, 8, 7, 7], [2]]),
        ([1, 1], 8, 8, [[1], [1]]),
        ([5], 2, 8, [[3, 2]]),
    ],
)
def test_engines_are_spread_evenly(
    counts: list[int], processes: int | None, cores: int, shares: list[list[int]]
) -> None:
    overrides = [f"models.{place}.engines={count}" for place, count in enumerate(counts)]
    cluster = read_cluster("city", overrides[:2])
    cluster = cluster.model_copy(update={"models": cluster.models[: len(counts)]})
    assert list(shares_of(cluster, processes, cores).values()) == shares


def test_the_commands_print_what_to_start_from() -> None:
    printed = CliRunner().invoke(engines, ["--print"])
    assert "small-gpu-assumed" in printed.output
    keys = CliRunner().invoke(engines, ["--keys"])
    assert "models.0.timing" in keys.output
    assert "--max-num-seqs" in CliRunner().invoke(fit, ["--help"]).output


def test_fit_says_what_is_wrong_with_its_address_and_key(tmp_path: Path) -> None:
    words = ["--model", "m", "--output", str(tmp_path / "x.json"), "--url"]
    assert "http://host:port" in str(CliRunner().invoke(fit, [*words, "localhost:1"]).exception)
    keyed = CliRunner().invoke(fit, [*words, "http://localhost:1", "--api-key-env", "NO_SUCH_KEY_HERE"])
    assert "NO_SUCH_KEY_HERE is not set" in str(keyed.exception)


def test_the_error_of_a_fit_is_shown_to_people() -> None:
    timing = read_timing("small-gpu-assumed")
    deviation = Deviation(load="40% of capacity", figure="TTFT p50", unit="s", real=0.2, stand_in=0.25)
    provenance = timing.provenance.model_copy(update={"deviations": (deviation,), "residual_ratio": 0.04})
    console = Console(file=io.StringIO(), width=120)
    console.print(view_of(timing.model_copy(update={"provenance": provenance})))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "+25.0%" in shown
    assert "within 4.0%" in shown
    assert "request_overhead_s" in shown
