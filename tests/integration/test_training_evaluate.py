"""`fenzhen train evaluate` on a run that has ended, with the real tiny model."""

import json
from pathlib import Path

import pytest

from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from tests.fakes.tiny_lm import make_tiny_lm
from tests.fakes.training_runs import finished_run, make_adapter, recipe_of
from training.base_model import token_counter
from training.evaluation_file import read_evaluation
from training.preparing import prepare
from training.run_folder import RunFolder
from training.run_state import read_state

EVALUATION = {"metric": "loss", "max_rows": 4, "max_general_rows": 3, "max_new_tokens": 4, "confidence_ratio": 0.9}


class Office:
    """A run, and the command as a person calls it."""

    def __init__(self, home: Path) -> None:
        self.base = make_tiny_lm(home / "base")
        rows = home / "rows.jsonl"
        rows.write_text(
            "".join(
                json.dumps({"prompt": f"what is {number}?", "answer": f"number {number}", "group": f"g{number % 4}"})
                + "\n"
                for number in range(40)
            )
        )
        recipe = recipe_of(str(self.base), rows, evaluation=EVALUATION, gates=["test_rows >= 5"])
        self.run: RunFolder = finished_run(home / "run", recipe, self.base)
        prepare(recipe, token_counter(self.base), self.run.data)
        self.other = make_adapter(self.base, home / "other", seed=2)

    def evaluate(self, *words: object) -> int:
        arguments = ["train", "evaluate", "--profile", "tiny", *map(str, words)]
        invocation = Invocation()
        return exit_code_of(
            lambda: fenzhen.main(arguments, "fenzhen", standalone_mode=False, obj=invocation), invocation
        )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office(tmp_path_factory.mktemp("office"))


def test_a_run_measured_again_has_the_new_figures_gates_and_page(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert office.evaluate(office.run.path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    after = read_evaluation(office.run.evaluation / "after.json")
    assert document["after"]["loss"]["value"] == after.figures["loss"].value
    assert after.confidence_ratio == 0.9
    assert len(after.answers) == 4
    state = read_state(office.run)
    assert state.results["loss"] == after.figures["loss"].value
    assert [gate.metric for gate in state.gates] == ["test_rows"]  # the invented `before` has no loss to gain on
    assert json.loads((office.run.evaluation / "gates.json").read_text())["is_passed"] is True
    assert "what is" in (office.run.evaluation / "answers.html").read_text(encoding="utf-8")


def test_another_adapter_leaves_the_runs_own_figures_alone(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    own = (office.run.evaluation / "after.json").read_bytes()
    state = read_state(office.run)
    # A base of one's own is measured by itself, so that the gain is the adapter's.
    assert office.evaluate(office.run.path, "--adapter", office.other, "--base", office.base) == 0
    printed = capsys.readouterr().out
    assert "loss, less is better" in printed
    assert (office.run.evaluation / "after.json").read_bytes() == own
    assert read_state(office.run) == state
    before, after = (read_evaluation(office.run.evaluation / "other" / f"{name}.json") for name in ("before", "after"))
    assert before.samples["loss"].rows == after.samples["loss"].rows
    assert before.figures["loss"].value != after.figures["loss"].value
    assert (office.run.evaluation / "other" / "answers.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--adapter", "/nowhere"], "/nowhere has no adapter_config.json"),
        (["--base", "/nowhere"], "/nowhere has no config.json"),
    ],
)
def test_a_folder_that_is_not_there_is_told_at_once(
    office: Office, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert office.evaluate(office.run.path, *words) == 2
    assert said in capsys.readouterr().err


def test_a_run_that_is_not_there_is_told(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    assert office.evaluate("no-such-run") == 2
    assert "there is no run 'no-such-run'" in capsys.readouterr().err
