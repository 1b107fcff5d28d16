"""Bytes of answers: they read the same however they are cut, and what is wrong with them is told by its kind."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.asking.answer_stream import MAX_ANSWER_BYTES, AnswerStream
from loadtests.workload.answer import ToolCall


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"model": "large", **fields}, ensure_ascii=False).encode() + b"\n\n"


def said(text: str, **more: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, **more}])


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
END = event(choices=[{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}])
USAGE = event(
    choices=[],
    usage={"prompt_tokens": 31, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 16}},
)
DONE = b"data: [DONE]\n\n"
EVENTS = ROLE + said("肝") + b": ping\n\n" + said("炎") + END + USAGE + DONE
HEADERS = b"content-type: text/event-stream\r\nx-fenzhen-model: small\r\nX-Fenzhen-Reason: easy, 0.12\r\n"


def chunked(body: bytes, size: int = 50, head: bytes = b"HTTP/1.1 200 OK\r\n" + HEADERS) -> bytes:
    """In HTTP's chunks, which need not begin and end where events do."""
    parts = (body[at : at + size] for at in range(0, len(body), size))
    chunks = b"".join(b"%X;note=1\r\n%b\r\n" % (len(part), part) for part in parts)
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def sized(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, HEADERS + more, len(body), body)


def until_closed(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + HEADERS + b"connection: close\r\n\r\n" + body


WHOLE = {
    "model": "large",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "肝炎"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 31, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 16}},
}
UNSTREAMED = json.dumps(WHOLE).encode()
STREAMS = {
    "chunked": chunked(EVENTS),
    "an event a chunk": chunked(EVENTS, 10_000),
    "sized": sized(EVENTS),
    "until closed": until_closed(EVENTS),
    "with carriage returns": chunked(EVENTS.replace(b"\n", b"\r\n")),
    "without blanks": chunked(EVENTS.replace(b"data: ", b"data:")),
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + chunked(EVENTS),
    "without the last line's end": chunked(EVENTS[:-2]),
    "with other fields": chunked(EVENTS.replace(b"data: {", b"id: 7\nevent: message\ndata: {")),
    "in two data lines": chunked(EVENTS.replace(b'"model"', b'\ndata: "model"')),
    "with trailers": chunked(EVENTS)[:-2] + b"x-checksum: 5\r\n\r\n",
}


def read(data: bytes, is_streamed: bool = True, cuts: tuple[int, ...] = (), is_ended: bool = True) -> AnswerStream:
    """Fed in pieces; `is_ended`: then the server ends the connection."""
    stream = AnswerStream(is_streamed)
    for begin, end in itertools.pairwise(sorted({0, len(data), *cuts})):
        stream.feed(data[begin:end], 1.0)
        if stream.is_over:
            # The connection is not read any further.
            break
    if is_ended and not stream.is_over:
        stream.end()
    stream.close()
    return stream


def facts(stream: AnswerStream) -> tuple[object, ...]:
    told = stream.completion
    return (
        stream.error, stream.status, stream.is_complete, stream.keeps_alive, stream.named_model, stream.reason,
        told.text, told.tool_calls, told.pieces, told.tokens, told.prompt_tokens, told.cached_tokens, told.finish,
        told.model, told.has_error,
    )  # fmt: skip


# ---- whole answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read_whatever_it_is_wrapped_in(name: str) -> None:
    stream = read(STREAMS[name])
    told = stream.completion
    assert (stream.error, stream.status, stream.named_model, stream.reason) == ("", 200, "small", "easy, 0.12")
    assert (told.text, told.pieces, told.finish, told.model) == ("肝炎", 2, "stop", "large")
    assert (told.prompt_tokens, told.tokens, told.cached_tokens) == (31, 3, 16)
    assert stream.keeps_alive is (name != "until closed")


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_reads_the_same_byte_by_byte(name: str) -> None:
    data = STREAMS[name]
    assert facts(read(data, cuts=tuple(range(len(data))))) == facts(read(data))


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(1, 2000), max_size=12))
def test_a_stream_reads_the_same_however_it_is_cut(name: str, cuts: list[int]) -> None:
    data = STREAMS[name]
    assert facts(read(data, cuts=tuple(cut for cut in cuts if cut < len(data)))) == facts(read(data))


@given(st.sampled_from([sized, chunked, until_closed]), st.lists(st.integers(1, 500), max_size=12))
def test_an_answer_in_one_piece_reads_the_same_however_it_is_cut(wrapped: Any, cuts: list[int]) -> None:
    data = wrapped(UNSTREAMED)
    stream = read(data, is_streamed=False, cuts=tuple(cut for cut in cuts if cut < len(data)))
    told = stream.completion
    assert (stream.error, told.text, told.tokens, told.finish, told.cached_tokens) == ("", "肝炎", 3, "stop", 16)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_whatsoever_raise(data: bytes, is_streamed: bool) -> None:
    for answer in (data, sized(data), chunked(b"data: " + data + b"\n\n"), until_closed(b"data: {" + data)):
        assert read(answer, is_streamed).error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "message", "content", "usage", "error", "model", "tool_calls", "function", "index",
             "finish_reason", "prompt_tokens_details", "cached_tokens", "arguments", "name", "id", "completion_tokens"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, JSON)
def test_no_document_whatsoever_raises(document: object, choice: object) -> None:
    for fields in (document, {"choices": [{"delta": choice}]}, {"choices": [{"message": choice}]}):
        data = json.dumps(fields).encode()
        for stream in (read(chunked(b"data: " + data + b"\n\n" + DONE)), read(sized(data), is_streamed=False)):
            told = stream.completion
            assert isinstance(told.text + told.finish + told.model + stream.error, str)
            assert told.tokens >= 0
            assert all(type(call.arguments) is str for call in told.tool_calls)


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("cut in the head", chunked(EVENTS)[:40], "reset"),
        ("cut in a chunk", chunked(EVENTS)[:300], "reset"),
        ("without the last chunk", chunked(EVENTS)[:-5], "reset"),
        ("shorter than it said", sized(EVENTS)[:-1], "reset"),
        ("only an interim answer", b"HTTP/1.1 100 Continue\r\n\r\n", "reset"),
        ("closed before the end", until_closed(ROLE + said("肝")), "reset"),
        ("closed in an event", until_closed(ROLE + said("肝") + END[:30]), "reset"),
        ("closed in the usage", until_closed(ROLE + said("肝") + END + USAGE[:30]), "reset"),
        ("an error event", chunked(ROLE + said("肝") + event(error={"message": "engine died"})), "stream_error"),
        ("an error event and a cut", chunked(ROLE + event(error={"message": "no"}))[:-5], "stream_error"),
        ("nothing but the role", chunked(ROLE + DONE), "no_tokens"),
        ("only usage of none", chunked(event(choices=[], usage={"completion_tokens": 0}) + DONE), "no_tokens"),
        ("ended without a word why", chunked(ROLE + said("肝")), "unreadable"),
        ("half an event", chunked(ROLE + said("肝")[:-9] + b"\n\n" + END + DONE), "unreadable"),
        ("an event that is a list", chunked(b"data: [1]\n\n" + said("肝") + END + DONE), "unreadable"),
        ("text that is no text", chunked(event(choices=[{"delta": {"content": ["肝"]}}]) + END + DONE), "unreadable"),
        ("JSON instead of events", sized(UNSTREAMED), "unreadable"),
        ("an empty body", sized(b""), "unreadable"),
        ("no HTTP", b"SSH-2.0-OpenSSH\r\n\r\n", "unreadable"),
        ("two lengths", sized(EVENTS, more=b"content-length: 5\r\n"), "unreadable"),
        ("a chunk of no size", chunked(EVENTS).replace(b"0\r\n\r\n", b"zz\r\n"), "unreadable"),
        ("compressed", sized(EVENTS, more=b"content-encoding: gzip\r\n"), "unreadable"),
        ("another protocol", b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nPRI", "unreadable"),
        ("refused", sized(b'{"error":{"message":"busy"}}', b"503 Service Unavailable"), "http_503"),
        ("refused and cut", sized(b'{"error":{"message":"busy"}}', b"503 Service Unavailable")[:-3], "http_503"),
        ("another success", sized(EVENTS, b"202 Accepted"), "http_202"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_stream_is_told_by_its_kind(name: str, data: bytes, error: str) -> None:
    assert read(data).error == error, name
    assert read(data, cuts=tuple(range(0, len(data), 7))).error == error, name


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "unreadable"),
        (b"<html>", "unreadable"),
        (UNSTREAMED[:-1], "unreadable"),
        (b"[]", "unreadable"),
        (b'{"choices": []}', "unreadable"),
        (b'{"error": {"message": "no"}}', "unreadable"),
        (json.dumps({"choices": [{"message": {"content": ""}}]}).encode(), "no_tokens"),
        (json.dumps({"choices": [{"message": {"content": None}}], "usage": {"completion_tokens": 1}}).encode(), ""),
        (json.dumps({"choices": [{"message": {"content": "x"}}]}).encode(), ""),
    ],
)
def test_what_is_wrong_with_an_answer_in_one_piece_is_told_by_its_kind(body: bytes, error: str) -> None:
    assert read(sized(body), is_streamed=False).error == error


def test_a_whole_answer_that_ends_its_connection_late_is_no_error() -> None:
    stream = read(chunked(EVENTS), is_ended=False)
    assert stream.is_over
    assert stream.error == ""


def test_bytes_after_the_end_spoil_the_connection_and_not_the_answer() -> None:
    stream = read(chunked(EVENTS) + b"HTTP/1.1 200 OK\r\n")
    assert (stream.error, stream.is_complete, stream.keeps_alive) == ("", True, False)


def test_nothing_after_done_counts() -> None:
    assert facts(read(sized(EVENTS + said("more") + b"data: {\n\n"))) == facts(read(sized(EVENTS)))


def test_an_answer_without_end_is_given_up() -> None:
    stream = AnswerStream(True)
    stream.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 1.0)
    data = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(MAX_ANSWER_BYTES // 0x100000):
        assert not stream.is_over
        stream.feed(data, 1.0)
    assert stream.is_over
    assert stream.error == "unreadable"


def test_a_server_that_wants_to_close_is_heard() -> None:
    assert not read(sized(EVENTS, more=b"connection: close\r\n")).keeps_alive


def test_what_is_kept_of_headers_is_bounded() -> None:
    stream = read(sized(EVENTS, more=b"x-fenzhen-reason: %b\r\n" % (b"y" * 1000)))
    assert stream.reason == "y" * 200


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    def calls(*deltas: dict[str, Any]) -> bytes:
        return event(choices=[{"index": 0, "delta": {"tool_calls": list(deltas)}}])

    stream = read(
        chunked(
            ROLE
            + calls({"index": 1, "id": "b", "type": "function", "function": {"name": "book", "arguments": ""}})
            + calls({"index": 0, "id": "a", "type": "function", "function": {"name": "find", "arguments": '{"d'}})
            + calls({"index": 1, "function": {"arguments": "{}"}}, {"index": 0, "function": {"arguments": '":1}'}})
            + event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
            + DONE
        )
    )
    assert stream.error == ""
    assert stream.completion.tool_calls == (ToolCall("a", "find", '{"d":1}'), ToolCall("b", "book", "{}"))
    assert (stream.completion.pieces, stream.completion.finish) == (3, "tool_calls")


def test_tool_calls_of_an_answer_in_one_piece_have_no_index() -> None:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("x", "y")]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
    stream = read(sized(body), is_streamed=False)
    assert (stream.error, stream.completion.tool_calls) == ("", (ToolCall("x", "x", "{}"), ToolCall("y", "y", "{}")))
