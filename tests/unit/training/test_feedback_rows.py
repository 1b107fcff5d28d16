"""Which opinions become rows, and why others do not."""

import json
from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.feedback_settings import Feedback, Grade
from registry.feedback_store import Judged, Opinion
from training.feedback_rows import CONTRADICTED, REPEATED, FeedbackRows, Wanted, rows_of, write_rows
from training.rows import Row
from training.rows_lines import Record, read_lines
from training.rows_shape import row_of

Turns = tuple[tuple[str, str], ...]
ASKED: Turns = (("system", "你是热线。"), ("user", "怎么办证？"))


def judged(
    opinion: Opinion,
    answer: str = "去窗口。",
    messages: Turns = ASKED,
    *,
    grade: Grade = "internal",
    group: str = "",
    model: str = "hotline",
    is_whole: bool = True,
) -> Judged:
    return Judged(1.0, model, 3, grade, group, messages, answer, is_whole, opinion)


def made(*opinions: Judged, **wanted: object) -> FeedbackRows:
    values: dict[str, object] = {"feedback": Feedback(keep_ratio=1)}
    return rows_of(opinions, Wanted(**values | wanted))  # type: ignore[arg-type]


def question(text: str) -> Turns:
    return (("user", text),)


def test_a_corrected_answer_becomes_the_answer_and_one_rated_low_is_rejected() -> None:
    found = made(judged(Opinion(1, True, "去三楼。"), group="district-3"))
    (row,), (pair,) = found.rows, found.preferences
    assert [(turn.role, turn.content) for turn in row.messages] == [*ASKED, ("assistant", "去三楼。")]
    assert row.group == pair.group == "district-3"
    assert (pair.chosen, pair.rejected) == ("去三楼。", "去窗口。")
    assert found.left_out == {}


@pytest.mark.parametrize("rating", [None, 3, 5])
def test_a_correction_that_does_not_condemn_the_answer_is_no_preference(rating: int | None) -> None:
    found = made(judged(Opinion(rating, True, "去三楼。")))
    assert ([row.answer for row in found.rows], found.preferences) == (["去三楼。"], ())


def test_an_answer_that_was_rated_well_is_learnt_as_it_was_given() -> None:
    assert [row.answer for row in made(judged(Opinion(5, True))).rows] == ["去窗口。"]
    assert made(judged(Opinion(4, True))).rows == ()
    assert len(made(judged(Opinion(4, True)), min_rating=4).rows) == 1


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (judged(Opinion(5, False)), "no consent"),
        (judged(Opinion(5, True), grade="confidential"), "graded confidential"),
        (judged(Opinion(5, True), model="other"), "of another name"),
        (judged(Opinion(1, True)), "rated below 5, and nobody wrote a better answer"),
        (judged(Opinion(None, True, "去窗口。")), "neither rated nor corrected"),
        (judged(Opinion(5, True), is_whole=False), "rated well, but cut off by its longest length"),
        (judged(Opinion(5, True), messages=(("user", "a"), ("user", "b"))), "no row that can be learnt (order)"),
        (judged(Opinion(5, True), answer="a\x07"), "no row that can be learnt (control)"),
    ],
)
def test_what_is_left_out_is_counted_by_its_reason(one: Judged, reason: str) -> None:
    found = made(one, judged(Opinion(5, True), messages=question("another")), name="hotline")
    assert len(found.rows) == 1
    assert found.left_out == {reason: 1}


def test_a_cut_off_answer_can_be_corrected_but_is_rejected_for_nobody() -> None:
    found = made(judged(Opinion(1, True, "去三楼。"), is_whole=False))
    assert (len(found.rows), found.preferences) == (1, ())


@pytest.mark.parametrize(
    "opinions",
    [
        (Opinion(5, True), Opinion(1, True)),
        (Opinion(5, True), Opinion(1, True, "去三楼。")),
        (Opinion(1, True, "去三楼。"), Opinion(1, True, "去四楼。")),
    ],
)
def test_of_people_who_contradict_each_other_nobody_is_chosen(opinions: tuple[Opinion, ...]) -> None:
    found = made(*(judged(opinion) for opinion in opinions), judged(Opinion(5, True), messages=question("another")))
    assert [row.prompt[0].content for row in found.rows] == ["another"]
    assert found.preferences == ()
    assert found.left_out == {CONTRADICTED: 2}
    (conflict,) = found.conflicts
    assert conflict.prompt == ASKED


def test_two_good_answers_are_no_contradiction_and_the_same_one_is_a_row_once() -> None:
    both = made(judged(Opinion(5, True)), judged(Opinion(5, True), answer="三楼。"), judged(Opinion(5, True)))
    assert len(both.rows) == 2
    assert both.left_out == {REPEATED: 1}
    once = made(
        judged(Opinion(1, True, "c"), "a"), judged(Opinion(1, True, "c"), "b"), judged(Opinion(1, True, "c"), "b")
    )
    assert len(once.rows) == 1
    assert {pair.rejected for pair in once.preferences} == {"a", "b"}
    assert len(once.preferences) == 2


def test_what_is_known_of_personal_data_today_is_masked_though_it_was_stored() -> None:
    found = made(judged(Opinion(1, True, "打13900139000！"), "打13800138000", question("我的电话13700137000")))
    assert (found.rows[0].prompt[0].content, found.rows[0].answer) == ("我的电话[phone]", "打[phone]！")


def test_files_are_read_back_as_rows_and_what_is_empty_is_not_written(tmp_path: Path) -> None:
    rows, pairs, conflicts = (tmp_path / "new" / f"{name}.jsonl" for name in ("rows", "pairs", "conflicts"))
    write_rows(made(judged(Opinion(1, True, "去三楼。"), group="g")), rows, pairs, conflicts)
    assert json.loads(rows.read_text("utf-8")) == {
        "messages": [
            {"role": "system", "content": "你是热线。"},
            {"role": "user", "content": "怎么办证？"},
            {"role": "assistant", "content": "去三楼。"},
        ],
        "group": "g",
    }
    assert json.loads(pairs.read_text("utf-8")).keys() == {"messages", "chosen", "rejected", "group"}
    assert not conflicts.exists()
    assert {path.name for path in rows.parent.iterdir()} == {"rows.jsonl", "pairs.jsonl"}
    with pytest.raises(UserError, match="cannot be written"):
        write_rows(made(judged(Opinion(5, True))), rows / "below")


def test_rows_of_feedback_pass_the_check_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(made(judged(Opinion(5, True)), judged(Opinion(1, True, "c"), messages=question("b"))), path)
    records = [record for record in read_lines(path) if isinstance(record, Record)]
    found = [row_of(record, path, path.name, "sft") for record in records]
    assert [isinstance(row, Row) for row in found] == [True, True]
