"""Requests over a real connection: what is sent, what is timed, and what becomes of a server's misdeeds."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from cluster.errors import UserError
from loadtests.asking.exchange import Asker
from loadtests.records.sample import ERRORS, Sample
from loadtests.workload.answer import Answer, ToolCall
from loadtests.workload.turn import Turn
from tests.fakes.scripted_answers import ScriptedAnswers
from tests.fakes.scripted_engine import CLOSE, RESET, Step

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    b"x-fenzhen-model: small\r\nx-fenzhen-reason: easy, 0.12\r\n\r\n"
)
LAST = b"0\r\n\r\n"
BODY = '{"model":"auto","messages":[{"role":"user","content":"肝炎是什么？"}],"stream":true}'.encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(**fields: Any) -> bytes:
    return chunk(b"data: " + json.dumps({"model": "engine-name", **fields}).encode() + b"\n\n")


def said(text: str, finish: str | None = None, **more: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}])


def usage(prompt: int, completion: int) -> bytes:
    return event(choices=[], usage={"prompt_tokens": prompt, "completion_tokens": completion})


DONE = chunk(b"data: [DONE]\n\n") + LAST
ANSWER: list[Step] = [STREAM_HEAD, said("12"), said("", "stop"), usage(9, 2), DONE]


def whole(document: object, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), more, body)


def turn(
    is_streamed: bool = True,
    headers: tuple[tuple[str, str], ...] = (("x-fenzhen-level", "red"),),
    is_right: Callable[[str], bool] | None = None,
    body: bytes = BODY,
) -> Turn:
    return Turn(
        kind="stream" if is_streamed else "chat",
        turn=1,
        person=7,
        question="sum-zh",
        language="zh",
        difficulty="easy",
        tenant="hotline",
        level="red",
        asked="auto",
        body=body,
        headers=headers,
        is_streamed=is_streamed,
        is_right=is_right,
    )


@contextmanager
def asking(url: str, timeout_s: float = 30.0) -> Iterator[Asker]:
    asker = Asker(url, timeout_s, worker=3)
    try:
        yield asker
    finally:
        asker.close()


def asked(asker: Asker, one: Turn | None = None) -> tuple[Sample, Answer]:
    return asker.ask(one or turn(), 2, None, time.perf_counter())


def outcome(*steps: Step, is_streamed: bool = True, timeout_s: float = 30.0) -> Sample:
    """What becomes of one request that is answered so."""
    with ScriptedAnswers(lambda _, __: list(steps)) as server, asking(server.url, timeout_s) as asker:
        sample, answer = asked(asker, turn(is_streamed))
        assert answer.error == sample.error
        assert not sample.error or (answer == Answer(error=sample.error) and not asker.gaps)
        assert sample.error in ERRORS or sample.error.startswith("http_") or not sample.error
        return sample


# ---- a request ------------------------------------------------------------------------------------------------------


def test_a_request_is_sent_as_it_was_made() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url + "/gate/v1") as asker:
        asked(asker, turn(headers=(("authorization", "Bearer k"), ("x-fenzhen-level", "red"))))
    ((request,),) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/gate/v1/chat/completions", BODY)
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "fenzhen-loadtest",
        "content-type": "application/json",
        "authorization": "Bearer k",
        "x-fenzhen-level": "red",
        "content-length": str(len(BODY)),
    }


def test_a_large_request_arrives_whole() -> None:
    body = b'{"pad":"' + b"x" * 8_000_000 + b'"}'
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as asker:
        assert asked(asker, turn(body=body))[0].error == ""
    assert server.requests[0][0].body == body


def test_a_sample_tells_of_its_turn_and_of_its_answer() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as asker:
        sample, answer = asker.ask(turn(), 2, 0.25, time.perf_counter() - 1.0)
    assert answer == Answer("12")
    assert sample[2:14] == (2, 3, "stream", 1, 7, "sum-zh", "zh", "easy", "hotline", "red", "auto", "small")
    assert (sample.reason, sample.status, sample.error, sample.finish) == ("easy, 0.12", 200, "", "stop")
    assert (sample.prompt_tokens, sample.completion_tokens, sample.cached_tokens) == (9, 2, None)


def test_lag_is_what_the_generator_was_late() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as asker:
        late, _ = asker.ask(turn(), 0, 0.25, time.perf_counter() - 1.0)
        early, _ = asker.ask(turn(), 0, 5.0, time.perf_counter() - 1.0)
        closed, _ = asker.ask(turn(), 0, None, time.perf_counter() - 1.0)
    assert late.at_s == 0.25
    assert 0.75 <= late.lag_s < 20
    assert (early.at_s, early.lag_s) == (5.0, 0.0)
    assert 1.0 <= closed.at_s < 20
    assert closed.lag_s == 0.0


def test_without_the_routers_word_the_answers_own_name_counts() -> None:
    sample = outcome(STREAM_HEAD.replace(b"x-fenzhen-model: small\r\n", b""), *ANSWER[1:])
    assert sample.answered_by == "engine-name"


@pytest.mark.parametrize(("text", "is_right"), [("12", True), ("13", False)])
def test_a_labelled_question_is_marked(text: str, is_right: bool) -> None:
    with ScriptedAnswers(lambda _, __: [STREAM_HEAD, said(text, "stop"), DONE]) as server, asking(server.url) as asker:
        assert asked(asker, turn(is_right="12".__eq__))[0].is_right is is_right


def test_an_answer_that_failed_is_not_marked() -> None:
    with ScriptedAnswers(lambda _, __: [STREAM_HEAD, said("12"), RESET]) as server, asking(server.url) as asker:
        assert asked(asker, turn(is_right="12".__eq__))[0].is_right is None


def test_tool_calls_come_back_whole() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "find", "arguments": '{"ward":'}}
    rest = {"index": 0, "function": {"arguments": "3}"}}
    steps: list[Step] = [
        STREAM_HEAD,
        event(choices=[{"delta": {"tool_calls": [call]}}]),
        event(choices=[{"delta": {"tool_calls": [rest]}}]),
        event(choices=[{"delta": {}, "finish_reason": "tool_calls"}]),
        DONE,
    ]
    with ScriptedAnswers(lambda _, __: steps) as server, asking(server.url) as asker:
        sample, answer = asked(asker)
    assert answer == Answer(tool_calls=(ToolCall("a", "find", '{"ward":3}'),))
    assert (sample.tool_calls, sample.finish, sample.error) == (1, "tool_calls", "")


# ---- times ----------------------------------------------------------------------------------------------------------


def test_the_first_token_is_waited_for_and_not_the_role() -> None:
    sample = outcome(STREAM_HEAD, said("", role="assistant"), 0.3, said("a"), 0.2, said("b", "stop"), usage(9, 3), DONE)
    assert sample.ttft_s is not None
    assert sample.e2e_s is not None
    assert sample.ttft_s >= 0.29
    assert sample.e2e_s >= 0.49


def test_time_per_token_is_by_the_servers_count_and_until_the_last_token() -> None:
    sample = outcome(STREAM_HEAD, said("a"), 0.1, said("b c", "stop"), 0.3, usage(9, 5), DONE)
    assert sample.tpot_s is not None
    assert sample.max_itl_s is not None
    assert sample.tpot_s == pytest.approx(sample.max_itl_s / 4)
    assert sample.e2e_s is not None
    assert sample.e2e_s >= 0.39


def test_without_a_count_pieces_stand_for_tokens() -> None:
    sample = outcome(STREAM_HEAD, said("a"), said("b"), said("c", "stop"), DONE)
    assert sample.completion_tokens == 3
    assert sample.tpot_s is not None


def test_one_token_has_no_time_per_token() -> None:
    sample = outcome(STREAM_HEAD, said("a", "stop"), usage(9, 1), DONE)
    assert (sample.tpot_s, sample.max_itl_s) == (None, None)
    assert sample.ttft_s is not None


def test_an_answer_in_one_piece_came_with_its_last_byte() -> None:
    answer = whole(
        {
            "model": "m",
            "choices": [{"message": {"content": "12"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}},
        }
    )
    sample = outcome(answer[:-3], 0.3, answer[-3:], is_streamed=False)
    assert (sample.error, sample.answered_by, sample.cached_tokens, sample.completion_tokens) == ("", "m", 8, 5)
    assert sample.ttft_s == sample.e2e_s
    assert sample.ttft_s is not None
    assert sample.ttft_s >= 0.29
    assert (sample.tpot_s, sample.max_itl_s) == (None, None)


def test_gaps_and_pieces_are_counted_for_all_requests_together() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as asker:
        gevent.joinall([gevent.spawn(asker.ask, turn(), stage, 0.0, 0.0) for stage in (1, 1, 2)], raise_error=True)
        assert asker.pieces == 3
        assert {key: sum(gaps.values()) for key, gaps in asker.gaps.items()} == {(1, "small"): 2, (2, "small"): 1}


# ---- what servers do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "error", "status"),
    [
        ([CLOSE], "reset", 0),
        ([RESET], "reset", 0),
        ([b"HTTP/1.1 200", RESET], "reset", 0),
        ([STREAM_HEAD, said("a"), CLOSE], "reset", 200),
        ([STREAM_HEAD, said("a"), 0.05, RESET], "reset", 200),
        ([STREAM_HEAD, said("a"), event(error={"message": "secret words"}), CLOSE], "stream_error", 200),
        ([STREAM_HEAD, said("a"), event(error={"message": "secret words"}), LAST], "stream_error", 200),
        ([STREAM_HEAD, DONE], "no_tokens", 200),
        ([STREAM_HEAD, LAST], "unreadable", 200),
        ([whole({"error": {"message": "secret words"}}, b"503 Service Unavailable")], "http_503", 503),
        ([whole({}, b"429 Too Many Requests", b"retry-after: 1\r\n")], "http_429", 429),
        ([b"\x15\x03\x01\x00\x02\x02\x28"], "unreadable", 0),
    ],
)
def test_what_a_server_does_is_told_by_its_kind_and_never_raised(steps: list[Step], error: str, status: int) -> None:
    sample = outcome(*steps)
    assert (sample.error, sample.status) == (error, status)
    assert "secret" not in str(sample)


def test_a_broken_stream_keeps_the_times_that_were_measured() -> None:
    sample = outcome(STREAM_HEAD, said("a"), said("b"), CLOSE)
    assert sample.ttft_s is not None
    assert (sample.tpot_s, sample.e2e_s) == (None, None)


@pytest.mark.parametrize("steps", [[], [b"HTTP/1.1 200"], [STREAM_HEAD], [STREAM_HEAD, said("a")]])
def test_a_server_that_says_nothing_more_is_waited_for_only_so_long(steps: list[Step]) -> None:
    begin_s = time.perf_counter()
    assert outcome(*steps, 5.0, timeout_s=0.3).error == "timeout"
    assert 0.29 <= time.perf_counter() - begin_s < 4.5


def test_a_slow_stream_is_waited_for_as_long_as_pieces_come() -> None:
    pieces = [step for _ in range(5) for step in (said("a"), 0.3)]
    assert outcome(STREAM_HEAD, *pieces, said("b", "stop"), DONE, timeout_s=1.0).error == ""


def test_a_server_that_does_not_read_is_waited_for_only_so_long() -> None:
    # No script runs before the request has been read, and the kernel's buffers do not take so much.
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url, 0.5) as asker:
        server.stop_reading()
        sample, _ = asked(asker, turn(body=b"x" * 50_000_000))
    assert sample.error == "timeout"


def test_an_answer_before_the_request_was_read_is_heard() -> None:
    refusal = whole({"error": {"message": "too large"}}, b"413 Content Too Large")
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as asker:
        server.refuse_bodies(refusal)
        sample, _ = asked(asker, turn(body=b"x" * 50_000_000))
        assert sample.error == "http_413"
        assert asked(asker)[0].error == ""
    assert len(server.requests) == 2


def test_nobody_listening_is_a_refusal() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server:
        url = server.url
    with asking(url) as asker:
        sample, answer = asked(asker)
    assert (sample.error, sample.status, answer) == ("refused", 0, Answer(error="refused"))
    assert (sample.ttft_s, sample.e2e_s, asker.note) == (None, None, "")


def test_a_generator_that_has_no_more_files_blames_itself() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as first, asking(server.url) as asker:
        # What gevent opens on its first use is open from now on.
        assert asked(first)[0].error == ""
        usual = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, usual[1]))
        try:
            sample, _ = asked(asker)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert sample.error == "refused"
    assert "ulimit -n" in asker.note


def test_a_host_that_nobody_knows_is_told_before_anything_is_asked() -> None:
    with pytest.raises(UserError, match=r"nowhere\.invalid cannot be found"):
        Asker("http://nowhere.invalid", 5.0)


def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_sent() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as asker:
        with pytest.raises(UserError, match="authorization"):
            asked(asker, turn(headers=(("authorization", "Bearer k\r\nx-evil: 1"),)))
    assert server.requests == []


# ---- connections that are kept --------------------------------------------------------------------------------------


def test_a_connection_is_used_again() -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server, asking(server.url) as asker:
        assert [asked(asker)[0].error for _ in range(3)] == [""] * 3
    assert [len(seen) for seen in server.requests] == [3]


def test_an_error_costs_no_connection() -> None:
    refusal = whole({"error": {"message": "busy" * 10_000}}, b"503 Service Unavailable")
    with ScriptedAnswers(lambda _, nth: ANSWER if nth else [refusal]) as server, asking(server.url) as asker:
        assert [asked(asker)[0].error for _ in range(2)] == ["http_503", ""]
    assert [len(seen) for seen in server.requests] == [2]


@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_a_connection_that_breaks_as_it_is_used_again_is_no_error(how: str) -> None:
    def script(connection: int, nth: int) -> list[Step]:
        return [how] if (connection, nth) == (0, 1) else ANSWER

    with ScriptedAnswers(script) as server, asking(server.url) as asker:
        assert [asked(asker)[0].error for _ in range(2)] == ["", ""]
    assert [len(seen) for seen in server.requests] == [2, 1]


def test_a_request_is_repeated_only_once_and_only_if_nothing_was_answered() -> None:
    def script(connection: int, nth: int) -> list[Step]:
        return ANSWER if (connection, nth) == (0, 0) else [CLOSE]

    with ScriptedAnswers(script) as server, asking(server.url) as asker:
        assert [asked(asker)[0].error for _ in range(2)] == ["", "reset"]
    assert [len(seen) for seen in server.requests] == [2, 1]

    def half(connection: int, nth: int) -> list[Step]:
        return [STREAM_HEAD, CLOSE] if nth else ANSWER

    with ScriptedAnswers(half) as server, asking(server.url) as asker:
        assert [asked(asker)[0].error for _ in range(2)] == ["", "reset"]
    assert [len(seen) for seen in server.requests] == [2]


def test_a_server_that_wants_to_close_is_obeyed() -> None:
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with ScriptedAnswers(lambda _, __: [head, *ANSWER[1:]]) as server, asking(server.url) as asker:
        assert [asked(asker)[0].error for _ in range(2)] == ["", ""]
    assert [len(seen) for seen in server.requests] == [1, 1]


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    steps: list[Step] = [head, b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n', CLOSE]
    assert outcome(*steps).error == ""


def test_a_greenlet_that_is_killed_leaves_no_connection_behind() -> None:
    again: list[Step] = [said("a"), 0.05]
    endless = [STREAM_HEAD, *again * 500]
    with ScriptedAnswers(lambda _, __: endless) as server, asking(server.url) as asker:
        greenlet = gevent.spawn(asked, asker)
        while not asker.pieces:
            gevent.sleep(0.01)
        greenlet.kill()
        assert isinstance(greenlet.value, gevent.GreenletExit)
        assert server.is_left()


def test_many_ask_at_once_and_none_gets_anothers_answer() -> None:
    def script(connection: int, _: int) -> list[Step]:
        return [STREAM_HEAD, 0.02, said(str(connection), "stop"), usage(connection + 1, 1), DONE]

    with ScriptedAnswers(script) as server, asking(server.url) as asker:
        many = [gevent.spawn(asked, asker) for _ in range(40)]
        gevent.joinall(many, raise_error=True)
        assert sorted(int(one.value[1].text) + 1 for one in many) == list(range(1, 41))
        assert all(one.value[0].prompt_tokens == int(one.value[1].text) + 1 for one in many)
    assert len(server.requests) == 40
