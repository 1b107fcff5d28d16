"""Unlabelled questions: text or JSON, and each mistake named with its line."""

import gzip
import json
from pathlib import Path

import pytest

from cluster.errors import UserError
from router.learning.questions import MIN_QUESTIONS, read_questions

TEXTS = [f"第{place}题怎么做？" for place in range(MIN_QUESTIONS)]


def test_plain_lines_and_json_are_read_alike(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("\n".join(TEXTS) + "\n\n")
    rows = [{"prompt": TEXTS[0]}, {"question": TEXTS[1]}, {"text": TEXTS[2]}, *TEXTS[3:]]
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert read_questions(plain) == read_questions(packed) == TEXTS


def test_a_question_may_begin_with_a_quotation_mark(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("\n".join(['"To be or not to be" is by whom?', *TEXTS]))
    assert read_questions(path)[0].startswith('"To be')


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": ', "line 2: this is not JSON"),
        ('{"answer": "a"}', "line 2: the question is missing; it stands under prompt, question or text"),
        ('{"prompt": 7}', "line 2: the question must be a text"),
        ('{"prompt": " "}', "line 2: the question must be a text"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([TEXTS[0], line, *TEXTS]))
    with pytest.raises(UserError, match=says):
        read_questions(path)


def test_too_few_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("one\ntwo\n")
    with pytest.raises(UserError, match="2 questions are too few; at least 20"):
        read_questions(path)
