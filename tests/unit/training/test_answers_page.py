"""The page for those who decide."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.fakes.evaluations import evaluation_of, recipe_of, row_of
from training.answers_page import answer_cards, marked, page_of, write_page
from training.gates import judged
from training.prepared import Prepared

EVIL = "</div><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }}"
PREPARED = Prepared(
    test=(
        row_of(0, "去派出所办理", "police"),
        row_of(1, "去医保窗口", EVIL),
        row_of(2, EVIL, "police"),
        row_of(3, "same", "police"),
    ),
    general=(row_of(4, "Beijing"),),
)
BEFORE = ["不知道", "去医保窗口", "", "same"]
AFTER = ["去派出所办理", EVIL, EVIL + "!", "same"]


class Tags(HTMLParser):
    """All tags of a page, and whether each is closed in turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    recipe = recipe_of(max_rows=4)
    before, after = evaluation_of(recipe, PREPARED, BEFORE), evaluation_of(recipe, PREPARED, AFTER)
    return page_of(recipe, PREPARED, before, after, judged(recipe, before, after))


def test_nothing_that_was_said_becomes_a_part_of_the_page(page: str) -> None:
    found = Tags(page)
    assert found.open == []
    assert not found.tags & {"script", "img", "iframe", "link", "object", "a"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "alert(1)" in page
    assert "{{ 7*7 }}" in page


def test_the_page_needs_nothing_from_elsewhere_and_forbids_scripts(page: str) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(
        r"(?:src|href)=|url\(|@import|https?://", page.replace("<img src=x", "").replace("&lt;img src=x", "")
    )


def test_the_page_says_figures_gates_and_groups(page: str) -> None:
    for words in (
        "exact_match",
        "完全一致",
        "exact_match_gain_ci_low &gt; 0",
        "未达到上线试用要求",
        "police",
        "Beijing",
    ):
        assert words in page


def test_what_became_worse_stands_first_then_what_became_better() -> None:
    recipe = recipe_of()
    cards = answer_cards(
        "f1", PREPARED, evaluation_of(recipe, PREPARED, BEFORE), evaluation_of(recipe, PREPARED, AFTER)
    )
    assert [(card.change, card.row.source) for card in cards] == [
        ("worse", "rows.jsonl:2"), ("better", "rows.jsonl:1"), ("better", "rows.jsonl:3"), ("same", "rows.jsonl:4"),
    ]  # fmt: skip
    assert [card.after_matches for card in cards] == [False, True, False, True]


def test_what_the_reference_does_not_say_is_marked() -> None:
    assert marked("去派出所办理", "去派出所申请") == (("去派出所", True), ("办理", False))
    assert marked("请去ＡＢＣ。", "去abc") == (("请", False), ("去ＡＢＣ。", True))
    assert marked("", "x") == ()
    assert marked("！", "x") == (("！", False),)
    assert marked("y" * 5000, "x") == (("y" * 5000, True),)


def test_pieces_together_are_the_whole_answer() -> None:
    for answer in (EVIL, " a  b ", "\n办理。\n", "12:30 去"):
        assert "".join(text for text, _ in marked(answer, "去 b 办")) == answer


def test_a_page_of_nothing_measured_is_still_a_page(tmp_path: Path) -> None:
    recipe = recipe_of()
    empty = evaluation_of(recipe, Prepared(), [])
    write_page(tmp_path / "evaluation" / "answers.html", recipe, Prepared(), empty, empty, ())
    assert Tags((tmp_path / "evaluation" / "answers.html").read_text(encoding="utf-8")).open == []


def test_thousands_of_rows_are_cut_and_said_to_be() -> None:
    prepared = Prepared(test=tuple(row_of(number, "a") for number in range(510)))
    recipe = recipe_of()
    found = evaluation_of(recipe, prepared, ["a"] * 510)
    page = page_of(recipe, prepared, found, found, ())
    assert page.count("<article") == 500
    assert "10 more rows are not shown" in page
