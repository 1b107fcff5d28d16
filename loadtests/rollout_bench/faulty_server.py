"""A server that answers as a real engine does, but fails or dawdles when told to: it stands before one and passes on.

    python -m loadtests.rollout_bench.faulty_server --port 9000 --model next

POST /behave {"engine": "http://...", "as_model": "...", "error_ratio": 0.3, "delay_s": 0} sets whom it asks, and how it
misbehaves from then on. It listens on loopback only.
"""

import argparse
import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_TIMEOUT_S = 60.0


@dataclass
class Behaviour:
    """What it was told last."""

    engine: str = ""
    as_model: str = ""
    """The name that the engine knows."""
    error_ratio: float = 0.0
    """Share of the requests that get a 500 in place of an answer."""
    delay_s: float = 0.0
    """Before an answer begins."""


def app(model: str) -> Starlette:
    """The application; `model` is the name under which it is asked."""
    behaviour, chance = Behaviour(), random.Random(5)  # noqa: S311  The same failures every time.

    async def health(_: Request) -> Response:
        return Response()

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": model, "object": "model"}]})

    async def behave(request: Request) -> Response:
        for name, value in (await request.json()).items():
            setattr(behaviour, name, value)
        return Response()

    async def answer(request: Request) -> Response:
        body: dict[str, Any] = json.loads(await request.body())
        if chance.random() < behaviour.error_ratio:
            error = {"message": "told to fail", "type": "InternalServerError", "param": None, "code": 500}
            return JSONResponse({"error": error}, status_code=500)
        await asyncio.sleep(behaviour.delay_s)
        client: httpx.AsyncClient = request.app.state.client
        asked = client.build_request(
            "POST", behaviour.engine + request.url.path, json=body | {"model": behaviour.as_model}
        )
        answered = await client.send(asked, stream=True)

        async def passed_on() -> AsyncIterator[bytes]:
            try:
                async for piece in answered.aiter_bytes():
                    yield piece
            finally:
                await answered.aclose()

        return StreamingResponse(passed_on(), answered.status_code, media_type=answered.headers.get("content-type"))

    @asynccontextmanager
    async def alive(application: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:
            application.state.client = client
            yield

    routes = [
        Route("/health", health),
        Route("/v1/models", models),
        Route("/behave", behave, methods=["POST"]),
        Route("/v1/chat/completions", answer, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=alive)


def main(words: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.rollout_bench.faulty_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    options = parser.parse_args(words)
    uvicorn.run(app(options.model), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
