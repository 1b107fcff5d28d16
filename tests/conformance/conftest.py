"""These tests run on the event loop that the router runs on."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.conformance.packages import NotReachable, go_without
from tests.conformance.suites import Case


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name the loops that one test runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """One case of a public suite, if the suite is there."""
    if isinstance(request.param, NotReachable):
        go_without(request.param)
    assert isinstance(request.param, Case)
    return request.param
