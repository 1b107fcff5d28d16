"""What public suites of HTTP/1.1 requests demand, and what we make of each, on a real socket."""

from collections import Counter
from collections.abc import Sequence

import pytest

from router.http_request import Request
from tests.conformance.differences import DIFFERENCES
from tests.conformance.packages import NotReachable, each, go_without
from tests.conformance.suites import Case, Expected, gunicorn_cases, llhttp_cases
from tests.conformance.wire import wire


def understood(request: Request) -> tuple[str, str, bytes]:
    return request.method.decode(), request.target.decode("latin-1"), request.body


def headers_of(request: Request) -> dict[str, str]:
    # gunicorn drops names with an underscore; we keep them, and nobody reads them.
    return {
        name.decode(): value.decode("latin-1")
        for name, value in request.headers.items()
        if b"_" not in name and name != b"host"
    }


def headers_wanted(expected: Expected) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for name, value in expected.headers or ():
        name = name.lower()
        if name != "host":
            wanted[name] = f"{wanted[name]}, {value}" if name in wanted else value
    return wanted


def check(case: Case, seen: Sequence[Request]) -> None:
    """The requests are those that the suite sees, in all their parts."""
    wanted = [(expected.method, expected.target, expected.body) for expected in case.requests]
    assert [understood(request) for request in seen] == wanted
    for request, expected in zip(seen, case.requests, strict=True):
        if expected.headers is not None:
            assert headers_of(request) == headers_wanted(expected)


@pytest.mark.parametrize("case", [*each(gunicorn_cases), *each(llhttp_cases)], indirect=True)
async def test_a_case_of_a_public_suite_is_understood_as_the_suite_says(case: Case) -> None:
    async with wire() as server:
        heard = await server.say(case.raw)
        seen = server.keeper.requests
    if (difference := DIFFERENCES.get(case.name)) is not None:
        assert tuple(heard.statuses) == difference.statuses, difference.reason
        assert len(seen) == heard.statuses.count(200)
        return
    check(case, seen)
    if case.is_refused:
        # After the last answer of a connection that ends with it, what follows is not even refused.
        assert heard.is_closed
        assert heard.statuses[-1] >= 400 or len(heard.statuses) == len(seen) > 0
    else:
        assert heard.statuses == [200] * len(seen)


@pytest.mark.parametrize("case", [*each(gunicorn_cases), *each(llhttp_cases)], indirect=True)
async def test_a_case_that_arrives_byte_by_byte_is_understood_as_the_whole(case: Case) -> None:
    raw = case.raw[:1_500]
    async with wire() as server:
        whole = await server.say(raw)
        seen_whole = [understood(request) for request in server.keeper.requests]
    async with wire() as server:
        pieces = await server.say(*(raw[place : place + 1] for place in range(len(raw))))
        seen_pieces = [understood(request) for request in server.keeper.requests]
    assert seen_pieces == seen_whole
    assert pieces.statuses == whole.statuses
    assert pieces.is_closed == whole.is_closed


def test_each_difference_is_of_a_case_that_there_is() -> None:
    cases = [*each(gunicorn_cases), *each(llhttp_cases)]
    for case in cases:
        if isinstance(case.values[0], NotReachable):
            go_without(case.values[0])
    names = Counter(case.id for case in cases)
    assert set(DIFFERENCES) <= set(names)
    assert set(names.values()) == {1}
