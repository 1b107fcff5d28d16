"""`fenzhen train check`: a report, and an exit code that a script can ask."""

import json
from pathlib import Path

import pytest

from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from tests.fakes.tiny_lm import make_tiny_lm
from training.preparing import SHIPPED_GENERAL_ROWS

QUESTIONS = ("居住证怎么办？", "公积金怎么取？", "路灯坏了找谁？", "医保卡丢了怎么办？", "孩子上学怎么报名？")
RECIPE = """
name: ours
base: {base}
data:
  rows: [rows.jsonl]
  test_ratio: 0.4
  max_tokens: {max_tokens}
"""


class Caller:
    """`fenzhen train check` as a person calls it in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.rows = folder / "rows.jsonl"
        self.write(*({"prompt": question, "answer": "到窗口办。"} for question in QUESTIONS))
        self._capsys = capsys
        self.out = self.err = ""

    def write(self, *rows: object) -> None:
        self.rows.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")

    def check(self, *words: object) -> int:
        arguments = ["train", "check", *map(str, words)]
        invocation = Invocation()
        code = exit_code_of(
            lambda: fenzhen.main(arguments, "fenzhen", standalone_mode=False, obj=invocation), invocation
        )
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def caller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(tmp_path, capsys)


def test_good_rows_are_reported_and_the_exit_code_is_0(caller: Caller) -> None:
    assert caller.check(caller.rows) == 0
    assert "held out" in caller.out
    assert "Tokens are estimated" in caller.out
    assert caller.out.endswith("These rows can be trained on.\n")
    assert sorted(caller.folder.iterdir()) == [caller.rows]


def test_rows_to_mend_make_it_1_and_each_is_told_at_once(caller: Caller) -> None:
    caller.write(
        *({"prompt": question, "answer": "到窗口办。"} for question in QUESTIONS),
        {"prompt": "a"}, {"prompt": "电话13800138000", "answer": "b"}, {"prompt": "长" * 2000, "answer": "c"},
    )  # fmt: skip
    assert caller.check(caller.rows, "--json") == 1
    document = json.loads(caller.out)
    assert [(one["kind"], one["line"]) for one in document["findings"] if one["severity"] == "error"] == [
        ("missing", 6), ("personal_data", 7), ("too_long", 8),
    ]  # fmt: skip
    assert document["errors"] == 3
    assert "13800138000" not in caller.out + caller.err
    assert caller.check(caller.rows) == 1
    assert "These rows cannot be trained on: 3 things to mend." in caller.out


def test_preferences_are_known_by_their_keys(caller: Caller) -> None:
    caller.write(*({"prompt": question, "chosen": "好的", "rejected": "不"} for question in QUESTIONS))
    assert caller.check(caller.rows, "--json") == 0
    assert json.loads(caller.out)["objective"] == "dpo"


def test_the_report_and_the_histograms_are_written_but_no_rows(caller: Caller) -> None:
    report = caller.folder / "report"
    assert caller.check(caller.rows, "--output", report) == 0
    assert sorted(path.name for path in report.iterdir()) == ["report.json", "report.txt", "tokens.png"]
    assert json.loads((report / "report.json").read_text(encoding="utf-8"))["files"][0]["path"] == str(caller.rows)


def test_a_report_into_the_folder_of_the_rows_leaves_them_alone(caller: Caller) -> None:
    train = caller.rows.rename(caller.folder / "train.jsonl")
    content = train.read_bytes()
    assert caller.check(train, "--output", caller.folder) == 0
    assert train.read_bytes() == content


def test_a_recipe_says_which_rows_and_which_limits(caller: Caller) -> None:
    base = make_tiny_lm(caller.folder / "tiny")
    recipe = caller.folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(base=base, max_tokens=1024))
    assert caller.check("--recipe", recipe, "--json") == 0
    document = json.loads(caller.out)
    assert document["rows"]["test"] == 2
    assert document["tokens_by"] == "counted by the base's tokenizer, template included"
    # The tiny model counts bytes: three for a Chinese character.
    assert document["tokens"]["train"]["prompt"]["max"] > 3 * len(QUESTIONS[0])
    recipe.write_text(RECIPE.format(base=base, max_tokens=60))
    assert caller.check("--recipe", recipe) == 1
    assert "data.max_tokens is 60; shorten it" in " ".join(caller.out.split())


def test_a_base_counts_without_a_recipe(caller: Caller) -> None:
    base = make_tiny_lm(caller.folder / "tiny")
    assert caller.check(caller.rows, "--base", base) == 0
    assert "Tokens are counted by the base's tokenizer" in caller.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "fenzhen: give files of rows, or --recipe"),
        (["nowhere.jsonl"], "fenzhen: nowhere.jsonl cannot be read: No such file or directory"),
        ([SHIPPED_GENERAL_ROWS.parent], "is a folder; name the files of rows in it"),
        ([SHIPPED_GENERAL_ROWS, "--base", "./no-model"], "no-model"),
    ],
)
def test_what_cannot_be_checked_is_told_with_exit_code_2(caller: Caller, words: list[object], says: str) -> None:
    assert caller.check(*words) == 2
    assert says in caller.err
    assert caller.out == ""
