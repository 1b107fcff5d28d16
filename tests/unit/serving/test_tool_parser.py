import json
import os
import subprocess
import sys
from typing import Any

import pytest

from cluster.settings import Pool
from serving.engine_args import engine_environment

HOURS = '{"name": "opening_hours", "arguments": {"day": "Monday"}}'
CASES: dict[str, dict[str, Any]] = {
    "call": {"deltas": ["Look:\n", HOURS[:9], HOURS[9:], ""], "request": {}},
    "two calls at the end": {"deltas": ["[", HOURS, ",", HOURS + "]"], "request": {}},
    "cut off": {"deltas": ["```", "json\n", HOURS[:-1]], "request": {"max_tokens": 3}},
    "prose": {"deltas": ["We ", "open."], "request": {}},
    "forbidden": {"deltas": [HOURS[:9], HOURS[9:]], "request": {"tool_choice": "none"}},
    "no tools": {"deltas": [HOURS[:9], HOURS[9:]], "request": {"tools": None}},
}


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, Any]]:
    """What vLLM makes of each case."""
    asked = subprocess.run(
        [sys.executable, "-m", "tests.unit.serving.through_vllm"],
        input=json.dumps(list(CASES.values())),
        capture_output=True,
        text=True,
        env=engine_environment(Pool(model="small", memory_bytes=1), "cpu", os.environ),
    )
    assert asked.returncode == 0, asked.stderr
    return dict(zip(CASES, json.loads(asked.stdout), strict=True))


def test_vllm_streams_the_content_then_a_sign_of_life_then_the_call(seen: dict[str, dict[str, Any]]) -> None:
    text, held, message, _ = seen["call"]["streamed"]
    assert text["content"] == "Look:\n"
    assert not any(held.values())
    [call] = message["tool_calls"]
    assert (call["index"], call["type"]) == (0, "function")
    assert call["id"]
    assert call["function"] == {"name": "opening_hours", "arguments": '{"day": "Monday"}'}


def test_vllm_sends_calls_that_end_with_the_stream_once_each(seen: dict[str, dict[str, Any]]) -> None:
    calls = seen["two calls at the end"]["streamed"][-1]["tool_calls"]
    assert [(call["index"], call["function"]["arguments"]) for call in calls] == [
        (0, '{"day": "Monday"}'),
        (1, '{"day": "Monday"}'),
    ]
    assert len({call["id"] for call in calls}) == 2


def test_vllm_sends_what_was_held_with_the_last_delta(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["cut off"]["streamed"][-1]["content"] == "".join(CASES["cut off"]["deltas"])


@pytest.mark.parametrize("case", ["prose", "forbidden", "no tools"])
def test_vllm_passes_text_on_where_no_call_can_be(case: str, seen: dict[str, dict[str, Any]]) -> None:
    deltas = CASES[case]["deltas"]
    assert [message["content"] for message in seen[case]["streamed"]] == deltas
    assert not any("tool_calls" in message for message in seen[case]["streamed"])
    assert (seen[case]["content"], seen[case]["calls"]) == ("".join(deltas), [])


def test_vllm_finds_the_same_in_an_answer_that_is_not_streamed(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["call"]["content"] == "Look:\n"
    assert seen["call"]["calls"] == [["opening_hours", '{"day": "Monday"}']]
    assert seen["cut off"]["calls"] == []
    assert seen["cut off"]["content"] == "".join(CASES["cut off"]["deltas"])
