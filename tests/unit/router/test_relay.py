"""Which headers go on to the other end."""

from router.relay import end_to_end


def test_headers_of_one_connection_stay_behind_and_all_others_go_on_twice_if_they_came_twice() -> None:
    headers = [
        (b"Host", b"fenzhen.example"),
        (b"Connection", b"close, X-Mine"),
        (b"X-Mine", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Expect", b"100-continue"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Length", b"3"),
    ]
    assert end_to_end(headers) == [
        (b"host", b"fenzhen.example"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"content-length", b"3"),
    ]
