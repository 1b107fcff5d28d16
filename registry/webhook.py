"""A small HTTP server beside the controller, on loopback: Alertmanager's webhook, and a page for Prometheus."""

import asyncio
import contextlib
import hmac
import logging
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Final

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cluster.errors import FenzhenError, UserError
from cluster.release_settings import Rollouts
from registry.alerts import Notification, take
from registry.rollout_metrics import CONTENT_TYPE
from registry.rollout_store import RolloutStore

TOKEN_VARIABLE: Final = "FENZHEN_ALERT_TOKEN"  # noqa: S105  The name of a variable.
LOOPBACK: Final = "127.0.0.1"
MAX_BODY_BYTES: Final = 1024 * 1024
# A token that can be tried out is none.
_MIN_TOKEN: Final = 16
_AGAIN_S: Final = 5.0
_STOP_S: Final = 2

_log = logging.getLogger(__name__)


def alert_token(settings: Rollouts, environ: Mapping[str, str]) -> str:
    """The token that callers must show. Raises UserError if there is none, or others can read it."""
    if token := environ.get(TOKEN_VARIABLE, "").strip():
        return _long_enough(token, TOKEN_VARIABLE)
    path = settings.alert_token_file
    if path is None:
        raise UserError(f"rollouts.alert_port needs a token: set rollouts.alert_token_file, or {TOKEN_VARIABLE}")
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UserError(f"rollouts.alert_token_file: others can read {path}; `chmod 600 {path}` mends it")
        return _long_enough(path.read_text(encoding="utf-8").strip(), f"rollouts.alert_token_file, {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"rollouts.alert_token_file: {path} cannot be read ({type(error).__name__})") from None


def webhook(store: RolloutStore, token: str, page: Callable[[], bytes]) -> Starlette:
    """The application."""
    turn = asyncio.Lock()

    async def alerts(request: Request) -> Response:
        if not _has_token(request, token):
            return _answer(401, "the token is missing or wrong", {"www-authenticate": "Bearer"})
        body = await _body(request)
        if body is None:
            return _answer(413, f"a notification has at most {MAX_BODY_BYTES} bytes")
        try:
            notification = Notification.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the body"
            return _answer(400, f"this is not Alertmanager's webhook, version 4: {place}: {first['msg']}")
        try:
            # One after the other, so that two notifications of one alert give one order.
            async with turn:
                taken = [await asyncio.to_thread(take, store, alert) for alert in notification.alerts]
        except FenzhenError as error:
            # Alertmanager tries again after a 5xx.
            return _answer(503, str(error), {"retry-after": "5"})
        for each in taken:
            _log.info("alert %s for %s: %s", each.alert, each.name or "nothing", each.said)
        unknown = sorted({each.name for each in taken if not each.is_known})
        if unknown:
            return _answer(404, f"nothing was ever rolled out under the name {', '.join(unknown)}"[:1000], taken=taken)
        return JSONResponse({"alerts": [asdict(each) for each in taken]})

    async def metrics(_: Request) -> Response:
        return Response(page(), media_type=CONTENT_TYPE)

    return Starlette(routes=[Route("/v1/alerts", alerts, methods=["POST"]), Route("/metrics", metrics)])


async def serve(application: Starlette, port: int) -> None:
    """Listen until cancelled. A port that is taken is tried again: rollouts go on without it."""
    while True:
        config = uvicorn.Config(
            application,
            host=LOOPBACK,
            port=port,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_STOP_S,
            timeout_keep_alive=5,
            limit_concurrency=64,
            h11_max_incomplete_event_size=16 * 1024,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            # Cancelled itself, it would leave its sockets open.
            server.should_exit = True
            await asyncio.wait({serving})
            raise
        except SystemExit:
            # How uvicorn says that it could not listen; it has logged why.
            _log.error("no webhook for alerts: port %d cannot be listened on; trying again in %g s", port, _AGAIN_S)
        await asyncio.sleep(_AGAIN_S)


class _Server(uvicorn.Server):
    """Without handlers of its own for signals: this process belongs to Ray."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def _long_enough(token: str, source: str) -> str:
    if len(token) < _MIN_TOKEN or not token.isascii():
        raise UserError(
            f"{source}: a token has {_MIN_TOKEN} ASCII characters or more; `openssl rand -hex 32` makes one"
        )
    return token


def _has_token(request: Request, token: str) -> bool:
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    return hmac.compare_digest(shown.strip().encode(), token.encode()) and scheme.lower() == "bearer"


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _answer(status: int, words: str, headers: Mapping[str, str] | None = None, taken: object = ()) -> JSONResponse:
    document: dict[str, object] = {"error": {"message": words}}
    if isinstance(taken, list):
        document["alerts"] = [asdict(each) for each in taken]
    return JSONResponse(document, status, dict(headers or {}))
