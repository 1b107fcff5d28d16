"""Addresses and heads: what can be asked, and what would break out of a request."""

import pytest

from cluster.errors import UserError
from loadtests.asking.address import address_of


@pytest.mark.parametrize(
    ("url", "host", "port", "header", "path"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, "127.0.0.1:8000", "/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1/", "127.0.0.1", 8000, "127.0.0.1:8000", "/v1/chat/completions"),
        ("https://Api.example", "api.example", 443, "api.example", "/v1/chat/completions"),
        ("http://api.example/gate/v1", "api.example", 80, "api.example", "/gate/v1/chat/completions"),
        ("http://[::1]:8000/gate", "::1", 8000, "[::1]:8000", "/gate/v1/chat/completions"),
        ("http://分诊.example:81", "xn--kbr312l.example", 81, "xn--kbr312l.example:81", "/v1/chat/completions"),
    ],
)
def test_an_address_is_read_with_and_without_v1(url: str, host: str, port: int, header: str, path: str) -> None:
    address = address_of(url)
    assert (address.host, address.port, address.path) == (host, port, path)
    assert address.head(()).startswith(f"POST {path} HTTP/1.1\r\nhost: {header}\r\n".encode())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://x", "must look like"),
        ("http://", "must look like"),
        ("127.0.0.1:8000", "must look like"),
        ("http://x:99999", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://x/v1?key=1", "after its path"),
        ("http://x/分诊", "ASCII"),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_in_one_sentence(url: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        address_of(url)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="api_key_env") as caught:
        address_of("http://me:hunter2@x/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["hunter2\r\nx-evil: 1", "hunter2\n", "hunter2\x00b", " hunter2", "hunter2ü", "hunter2\tb"]
)
def test_a_key_that_would_break_out_of_its_header_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(UserError, match="authorization") as caught:
        address_of("http://x").head((("authorization", value),))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x evil", "x:y", "x\r\n", "级别"])
def test_a_header_without_a_proper_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name of a header"):
        address_of("http://x").head(((name, "1"),))


def test_headers_are_sent_as_they_were_given() -> None:
    head = address_of("http://x").head((("authorization", "Bearer a b"), ("x-fenzhen-level", "red"), ("x-empty", "")))
    assert b"\r\nauthorization: Bearer a b\r\nx-fenzhen-level: red\r\nx-empty: \r\ncontent-length: " in head
