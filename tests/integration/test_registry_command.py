"""`fenzhen registry` as a person calls it, on a real MLflow in a SQLite file."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from tests.fakes.version_files import adapter_folder, prompt_file

CONFIG = """\
site: {{state_dir: {state_dir}}}
models:
  - {{name: small, languages: [en], max_difficulty: 0.5, context_tokens: 2048, parameters_b: 0.5}}
  - {{name: large, languages: [en], max_difficulty: 1, context_tokens: 4096, parameters_b: 7}}
pools:
  - {{model: small, endpoints: ["http://127.0.0.1:9001"]}}
  - {{model: large, endpoints: ["http://127.0.0.1:9002"]}}
"""


class Desk:
    """A folder to work in, and what the command says there."""

    def __init__(self, folder: Path, template: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        (folder / "fenzhen.yaml").write_text(CONFIG.format(state_dir=self.state_dir))
        (self.state_dir / "registry").mkdir(parents=True)
        shutil.copy(template, self.state_dir / "registry" / "registry.db")
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of `fenzhen registry WORDS`."""
        code = exit_code_of(
            lambda: fenzhen.main(["registry", *words], standalone_mode=False, obj=Invocation()), Invocation()
        )
        return (code, *self._capsys.readouterr())

    def document(self, *words: str, code: int = 0) -> Any:
        """What `--json` prints."""
        found, out, err = self(*words, "--json")
        assert found == code, err
        return json.loads(out)


@pytest.fixture
def desk(
    tmp_path: Path, sqlite_template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.chdir(tmp_path)
    for name in ("FENZHEN_TRACKING_URI", "FENZHEN_ROLLOUTS_URI", "FENZHEN_PORT"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path, sqlite_template, capsys)


def test_a_version_is_registered_listed_shown_compared_and_verified(desk: Desk) -> None:
    one, two = adapter_folder(desk.folder / "one"), adapter_folder(desk.folder / "two", rank=16, fill=b"\2")
    (desk.folder / "results.json").write_text('{"accuracy": 0.91, "refused_ratio": 0.002}')
    options = ["--kind", "adapter", "--serves", "small"]

    first = desk.document("register", "hotline", str(one), *options, "--result", "accuracy=0.87", "--commit", "f3a9")
    second = desk.document(
        "register", "hotline", str(two), *options, "--results", "results.json", "--parent", "1",
        "--require", "accuracy >= 0.9", "--require", "refused_ratio <= 0.01", "--data", "tickets sha256:4be1",
    )  # fmt: skip

    assert (first["version"], first["lineage"]["code_commit"], first["lineage"]["base_model"]) == (1, "f3a9", "qwen")
    assert (second["gate_verdict"], second["lineage"]["parent"]) == ("passed", 1)
    assert [one["version"] for one in desk.document("list")] == [1, 2]
    assert desk.document("show", "hotline") == second
    assert desk.document("show", "hotline", "1") == first
    found = desk.document("diff", "hotline", "1", "2")
    assert {row["metric"]: row["difference"] for row in found["results"]}["accuracy"] == pytest.approx(0.04)
    assert found["adapter_config"] == [{"what": "r", "old": "8", "new": "16"}]
    assert desk.document("verify") == {"verified": ["hotline 1", "hotline 2"], "problems": []}
    code, out, _ = desk("list")
    assert code == 0
    assert out.splitlines()[2].split()[:4] == ["hotline", "2", "adapter", "small"]
    assert "accuracy: 0.87 -> 0.91" in desk("diff", "hotline", "1", "2")[1]
    assert "refused_ratio 0.002 (<= 0.01: passed)" in desk("show", "hotline", "2")[1]


def test_a_gate_that_is_not_passed_is_told_and_kept(desk: Desk) -> None:
    path = prompt_file(desk.folder / "p.txt")
    code, _, err = desk("register", "greet", str(path), "--kind", "prompt", "--serves", "small", "--require", "a > 0")
    assert code == 1
    assert "1 of 1 gates are not passed" in err
    assert desk.document("show", "greet")["gate_verdict"] == "failed: a"


def test_prompts_are_compared_by_their_lines(desk: Desk) -> None:
    for text in ("Be kind.\nBe short.\n", "Be kind.\nBe long.\n"):
        path = prompt_file(desk.folder / "p.txt", text)
        assert desk("register", "greet", str(path), "--kind", "prompt", "--serves", "small")[0] == 0
    assert "-Be short.\n+Be long." in desk("diff", "greet", "1", "2")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nobody"], "the registry has no versions of 'nobody'"),
        (["show", "nobody", "3"], "nobody has no version 3"),
        (["show", "nobody", "latest"], "'latest' is no version; give its number, or @stable"),
        (["register", "x", "a", "--kind", "adapter"], "--serves is missing: which of small, large carries it?"),
        (["register", "x", "a", "--kind", "adapter", "--serves", "huge"], "'huge' is not served; there are small"),
        (["register", "auto", "a", "--kind", "adapter", "--serves", "small"], "the name 'auto' is for judges"),
        (["register", "x", "nowhere", "--kind", "model", "--serves", "small"], "nowhere does not exist"),
        (["register", "x", "a", "--kind", "model", "--serves", "small", "--result", "y"], "'y' is no result"),
        (["register", "x", "a", "--kind", "model", "--serves", "small", "--results", "no.json"], "cannot be read"),
        (["gc", "--older-than", "soon"], "'soon' is no duration"),
    ],
)
def test_what_cannot_be_done_says_what_to_mend(desk: Desk, words: list[str], message: str) -> None:
    adapter_folder(desk.folder / "a")
    code, _, err = desk(*words)
    assert code == 2
    assert message in err
    assert desk.document("list") == []


def test_damage_is_found_and_named(desk: Desk) -> None:
    desk("register", "hotline", str(adapter_folder(desk.folder / "a")), "--kind", "adapter", "--serves", "small")
    (kept,) = (desk.state_dir / "registry" / "artifacts").rglob("adapter_model.safetensors")
    kept.write_bytes(b"something else")

    document = desk.document("verify", "hotline", "1", code=1)

    assert document["verified"] == []
    assert document["problems"] == ["hotline 1: adapter_model.safetensors is not what was registered"]
    kept.unlink()
    assert "adapter_model.safetensors is missing" in desk("verify")[1]


def test_gc_shows_first_and_removes_only_when_told(desk: Desk) -> None:
    for number in range(3):
        path = prompt_file(desk.folder / "p.txt", f"Version {number}")
        desk("register", "greet", str(path), "--kind", "prompt", "--serves", "small")
    assert desk.document("gc")["versions"] == []
    rule = ["--keep-last", "1", "--older-than", "0s"]

    shown = desk.document("gc", *rule)

    assert (shown["is_done"], [one["version"] for one in shown["versions"]]) == (False, [2, 1])
    assert len(desk.document("list")) == 3
    assert desk.document("gc", *rule, "--yes")["is_done"]
    assert [one["version"] for one in desk.document("list")] == [3]
    assert len(list((desk.state_dir / "registry" / "artifacts").rglob("prompt.txt"))) == 1


def test_a_rollout_database_that_is_down_keeps_everything(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prompt_file(desk.folder / "p.txt")
    desk("register", "greet", str(path), "--kind", "prompt", "--serves", "small")
    monkeypatch.setenv("FENZHEN_ROLLOUTS_URI", "postgresql+psycopg://me:sEcret@127.0.0.1:9/x")

    code, out, err = desk("gc", "--keep-last", "0", "--older-than", "0s", "--yes")

    assert (code, out) == (3, "")
    assert "sEcret" not in err
    assert len(desk.document("list")) == 1


def test_a_registry_that_is_down_is_a_sentence_and_exit_code_3(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FENZHEN_TRACKING_URI", "http://me:sEcret@127.0.0.1:9")
    adapter_folder(desk.folder / "a")
    for words in (["list"], ["verify"], ["register", "x", "a", "--kind", "adapter", "--serves", "small"]):
        code, out, err = desk(*words)
        assert (code, out) == (3, "")
        assert "fenzhen: the registry at http://me@127.0.0.1:9 cannot be reached: nothing listens there" in err
        assert "sEcret" not in err


def test_help_does_not_import_mlflow() -> None:
    code = (
        "import sys; from fenzhen.__main__ import fenzhen\n"
        "for name in ('list', 'show', 'register', 'diff', 'verify', 'gc'):\n"
        "    fenzhen.main(['registry', name, '--help'], standalone_mode=False)\n"
        "assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
