"""What the stand-in reads in a request and says in an answer, without parsing JSON: it must cost next to nothing."""

import functools
import re
from typing import Final

ANSWER: Final = "the stand-in answers"
JSON_HEAD: Final = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_PACE: Final = re.compile(rb"pace-([0-9.]+)ms")


def word(index: int) -> bytes:
    """The words of a streamed chunk, quoted as they stand in it."""
    return b'"w%d "' % index


def content_length(head: bytes) -> int:
    """The length of the body after a head in lower case; 0 if it names none."""
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    end = head.find(b"\r\n", at + 2)
    return int(head[at + 17 : end if end > 0 else len(head)])


def number_of(body: bytes, name: bytes) -> int | None:
    """The whole number in a JSON field, found without parsing. Inside a string its quotes would be escaped."""
    at = body.find(b'"%b"' % name)
    if at < 0:
        return None
    rest = body[at + len(name) + 2 : at + len(name) + 22].lstrip(b": ")
    digits = rest[: len(rest) - len(rest.lstrip(b"0123456789"))]
    return int(digits) if digits else None


def is_streamed(body: bytes) -> bool:
    """Whether a request's body asks for a stream."""
    at = body.find(b'"stream"')
    return at >= 0 and body[at + 8 : at + 16].lstrip(b": ").startswith(b"true")


def model_of(body: bytes) -> bytes:
    """The model's name in a request's body."""
    at = body.find(b'"model"')
    start = body.find(b'"', at + 7)
    return body[start + 1 : body.find(b'"', start + 1)] if at >= 0 else b""


def pace_s_of(body: bytes) -> float | None:
    """The pause between chunks that the body asks for, seconds."""
    found = _PACE.search(body)
    return float(found[1]) / 1000 if found else None


@functools.lru_cache(maxsize=1024)
def answer_to(model: bytes, is_chat: bool) -> bytes:
    """A whole answer, with its head."""
    said = '"message":{"role":"assistant","content":"%s"}' if is_chat else '"text":"%s"'
    body = (
        f'{{"id":"chatcmpl-7f3c","object":"{"chat.completion" if is_chat else "text_completion"}",'
        f'"created":1700000000,"model":"{model.decode()}","choices":[{{"index":0,{said % ANSWER},'
        '"logprobs":null,"finish_reason":"stop"}],'
        '"usage":{"prompt_tokens":24,"completion_tokens":4,"total_tokens":28}}'
    ).encode()
    return JSON_HEAD % (200, b"OK", len(body), body)


@functools.lru_cache(maxsize=65536)
def chunk_of(model: bytes, is_chat: bool, index: int) -> bytes:
    """One event in HTTP's own chunk framing, of the size that vLLM sends."""
    said = b'"delta":{"content":%b}' if is_chat else b'"text":%b'
    event = (
        b'data: {"id":"chatcmpl-7f3c","object":"%b","created":1700000000,"model":"%b",'
        b'"choices":[{"index":0,%b,"logprobs":null,"finish_reason":null}]}\n\n'
        % (b"chat.completion.chunk" if is_chat else b"text_completion", model, said % word(index))
    )
    return b"%x\r\n%b\r\n" % (len(event), event)
