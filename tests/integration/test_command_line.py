"""The command as a newcomer types it: real processes, real files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder that is home and working folder at once."""
    return tmp_path


def fenzhen(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **environ}
    command = [sys.executable, "-m", "fenzhen", *arguments]
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_help_is_there_at_once_and_imports_nothing_heavy(home: Path) -> None:
    began_s = time.monotonic()
    done = fenzhen(home, "--help", PYTHONPROFILEIMPORTTIME="1")
    # 0.1 s alone on a machine; the limit leaves room for a busy one.
    assert time.monotonic() - began_s < 2
    assert done.returncode == 0
    assert "Check this machine before a start." in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"ray", "vllm", "torch", "pydantic", "rich", "yaml", "psutil"}


def test_without_a_command_the_help_is_shown(home: Path) -> None:
    done = fenzhen(home)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: fenzhen ")


def test_a_mistyped_command_is_answered_with_the_nearest(home: Path) -> None:
    done = fenzhen(home, "docter")
    assert done.returncode == 2
    assert done.stderr == (
        "fenzhen: No such command 'docter'. (Did you mean one of: 'doctor', 'router'?)\n"
        "fenzhen: `fenzhen --help` shows what can be asked\n"
    )


def test_the_printed_configuration_is_one_that_can_be_used(home: Path) -> None:
    printed = fenzhen(home, "config", "--profile", "tiny")
    assert printed.stdout.startswith("# Made from profile tiny.\nmodels:\n")
    (home / "fenzhen.yaml").write_text(printed.stdout)
    again = fenzhen(home, "config", FENZHEN_PORT="9001")
    assert "port: 9001" in again.stdout
    assert again.stdout.startswith("# Made from fenzhen.yaml.\n")


def test_a_wrong_configuration_is_two_sentences_and_no_traceback(home: Path) -> None:
    text = fenzhen(home, "config", "--profile", "tiny").stdout
    (home / "fenzhen.yaml").write_text(
        text.replace("  port: 8000", "  prot: 8000").replace("engines: 1", "engines: 0", 1)
    )
    done = fenzhen(home, "doctor")
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("fenzhen: fenzhen.yaml line ")
    assert first.endswith("pools[0].engines: should be greater than or equal to 1, got 0")
    assert second.endswith("router.prot: unknown key; did you mean port?")


def test_doctor_fits_80_columns_and_says_what_to_do(home: Path) -> None:
    done = fenzhen(home, "doctor", "--profile", "tiny", COLUMNS="80")
    assert done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "\x1b" not in done.stdout
    assert "not there yet: smollm2-135m, qwen2.5-0.5b" in done.stdout
    assert "→ `fenzhen up` fetches them" in done.stdout


def test_doctor_gives_one_json_document(home: Path) -> None:
    done = fenzhen(home, "doctor", "--profile", "tiny", "--json")
    document = json.loads(done.stdout)
    assert document["configuration"] == "profile tiny"
    assert {"name", "verdict", "fact", "remedy"} == set(document["findings"][0])
    assert done.returncode == (1 if document["verdict"] == "fail" else 0)


def test_a_failed_check_is_exit_code_1(home: Path) -> None:
    text = fenzhen(home, "config", "--profile", "tiny").stdout
    (home / "fenzhen.yaml").write_text(text.replace("memory_bytes: 2800000000", "memory_bytes: 2800000000000000"))
    done = fenzhen(home, "doctor")
    assert done.returncode == 1
    assert "fail  memory" in done.stdout
    assert "checks failed" in done.stdout


def test_version_names_what_runs(home: Path) -> None:
    versions = json.loads(fenzhen(home, "version", "--json").stdout)
    assert versions["python"].startswith("3.11.")
    assert "ray" in versions


def test_a_reader_that_has_enough_is_no_error(home: Path) -> None:
    command = f"{sys.executable} -m fenzhen config --profile qwen | true; echo ${{PIPESTATUS[0]}}"
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=home, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout in ("0\n", "1\n")


def test_a_terminal_that_cannot_show_an_arrow_is_no_crash(home: Path) -> None:
    done = fenzhen(home, "doctor", "--profile", "tiny", PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert "ascii instead of UTF-8" in done.stdout


EXTERNAL = """\
models:
  - {name: small, languages: [en], max_difficulty: 1, context_tokens: 2048, parameters_b: 0.1}
pools:
  - {model: small, endpoints: ["http://127.0.0.1:1", "http://127.0.0.1:2"]}
"""


def test_models_of_servers_that_run_already_are_listed_and_not_fetched(home: Path) -> None:
    (home / "fenzhen.yaml").write_text(EXTERNAL)
    (row,) = json.loads(fenzhen(home, "models", "list", "--json").stdout)
    assert row["endpoints"] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert row["origin"] == "at http://127.0.0.1:1, http://127.0.0.1:2, which run already"
    assert "not needed" in fenzhen(home, "models", "list").stdout
    assert fenzhen(home, "models", "fetch").returncode == 0
    named = fenzhen(home, "models", "fetch", "small")
    assert (named.returncode, named.stderr) == (
        2,
        "fenzhen: small has no sources: its pool has endpoints, servers that have the weights already\n",
    )


def test_doctor_looks_at_servers_that_run_already(home: Path) -> None:
    (home / "fenzhen.yaml").write_text(EXTERNAL)
    findings = {row["name"]: row for row in json.loads(fenzhen(home, "doctor", "--json").stdout)["findings"]}
    assert findings["engine"]["fact"] == "none needed: the servers of every pool run already"
    assert findings["endpoints"]["verdict"] == "warn"
    assert findings["endpoints"]["fact"] == (
        "2 of 2 do not answer as they should: small@127.0.0.1:1 refuses connections: nothing listens there; "
        "small@127.0.0.1:2 refuses connections: nothing listens there"
    )
