"""Where we do something else than a public suite says, and why. Each is held to what we do instead."""

from typing import Final, NamedTuple


class Difference(NamedTuple):
    """What we answer instead, and the reason."""

    statuses: tuple[int, ...]
    reason: str


_LIMITS = "gunicorn's limits by default are smaller than ours (router.max_header_bytes)"
_WAITS = "the request is not complete: we wait for the rest until router.client_timeout_s"
_CODINGS = "of transfer codings only chunked is understood, and once only: the rest is refused, never guessed at"
_CONNECT = "we are no proxy: CONNECT is refused"
_UPGRADE = "an upgrade is declined, so that what follows is read as HTTP/1.1, and refused if it is none"
_USERINFO = "a name and password in an http address are an error (RFC 9110, 4.2.4)"

DIFFERENCES: Final[dict[str, Difference]] = {
    # gunicorn
    "invalid/001": Difference((), _WAITS),
    "invalid/006": Difference((200,), _LIMITS),
    "invalid/007": Difference((200,), _LIMITS),
    "invalid/008": Difference((200,), _LIMITS),
    "invalid/009": Difference((200,), _LIMITS),
    "invalid/017": Difference((200,), _LIMITS),
    "invalid/rfc9110_trailer_forbidden_host_01": Difference((200,), "trailers are read and dropped, whatever they say"),
    "invalid/rfc9112_chunked_missing_final_crlf_01": Difference((), _WAITS),
    "invalid/rfc9112_leading_crlf_02": Difference(
        (200,), "RFC 9112, 2.2 wants at least one empty line before a request ignored; we ignore more, within the limit"
    ),
    "valid/013": Difference((400,), "spaces in a chunk's extension, which no known client sends, are refused"),
    "valid/022": Difference((200, 400), "its second request is HTTP/1.1 without a host, which RFC 9112, 3.2 forbids"),
    "valid/025": Difference((400,), _CODINGS),
    "valid/025_line": Difference((501,), _CODINGS),
    "valid/029": Difference((400,), _CODINGS),
    "valid/030": Difference((400,), _CODINGS),
    "valid/031": Difference((400,), "a method that no standard names is refused"),
    "valid/099": Difference((), _WAITS),
    "valid/rfc9112_smuggle_gzip_chunked_01": Difference((501,), _CODINGS),
    "valid/rfc9112_smuggle_te_identity_chunked_01": Difference((501,), _CODINGS),
    "valid/rfc9112_target_absolute_userinfo_01": Difference((400,), _USERINFO),
    "valid/rfc9112_target_authority_connect_01": Difference((501,), _CONNECT),
    "valid/rfc9112_target_authority_ipv6_01": Difference((501,), _CONNECT),
    # llhttp
    "connection/9-multiple-tokens-with-folding-and-lws": Difference((200, 400), _UPGRADE),
    "connection/14-emitting-part-of-body-and-pausing": Difference((200, 400), _UPGRADE),
    "connection/15-upgrade-get-request": Difference((200, 400), _UPGRADE),
    "connection/16-upgrade-post-request": Difference((200, 400), _UPGRADE),
    "method/2-connect-request": Difference((501,), _CONNECT),
    "method/3-connect-request-with-caps": Difference((501,), _CONNECT),
    "method/4-connect-with-body": Difference((501,), _CONNECT),
    "method/5-m-search-request": Difference((400,), "the target * is for OPTIONS only (RFC 9112, 3.2.4)"),
    "sample/10-no-http-version": Difference((505,), "HTTP/0.9 is not spoken"),
    "transfer-encoding/17-post-with-chunked-as-last-transfer-encoding": Difference((501,), _CODINGS),
    "transfer-encoding/18-post-with-chunked-as-last-transfer-encoding-multiple-headers": Difference((400,), _CODINGS),
    "uri/9-underscore-in-hostname": Difference((501,), _CONNECT),
    "uri/10-host-port-and-basic-auth": Difference((400,), _USERINFO),
}
