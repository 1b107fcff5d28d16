"""Looks at a running engine over HTTP."""

import re
from types import TracebackType

import httpx

from serving.health import Answer

# An engine answers /health between two steps of its core, which take up to some seconds on a busy small machine.
TIMEOUT_S = 5.0
_IN_FLIGHT = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? ([\d.e+]+)$", re.MULTILINE)


class Probe:
    """Asks one engine how it is; use as an async context manager."""

    def __init__(self, base_url: str) -> None:
        # `trust_env=False`: a proxy meant for the internet must not stand between us and our own engine.
        self._client = httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> "Probe":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def health(self) -> Answer:
        """What /health says."""
        try:
            response = await self._client.get("/health")
        except httpx.HTTPError:
            return Answer.SILENT
        return Answer.WELL if response.status_code == 200 else Answer.SICK

    async def in_flight(self) -> int | None:
        """Requests that run or wait in the engine; None if it does not say."""
        try:
            response = await self._client.get("/metrics")
        except httpx.HTTPError:
            return None
        return in_flight(response.text)


def in_flight(metrics: str) -> int | None:
    """Requests running and waiting, summed from vLLM's metrics; None if they are not among them."""
    counts = _IN_FLIGHT.findall(metrics)
    return sum(round(float(count)) for count in counts) if counts else None
