"""Rows become what a run learns from: split, written whole, and nothing is dropped in silence."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from cluster.errors import UserError
from training.data_findings import BadRows, Finding
from training.data_report import document_of, text_of
from training.data_tokens import estimated_tokens
from training.preparing import SHIPPED_GENERAL_ROWS, check, prepare, read_prepared
from training.recipe import Recipe
from training.rows import Message

PHONE = "13800138000"


def letters(messages: Sequence[Message]) -> int:
    return sum(len(message.content) + 2 for message in messages)


def write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return path


def some_rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    signs = "办理居住证需要哪些材料怎么去派出所迁户口学区医保社会养老年金卡挂失补换水电气暖灯路坏漏修"
    return [
        {
            "prompt": "".join(draw.choices(signs, k=12)) + "？",
            "answer": "".join(draw.choices(signs, k=draw.randrange(4, 30))),
            "group": f"g{number % 10}",
        }
        for number in range(count)
    ]


def recipe_of(path: Path, *more: Path, objective: str = "sft", **data: Any) -> Recipe:
    return Recipe.model_validate(
        {"name": "ours", "base": "tiny", "objective": objective, "data": {"rows": (path, *more), **data}}
    )


def kinds(findings: Sequence[Finding], severity: str) -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.line) for finding in findings if finding.severity == severity]


def test_what_is_written_is_what_is_read_again(tmp_path: Path) -> None:
    rows = [*some_rows(60), {"prompt": "一行\u2028又一行\r\n", "answer": "好\u0085"[:1], "system": "短"}]
    recipe = recipe_of(write(tmp_path / "rows.jsonl", rows), test_ratio=0.3)
    prepared = prepare(recipe, letters, tmp_path / "data")
    assert read_prepared(tmp_path / "data") == prepared
    assert len(prepared.train) + len(prepared.test) == 61
    assert {row.group for row in prepared.train}.isdisjoint(row.group for row in prepared.test if row.group)
    assert len(prepared.general) == len(SHIPPED_GENERAL_ROWS.read_text(encoding="utf-8").splitlines())
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "general.jsonl", "report.json", "report.txt", "test.jsonl", "tokens.png", "train.jsonl",
    ]  # fmt: skip
    assert (tmp_path / "data" / "tokens.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    assert prepared == prepare(recipe, letters, None)


def test_all_forms_of_one_row_are_the_same_row(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]
    other = {"prompt": "其他的问题", "answer": "b"}
    forms: list[dict[str, Any]] = [
        {"messages": chat, "group": None},
        {"prompt": "p", "answer": "a", "system": "s"},
        {"prompt": "p", "completion": "a", "system": "s", "source": "by hand"},
    ]
    digests = set()
    for number, form in enumerate(forms):
        path = write(tmp_path / f"{number}.jsonl", [form, other])
        digests.add(tuple(prepare(recipe_of(path, test_ratio=0.5), letters, None).sha256.items()))
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"messages": [chat, [{"role": "user", "content": "其他的问题"},
                                                      {"role": "assistant", "content": "b"}]]}), path)  # fmt: skip
    digests.add(tuple(prepare(recipe_of(path, test_ratio=0.5), letters, None).sha256.items()))
    parquet.write_table(pa.table({"prompt": ["p", "其他的问题"], "answer": ["a", "b"], "system": ["s", None]}), path)
    digests.add(tuple(prepare(recipe_of(path, test_ratio=0.5), letters, None).sha256.items()))
    assert len(digests) == 1


def test_rows_of_a_whole_chat_keep_their_turns_and_their_place(tmp_path: Path) -> None:
    turns = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user", "assistant")]
    path = write(tmp_path / "rows.jsonl", [{"messages": turns}, {"prompt": "q", "answer": "r"}])
    prepared = prepare(recipe_of(path, test_ratio=0.5), letters, None)
    rows = {row.source: row for row in (*prepared.train, *prepared.test)}
    assert [message.role for message in rows["rows.jsonl:1"].messages] == [turn["role"] for turn in turns]
    assert rows["rows.jsonl:2"].prompt == (Message("user", "q"),)


def test_preferences_are_held_out_with_their_chosen_answer(tmp_path: Path) -> None:
    rows = [{"prompt": f"第{number}个问题", "chosen": "好", "rejected": "坏", "system": "s"} for number in range(10)]
    recipe = recipe_of(write(tmp_path / "rows.jsonl", rows), objective="dpo")
    prepared = prepare(recipe, letters, tmp_path / "data")
    assert not prepared.train
    assert len(prepared.preferences) == 8
    assert [row.answer for row in prepared.test] == ["好", "好"]
    assert [row.source for row in prepared.test] == [row.source for row in prepared.test_preferences]
    assert read_prepared(tmp_path / "data") == prepared


def test_what_is_left_out_is_told_with_its_line_and_reason(tmp_path: Path) -> None:
    rows = some_rows(40)
    rows[3] |= {"prompt": f"我的手机是{PHONE}"}
    rows[5] = {**rows[4], "group": "g9"}
    rows[7]["answer"] = "长" * 200
    recipe = recipe_of(
        write(tmp_path / "rows.jsonl", rows),
        general_rows=write(tmp_path / "general.jsonl", [{"prompt": "一年有几个月？", "answer": "十二个月。"}]),
        max_tokens=64,
        too_long="leave_out",
        personal_data="leave_out",
    )
    report = check(recipe, letters)
    assert kinds(report.findings, "left_out")[:3] == [("personal_data", 4), ("duplicate", 6), ("too_long", 8)]
    prepared = prepare(recipe, letters, tmp_path / "data")
    assert prepared.left_out == {"personal_data": 1, "duplicate": 1, "too_long": 1}
    assert len(prepared.train) + len(prepared.test) == 37
    document = json.loads((tmp_path / "data" / "report.json").read_text(encoding="utf-8"))
    assert {
        "severity": "left_out", "kind": "duplicate", "file": str(tmp_path / "rows.jsonl"), "line": 6,
        "says": f"the same row stands at {tmp_path / 'rows.jsonl'}, line 5",
    } in document["findings"]  # fmt: skip
    assert PHONE not in (tmp_path / "data" / "report.json").read_text(encoding="utf-8")


def test_a_row_may_have_as_many_tokens_as_the_limit(tmp_path: Path) -> None:
    rows = [{"prompt": f"{number}?" + "a" * 10, "answer": "b" * 8} for number in range(5)]
    path = write(tmp_path / "rows.jsonl", rows)
    assert letters([Message("user", rows[0]["prompt"]), Message("assistant", rows[0]["answer"])]) == 24
    assert not check(recipe_of(path, max_tokens=24), letters).errors
    assert len(check(recipe_of(path, max_tokens=23), letters).errors) == 5


def test_personal_data_is_masked_before_anything_is_learnt(tmp_path: Path) -> None:
    rows = some_rows(20)
    rows[3] |= {"prompt": f"请打{PHONE}"}
    rows[4] |= {"answer": f"{PHONE}和a@example.com", "group": "身份证号11010519491231002X"}
    rows[5] |= {"group": "身份证号11010519491231003X"}
    recipe = recipe_of(write(tmp_path / "rows.jsonl", rows), personal_data="mask")
    report = check(recipe, letters)
    assert [str(finding).split(", ", 1)[1] for finding in report.findings if finding.severity == "masked"] == [
        "line 4: personal data was masked: phone",
        "line 5: personal data was masked: email, id, phone",
        "line 6: personal data was masked: id",
    ]
    prepared = prepare(recipe, letters, tmp_path / "data")
    known = {row.source: row for row in (*prepared.train, *prepared.test)}
    assert known["rows.jsonl:4"].prompt[-1].content == "请打[phone]"
    assert known["rows.jsonl:5"].answer == "[phone]和[email]"
    assert known["rows.jsonl:5"].group != known["rows.jsonl:6"].group
    for path in (tmp_path / "data").iterdir():
        assert PHONE.encode() not in path.read_bytes()
        assert b"19491231" not in path.read_bytes()


def test_personal_data_may_be_allowed(tmp_path: Path) -> None:
    rows = [*some_rows(20), {"prompt": "热线电话是多少？", "answer": "010-62345678"}]
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(BadRows, match=r"line 21: it has personal data: phone"):
        prepare(recipe_of(path), letters, None)
    prepared = prepare(recipe_of(path, personal_data="allow"), letters, None)
    assert "010-62345678" in [row.answer for row in (*prepared.train, *prepared.test)]


def test_what_nearly_stands_in_the_held_out_part_is_not_trained_on(tmp_path: Path) -> None:
    rows = some_rows(40)
    held_out = [
        {"prompt": f" {rows[2]['prompt'][:-1]}?", "answer": "另外的答案"},
        {"prompt": "别的事情", "answer": "a"},
    ]
    path, test = write(tmp_path / "rows.jsonl", rows), write(tmp_path / "test.jsonl", held_out)
    report = check(recipe_of(path, test_rows=(test,)), letters)
    (finding,) = report.findings
    assert str(finding) == f"{path}, line 3: its question stands in the held-out part, at {test}, line 1"
    assert (len(report.train), len(report.test)) == (39, 2)


def test_answers_that_contradict_are_a_warning_and_both_are_kept(tmp_path: Path) -> None:
    rows = [*some_rows(20), {"prompt": "怎么办？", "answer": "这样。"}, {"prompt": "怎么办？", "answer": "那样。"}]
    path = write(tmp_path / "rows.jsonl", rows)
    report = check(recipe_of(path), letters)
    (finding,) = report.findings
    assert str(finding) == (
        f"{path}, line 22: the same question has another answer at {path}, line 21; which one is right?"
    )
    assert finding.severity == "warning"
    assert len(report.train) + len(report.test) == 22


def test_a_judgement_the_other_way_round_is_a_warning(tmp_path: Path) -> None:
    rows = [{"prompt": f"第{number}个问题", "chosen": "好", "rejected": "坏"} for number in range(9)]
    path = write(tmp_path / "rows.jsonl", [*rows, {"prompt": "第0个问题", "chosen": "坏", "rejected": "好"}])
    report = check(recipe_of(path, objective="dpo"), letters)
    assert kinds(report.findings, "warning") == [("contradiction", 10)]


def test_a_byte_order_mark_at_the_start_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", some_rows(20))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    report = check(recipe_of(path), letters)
    assert kinds(report.findings, "warning") == [("byte_order_mark", 1)]
    assert not report.errors


def test_an_everyday_question_that_is_trained_on_shows_no_forgetting(tmp_path: Path) -> None:
    everyday = [{"prompt": "一年有几个月？", "answer": "十二个月。"}, {"prompt": "水在几度结冰？", "answer": "零度。"}]
    path = write(tmp_path / "rows.jsonl", [*some_rows(20), everyday[0], {**everyday[0], "answer": "12。"}])
    recipe = recipe_of(path, general_rows=write(tmp_path / "general.jsonl", everyday), test_ratio=0.1)
    report = check(recipe, letters)
    if "一年有几个月" in [item.question for item in report.test]:
        pytest.fail("the seed holds the question out")
    assert kinds(report.findings, "left_out") == [("general_in_training", 1)]
    assert [item.row.source for item in report.general] == ["general.jsonl:2"]


def test_rows_to_remember_are_learnt_from_and_change_nothing_that_is_held_out(tmp_path: Path) -> None:
    path, everyday = write(tmp_path / "rows.jsonl", some_rows(40)), write(tmp_path / "day.jsonl", some_rows(20, seed=2))
    without = prepare(recipe_of(path), letters, None)
    # Groups of its own: those of `some_rows` are also held out.
    write(everyday, [{**row, "group": "everyday"} for row in some_rows(20, seed=2)])
    recipe = recipe_of(path, remember_rows=(everyday,))
    prepared = prepare(recipe, letters, tmp_path / "data")
    assert prepared.test == without.test
    assert prepared.train[: len(without.train)] == without.train
    assert [row.source for row in prepared.train[len(without.train) :]] == [f"day.jsonl:{n}" for n in range(1, 21)]
    assert prepared.sha256["train"] != without.sha256["train"]
    assert {name: prepared.sha256[name] for name in ("test", "general")} == {
        name: without.sha256[name] for name in ("test", "general")
    }
    assert read_prepared(tmp_path / "data") == prepared
    report = check(recipe, letters)
    assert document_of(report)["rows"]["remembered"] == 20
    assert "20 rows of those to learn from are to remember, of day.jsonl." in text_of(report)
    assert "to remember" not in text_of(check(recipe_of(path), letters))


def test_rows_to_remember_pass_the_checks_of_all_rows(tmp_path: Path) -> None:
    rows, far = some_rows(10), some_rows(9, seed=2)
    held_out = [{"prompt": "今天早上我家楼下拐角那里的路灯忽然坏了要找谁来修理呢", "answer": "a", "group": "held out"}]
    general = [{"prompt": "一年从春天到冬天一共有几个月份每个月各有多少天呢？", "answer": "十二个月。"}]
    everyday: list[dict[str, Any]] = [
        {**far[0], "group": ""},
        {**rows[3], "group": ""},
        {"prompt": held_out[0]["prompt"] + "？", "answer": "b"},
        {"prompt": "问一年从春天到冬天一共有几个月份每个月各有多少天呢？", "answer": "12。"},
        {"prompt": "一年从春天到冬天一共有几个月份每个月各有多少天呢?", "answer": "十二。"},
        {"prompt": f"请打{PHONE}", "answer": "b"},
        {"prompt": "长", "answer": "长" * 99},
    ]
    recipe = recipe_of(
        write(tmp_path / "rows.jsonl", rows),
        test_rows=(write(tmp_path / "test.jsonl", held_out),),
        general_rows=write(tmp_path / "general.jsonl", general),
        remember_rows=(write(tmp_path / "day.jsonl", [{k: v for k, v in row.items() if v} for row in everyday]),),
        max_tokens=64,
        too_long="leave_out",
        personal_data="leave_out",
    )
    report = check(recipe, letters)
    assert kinds(report.findings, "left_out") == [
        ("personal_data", 6), ("duplicate", 2), ("too_long", 7), ("near_held_out", 3),
        ("near_general", 4), ("near_general", 5),
    ]  # fmt: skip
    assert str(report.findings[-1]) == (
        f"{tmp_path / 'day.jsonl'}, line 5: its question stands among the everyday questions that are asked, at "
        f"{tmp_path / 'general.jsonl'}, line 1"
    )
    assert [item.row.source for item in report.remembered] == ["day.jsonl:1"]
    assert len(report.general) == 1
    assert "2 nearly among the everyday questions" in text_of(report)
    strict = recipe.model_copy(update={"data": recipe.data.model_copy(update={"duplicates": "refuse"})})
    assert ("near_general", 5) in kinds(check(strict, letters).errors, "error")


def test_a_row_to_remember_shares_no_group_with_the_held_out_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", some_rows(40))
    group = prepare(recipe_of(path), letters, None).test[0].group
    everyday = write(tmp_path / "day.jsonl", [{"prompt": "水在几度结冰？", "answer": "零度。", "group": group}])
    report = check(recipe_of(path, remember_rows=(everyday,)), letters)
    assert [finding.kind for finding in report.errors] == ["shared_group"]
    assert f"at {everyday}, line 1" in report.errors[0].says


def test_what_is_remembered_is_neither_asked_nor_learnt_twice(tmp_path: Path) -> None:
    path, other = write(tmp_path / "rows.jsonl", some_rows(40)), write(tmp_path / "day.jsonl", some_rows(9, seed=2))
    with pytest.raises(
        UserError, match=r"in data\.remember_rows and in data\.general_rows; what is learnt says nothing"
    ):
        check(recipe_of(path, remember_rows=(other,), general_rows=other), letters)
    with pytest.raises(UserError, match=r"rows\.jsonl is named twice; name each file of rows once"):
        check(recipe_of(path, remember_rows=(tmp_path / ".." / tmp_path.name / "rows.jsonl",)), letters)


def test_our_own_everyday_questions_never_stop_a_run(tmp_path: Path) -> None:
    recipe = recipe_of(write(tmp_path / "rows.jsonl", some_rows(30)), max_tokens=50)
    report = check(recipe, letters)
    assert not report.errors
    assert 0 < report.left_out["general_too_long"] < report.files[1].rows


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("xyz"), st.sampled_from(["", "g", "h"]))))
def test_each_row_that_was_read_is_learnt_held_out_or_reported(
    tmp_path: Path, drawn: list[tuple[str, str, str]]
) -> None:
    rows = [{"prompt": a * 9, "answer": b, **({"group": group} if group else {})} for a, b, group in drawn]
    report = check(recipe_of(write(tmp_path / "rows.jsonl", [*some_rows(9), *rows])), letters)
    places = [item.line for item in (*report.train, *report.test)]
    left_out = [line for kind, line in kinds(report.findings, "left_out") if not kind.startswith("general_")]
    assert Counter([*places, *left_out]) == Counter(range(1, len(rows) + 10))


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        write(tmp_path / name / "rows.jsonl", some_rows(20, seed=ord(name)))
    paths = tmp_path / "a" / "rows.jsonl", tmp_path / "b" / "rows.jsonl"
    prepared = prepare(recipe_of(*paths), letters, None)
    sources = [row.source for row in (*prepared.train, *prepared.test)]
    assert len(set(sources)) == 40
    assert f"{paths[1]}:7" in sources


def test_rows_that_were_changed_afterwards_are_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepare(recipe_of(write(tmp_path / "rows.jsonl", some_rows(20))), letters, data)
    train = data / "train.jsonl"
    whole = train.read_text(encoding="utf-8")
    for content, says in (
        (whole.replace('"role": "user"', '"role": "system"', 1), "was changed after the run began"),
        (whole[:-20], "is not as it was written"),
    ):
        train.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=says):
            read_prepared(data)
    train.unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_prepared(data)


def test_a_folder_half_written_is_no_prepared_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    prepare(recipe_of(write(tmp_path / "rows.jsonl", some_rows(20))), letters, data)
    # What stands at the place of a file that is yet to be written makes writing fail on the way.
    (data / "general.jsonl").unlink()
    (data / "general.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        prepare(recipe_of(write(tmp_path / "rows.jsonl", some_rows(30))), letters, data)
    with pytest.raises(UserError, match=r"report\.json cannot be read"):
        read_prepared(data)


def test_a_report_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"ours": 1}')
    with pytest.raises(UserError, match=r"report\.json is a file of something else; name another folder"):
        prepare(recipe_of(write(tmp_path / "rows.jsonl", some_rows(20))), letters, tmp_path)
    assert (tmp_path / "report.json").read_text() == '{"ours": 1}'


def test_the_report_counts_tokens_groups_and_files(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", some_rows(40))
    report = check(recipe_of(path), letters, "counted by hand")
    document = document_of(report)
    general = len(report.general)
    assert document["rows"] == {"read": 40 + general, "train": 32, "remembered": 0, "test": 8, "general": general}
    assert document["files"][0]["rows"] == 40
    tokens = document["tokens"]["train"]
    assert tokens["prompt"] == {"p50": 15, "p95": 15, "max": 15}
    assert tokens["total"] == sum(letters(item.row.messages) for item in report.train if hasattr(item.row, "messages"))
    assert sum(sides["test"] for sides in document["groups"].values()) == 8
    text = text_of(report)
    assert "Tokens are counted by hand. A row may have 1,024." in text
    assert text.endswith("These rows can be trained on.")
    assert all(len(line) <= 80 for line in text.splitlines() if str(tmp_path) not in line)


def test_the_estimate_counts_chinese_by_the_character_and_the_rest_by_four() -> None:
    assert estimated_tokens([Message("user", "你好"), Message("assistant", "abcdefgh")]) == 20 + (5 + 2) + (5 + 2)
