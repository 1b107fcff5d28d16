"""`fenzhen loadtest` from the command line, against stand-in engines: what an SRE types."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from loadtests.rehearsal import stand_ins
from loadtests.rehearsal.timing import read_timing, write_timing

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 300
pytestmark = pytest.mark.timeout(2 * PATIENCE_S)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine with four places, each good for two requests of 20 tokens a second."""
    like = read_timing("small-gpu-assumed")
    limits = like.limits.model_copy(update={"max_num_seqs": 4})
    path = tmp_path_factory.mktemp("engine") / "timing.json"
    write_timing(like.model_copy(update={"base_s": 0.025, "limits": limits}), path)
    with stand_ins.started(["--timing", str(path), "--model", "small"], 1) as engines:
        yield f"http://127.0.0.1:{engines.ports[0]}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose state lies apart."""
    folder = tmp_path_factory.mktemp("home")
    printed = fenzhen("config", "--profile", "tiny")
    document = yaml.safe_load(printed.stdout)
    document["site"] = {"state_dir": str(folder / "state")}
    (folder / "fenzhen.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder


def words(home: Path, command: str, *more: str) -> list[str]:
    return ["loadtest", command, "--config", str(home / "fenzhen.yaml"), *more]


def fenzhen(*all_words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fenzhen", *all_words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=REPOSITORY,
    )


SHORT = ("--set", "stages.0.seconds=4", "--set", "workload.max_tokens=8", "--model", "small")


def test_a_run_is_reported_listed_told_again_and_compared(home: Path, url: str) -> None:
    first = fenzhen(*words(home, "run", "smoke", "--url", url, *SHORT, "--json", "--fail-on", "errors"))
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["figures"]["answered"] == report["figures"]["requests"] > 0
    second = fenzhen(*words(home, "run", "smoke", "--url", url, *SHORT))
    assert second.returncode == 0, second.stderr
    assert "Promised: 99 % of the requests are answered without an error." in " ".join(second.stdout.split())
    listed = json.loads(fenzhen(*words(home, "runs", "--json")).stdout)
    assert len(listed) == 2
    again = fenzhen(*words(home, "report", listed[0]["run"], "--json"))
    assert json.loads(again.stdout)["figures"] == report["figures"]
    compared = fenzhen(*words(home, "compare", listed[0]["run"], listed[1]["run"], "--json"))
    # Four seconds tell nothing, and so nothing is worse.
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["rows"]


def test_the_safe_load_is_found_and_told_with_what_lies_beyond(home: Path, url: str, tmp_path: Path) -> None:
    lengths = json.dumps({"prompt_tokens": 32, "answer_tokens": 20})
    more = (
        "--set",
        "workload.kinds={stream: 1}",
        "--set",
        f"workload.lengths={lengths}",
        "--set",
        "slo.share_ratio=0.9",
    )
    short = ("--from-rate", "20", "--precision", "1", "--probe-seconds", "5", "--max-minutes", "2")
    done = fenzhen(
        *words(
            home,
            "search",
            "mixed",
            "--url",
            url,
            "--model",
            "small",
            *more,
            *short,
            "--json",
            "--output",
            str(tmp_path / "s"),
        )
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    # 20 a second are more than four places can take, whatever machine this is.
    assert not found["probes"][0]["is_met"]
    assert (tmp_path / "s" / "search.html").read_text(encoding="utf-8").endswith("</html>\n")


def test_an_interrupted_run_is_reported_on_with_what_there_is(home: Path, url: str, tmp_path: Path) -> None:
    command = words(home, "run", "smoke", "--url", url, "--model", "small", "--output", str(tmp_path / "run"))
    process = subprocess.Popen(
        [sys.executable, "-m", "fenzhen", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    )
    end_s = time.monotonic() + PATIENCE_S
    samples = tmp_path / "run" / "samples.jsonl"
    while not (samples.exists() and samples.stat().st_size):
        assert time.monotonic() < end_s
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, said
    report = json.loads((tmp_path / "run" / "report.json").read_bytes())
    assert report["about"]["outcome"] == "interrupted"
    assert report["figures"]["answered"] > 0
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--set", "stages.0.secs=1"), "did you mean stages.0.seconds?"),
        (("--fault", "kill-engine@1s"), "stack"),
        (("--fault", "fill-disk@1d"), "would come after the end"),
        (("--processes", "2", "--expect-workers", "1"), "do not go together"),
        (("--set", "target.api_key_env=NO_SUCH_KEY_HERE"), "NO_SUCH_KEY_HERE, which is not set"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_sent(
    home: Path, url: str, tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    done = fenzhen(*words(home, "run", "smoke", "--url", url, "--output", str(tmp_path / "run"), *more))
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert not (tmp_path / "run" / "samples.jsonl").exists()
