import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from cluster.masking import masked
from training.near_duplicates import THRESHOLD, near_duplicates, plain, shingles
from training.preparing import prepare
from training.recipe_file import read_recipe, shipped_text
from training.rows import Message
from training.shipped_rows import EVERYDAY_ROWS, GENERAL_ROWS, HOTLINE_PREFERENCES, HOTLINE_RECIPE, HOTLINE_ROWS

MATTERS = {
    "公安局": ("户口", "身份证", "交通违章"),
    "人社局": ("养老保险", "拖欠工资", "失业金"),
    "税务局": ("发票", "个税", "契税"),
    "住建局": ("公租房", "物业", "房屋质量"),
    "城管局": ("占道经营", "垃圾清运", "违章搭建"),
    "医保局": ("医保报销", "异地就医", "医保参保"),
    "教育局": ("入学", "转学", "校外培训"),
    "市场监管局": ("食品安全", "营业执照", "消费维权"),
}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers() -> set[str]:
    return {
        json.dumps({"事项": matter, "部门": department}, ensure_ascii=False, separators=(",", ":"))
        for department, matters in MATTERS.items()
        for matter in matters
    }


def one_a_character(messages: Any) -> int:
    return sum(len(message.content) for message in messages)


def test_each_matter_has_as_many_rows_and_an_answer_in_the_one_form() -> None:
    counts = Counter(row["answer"] for row in read(HOTLINE_ROWS))
    assert set(counts) == answers()
    assert set(counts.values()) == {16}


def test_a_case_belongs_to_one_matter_and_has_few_rows() -> None:
    rows = read(HOTLINE_ROWS)
    for row in rows:
        answer = json.loads(row["answer"])
        assert row["group"].startswith(f"{answer['部门']}/{answer['事项']}/")
    assert max(Counter(row["group"] for row in rows).values()) <= 3


def test_questions_are_short_and_none_comes_twice_or_nearly() -> None:
    questions = [row["prompt"] for row in read(HOTLINE_ROWS)] + [row["prompt"] for row in read(HOTLINE_PREFERENCES)]
    assert all(7 <= len(question) <= 40 for question in questions)
    sets = [set(shingles(plain(question)).tolist()) for question in questions]
    alike = [
        (questions[one], questions[other])
        for one, other in combinations(range(len(questions)), 2)
        # Half of what makes two texts near duplicates for a split.
        if len(sets[one] & sets[other]) > THRESHOLD / 2 * len(sets[one] | sets[other])
    ]
    assert alike == []


def test_no_question_begins_like_many_others() -> None:
    beginnings = Counter(row["prompt"][:4] for row in read(HOTLINE_ROWS))
    assert beginnings.most_common(1)[0][1] <= 3


@pytest.mark.parametrize(
    "path", [HOTLINE_ROWS, HOTLINE_PREFERENCES, EVERYDAY_ROWS, GENERAL_ROWS], ids=lambda path: str(path.stem)
)
def test_no_row_holds_what_would_be_masked(path: Path) -> None:
    for row in read(path):
        for text in row.values():
            assert masked(text) == text


def test_the_shipped_recipe_takes_all_rows_and_holds_out_whole_cases(tmp_path: Path) -> None:
    recipe = read_recipe(HOTLINE_RECIPE)
    prepared = prepare(recipe, one_a_character, tmp_path / "data")
    assert dict(prepared.left_out) == {}
    assert len(prepared.train) + len(prepared.test) == 384 + 96
    assert len(prepared.test) >= 70
    assert not {row.group for row in prepared.train} & {row.group for row in prepared.test}
    assert not any(near_duplicates([row.prompt[0].content for row in prepared.train], questions(prepared.test)))
    assert len({row.group.split("/")[0] for row in prepared.test}) == len(MATTERS)
    assert {json.loads(row.answer)["部门"] for row in prepared.train[:-96]} == set(MATTERS)


def questions(rows: Any) -> list[str]:
    return [row.prompt[0].content for row in rows]


def test_the_preferences_can_be_learnt_from(tmp_path: Path) -> None:
    recipe = read_recipe(
        HOTLINE_RECIPE,
        [
            "objective=dpo",
            f"data.rows=[{HOTLINE_PREFERENCES}]",
            "data.remember_rows=[]",
            "data.test_ratio=0.5",
            "evaluation.metric=loss",
        ],
    )
    prepared = prepare(recipe, one_a_character, tmp_path / "data")
    assert len(prepared.preferences) + len(prepared.test_preferences) == 40
    for pair in (*prepared.preferences, *prepared.test_preferences):
        assert pair.chosen in answers()
        assert pair.rejected != pair.chosen


def test_everyday_rows_are_half_english_half_chinese_and_none_is_about_the_hotline() -> None:
    rows = read(GENERAL_ROWS)
    assert Counter(row["group"] for row in rows) == {"english": 30, "chinese": 30}
    assert not any(department in row["prompt"] + row["answer"] for row in rows for department in MATTERS)
    assert len({row["prompt"] for row in rows}) == 60


def test_everyday_rows_to_learn_from_are_short_and_nearly_ask_nothing_that_is_measured() -> None:
    rows = read(EVERYDAY_ROWS)
    is_chinese = [any("一" <= sign <= "鿿" for sign in row["prompt"]) for row in rows]
    assert (len(rows), sum(is_chinese)) == (96, 48)
    for row, chinese in zip(rows, is_chinese, strict=True):
        assert len(row["prompt"] + row["answer"]) < 40 if chinese else len(row["answer"].split()) <= 25
        assert row["group"].startswith("everyday/")
    texts = [plain(row["prompt"]) for row in rows]
    # Well below what makes two texts near duplicates.
    assert not any(near_duplicates(texts, [plain(row["prompt"]) for row in read(GENERAL_ROWS)], THRESHOLD * 0.75))
    assert len(set(texts)) == 96


def test_one_answer_for_all_is_right_so_seldom_that_the_gates_tell_it() -> None:
    rows = read(HOTLINE_ROWS)
    commonest = Counter(row["answer"] for row in rows).most_common(1)[0][1]
    assert commonest / len(rows) < 0.05


def test_the_card_counts_what_is_there() -> None:
    card = (HOTLINE_ROWS.parent / "SHIPPED_ROWS.md").read_text(encoding="utf-8")
    rows = read(HOTLINE_ROWS)
    cases = {row["group"] for row in rows}
    assert f"{len(rows)} rows, {len(cases)} cases" in card
    for department, matters in MATTERS.items():
        assert (
            f"| {department} | {'、'.join(matters)} | {sum(row['group'].startswith(department) for row in rows)} |"
            in card
        )
    assert "CC0-1.0" in card


def test_messages_of_the_rows_are_questions_without_a_system_turn(tmp_path: Path) -> None:
    prepared = prepare(read_recipe(HOTLINE_RECIPE), one_a_character, tmp_path / "data")
    assert all(row.prompt == (Message("user", row.prompt[0].content),) for row in prepared.train)


def test_the_recipe_finds_its_rows_wherever_it_is_written_to(tmp_path: Path) -> None:
    mine = tmp_path / "hotline.yaml"
    mine.write_text(shipped_text("hotline"), encoding="utf-8")
    data = read_recipe(mine).data
    assert [path.resolve() for path in (*data.rows, *data.remember_rows)] == [HOTLINE_ROWS, EVERYDAY_ROWS]
