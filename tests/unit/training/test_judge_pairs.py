"""A model as the judge, without a model."""

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cluster.errors import Unavailable, UserError
from tests.fakes.evaluations import evaluation_of, recipe_of, row_of
from tests.unit.training.test_evaluating import Notes
from training.evaluation import JUDGED, gain_of
from training.judge_pairs import win_sample, with_judge
from training.prepared import Prepared

PREPARED = Prepared(test=tuple(row_of(number, f"reference {number}", "g") for number in range(4)))
RECIPE = recipe_of(judge_model="large")
BEFORE = evaluation_of(RECIPE, PREPARED, ["old"] * 4)
AFTER = evaluation_of(RECIPE, PREPARED, ["new", "new", "new", "old"])


def _judge(verdict: Callable[[str], str]) -> tuple[httpx.MockTransport, list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []
    lock = threading.Lock()

    def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        with lock:
            asked.append(body)
        return httpx.Response(
            200, json={"choices": [{"message": {"content": verdict(body["messages"][1]["content"])}}]}
        )

    return httpx.MockTransport(handle), asked


def _new_letter(material: str) -> str:
    return "A" if "<answer_a>\nnew" in material else "B"


@pytest.mark.parametrize(
    ("verdict", "points"),
    [
        (_new_letter, 1.0),
        (lambda material: "AB".replace(_new_letter(material), ""), 0.0),
        # It likes the first place: it contradicts itself.
        (lambda _: "A", 0.5),
        (lambda _: "**C**", 0.5),
        (lambda _: "<think>B? No.</think> answer A", 0.5),
    ],
)
def test_each_pair_is_judged_in_both_orders(verdict: Callable[[str], str], points: float) -> None:
    transport, asked = _judge(verdict)
    sample, unjudged = win_sample("large", PREPARED, BEFORE, AFTER, "http://router", transport=transport)
    # Where both said the same, nobody is asked.
    assert sample.values == (points, points, points, 0.5)
    assert unjudged == 0
    assert len(asked) == 6
    assert {body["model"] for body in asked} == {"large"}


def test_rows_without_a_letter_are_counted_and_left_out() -> None:
    transport, _ = _judge(lambda material: "I like both" if "question 1" in material else "C")
    sample, unjudged = win_sample("large", PREPARED, BEFORE, AFTER, "http://router", transport=transport)
    assert (sample.rows, unjudged) == ((0, 2, 3), 1)


def test_an_engine_that_is_away_for_a_moment_is_asked_again() -> None:
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(1)
        if len(seen) <= 2:
            return httpx.Response(503)
        return httpx.Response(200, json={"choices": [{"message": {"content": "C"}}]})

    slept: list[float] = []
    sample, _ = win_sample(
        "large", PREPARED, BEFORE, AFTER, "http://r", transport=httpx.MockTransport(handle), sleep=slept.append
    )
    assert set(sample.values) == {0.5}
    assert len(slept) == 2


def _slow(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow", request=request)


def _away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("handle", "error", "words"),
    [
        (_slow, Unavailable, "large at http://r.* does not answer: it takes longer than the time-out"),
        (_away, Unavailable, r"the connection broke \(ConnectError\); is the stack up"),
        (lambda _: httpx.Response(503), Unavailable, "status 503"),
        (lambda _: httpx.Response(404, text="reference 1"), UserError, "'large' was refused with status 404"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_told_in_a_sentence(
    handle: Callable[[httpx.Request], httpx.Response], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        win_sample(
            "large", PREPARED, BEFORE, AFTER, "http://r", transport=httpx.MockTransport(handle), sleep=lambda _: None
        )
    assert "reference" not in str(caught.value)


def test_a_judge_that_is_away_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.judge_pairs._PAUSES_S", (0.01,))
    notes = Notes()
    assert with_judge(RECIPE, PREPARED, BEFORE, AFTER, "http://127.0.0.1:9", notes) is AFTER
    assert notes.lines[0].startswith("judge_win_ratio was not measured: the judge model large at http://127.0.0.1:9")


def test_the_figure_stands_with_the_others_and_for_each_group() -> None:
    transport, _ = _judge(_new_letter)
    found = with_judge(RECIPE, PREPARED, BEFORE, AFTER, "http://router", Notes(), transport=transport)
    assert found.figures[JUDGED].value == 0.875
    assert found.groups["g"][JUDGED].rows == 4
    gain = gain_of(JUDGED, BEFORE, found)
    assert gain is not None
    assert gain.value == 0.375


def test_without_a_judge_nobody_is_asked() -> None:
    assert with_judge(recipe_of(), PREPARED, BEFORE, AFTER, "http://127.0.0.1:9", Notes()) is AFTER
