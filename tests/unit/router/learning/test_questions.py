"""Questions: text or JSON, and each mistake in a file is answered with one sentence that names the line to mend."""

import gzip
import json
from pathlib import Path

import pytest

from cluster.errors import UserError
from router.learning.questions import MIN_QUESTIONS, Question, read_questions

TEXTS = [f"第{place}题怎么做？" for place in range(MIN_QUESTIONS)]


def test_plain_lines_and_json_are_read_alike(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("\n".join(TEXTS) + "\n\n")
    rows = [{"prompt": TEXTS[0]}, {"question": TEXTS[1]}, {"text": TEXTS[2]}, *TEXTS[3:]]
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert read_questions(plain) == read_questions(packed) == [Question(text) for text in TEXTS]


def test_a_question_may_begin_with_a_quotation_mark(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("\n".join(['"To be or not to be" is by whom?', *TEXTS]))
    assert read_questions(path)[0].prompt.startswith('"To be')


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
        read_questions(path, at_least=MIN_QUESTIONS)


def test_a_text_file_has_a_question_a_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_bytes("\ufeff北京在哪里？\r\n\r\n  What is 2 + 2?  \n".encode())
    assert read_questions(path) == [Question("北京在哪里？"), Question("What is 2 + 2?")]


def test_json_lines_may_name_reference_and_kind(tmp_path: Path) -> None:
    rows = [{"prompt": "2 + 2?\nShow steps.", "reference": 4, "kind": "sum"}, {"prompt": "Hi", "more": [1]}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    plain, packed = tmp_path / "a.txt", tmp_path / "a.jsonl.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    expected = [Question("2 + 2?\nShow steps.", "4", "sum"), Question("Hi")]
    assert read_questions(plain) == read_questions(packed) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; it should hold one question a line"),
        (b" \n\n", "is empty"),
        (b"good\nb\xffd\n", "line 2: this is not UTF-8"),
        (b'{"prompt": "a", "reference": ["b"]}\n', r"line 1: reference must be a text, got \['b'\]"),
        (b'{"prompt": "a"}\n{"prompt"\n', "line 2: this is not JSON"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "questions"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_questions(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_questions(tmp_path / "away")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_questions(tmp_path)
