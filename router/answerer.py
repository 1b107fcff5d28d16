"""Everything one replica needs to answer, built once: cards, pools, metrics, limits."""

import asyncio
from typing import Final

from cluster.errors import FenzhenError, Unavailable
from cluster.settings import Model
from cluster.settings import Router as RouterSettings
from router.client_connection import ClientConnection
from router.difficulty import judge
from router.exchange import Exchange
from router.languages import languages_of
from router.metrics import RouterMetrics
from router.openai_error import as_http
from router.openai_request import ApiRequest, Route, parse, written
from router.policy import Need
from router.pools import Pools
from router.query import query_of_chat, query_of_text, text_of_chat

# An answer whose length nobody has limited is taken to need so many tokens.
USUAL_ANSWER_TOKENS: Final = 256


class Answerer:
    """Answers requests to models."""

    def __init__(
        self,
        cards: tuple[Model, ...],
        pools: Pools,
        metrics: RouterMetrics,
        settings: RouterSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.cards = cards
        self.chat_cards = tuple(card for card in cards if card.task == "chat")
        self.pools = pools
        self.metrics = metrics
        self.settings = settings
        self.loop = loop
        self.in_flight = 0

    def answer(
        self, route: Route, raw: bytes, id_line: bytes, trace_lines: bytes, client: ClientConnection
    ) -> Exchange | None:
        """Start answering one request; None if it was refused unread. `id_line` is the answer's x-request-id line."""
        try:
            if self.in_flight >= self.settings.max_in_flight:
                raise Unavailable(f"{self.in_flight} requests are in flight, as many as one replica takes.", 1)
            api_request = parse(route, raw)
            need = need_of(api_request)
        except FenzhenError as error:
            status = self.refuse(error, id_line, client)
            self.metrics.answered("", status)
            return None
        self.metrics.difficulty.observe(need.difficulty)
        exchange = Exchange(self, client, api_request, raw, need, id_line, trace_lines)
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        exchange.start()
        return exchange

    def finished(self, model: str, status: int) -> None:
        """An exchange is over."""
        self.in_flight -= 1
        self.metrics.in_flight.set(self.in_flight)
        self.metrics.answered(model, status)

    def refuse(self, error: FenzhenError, said: bytes, client: ClientConnection) -> int:
        """Answer with an error in OpenAI's shape; gives the status that was sent."""
        status, headers, body = as_http(error)
        client.answer(status, headers + said, body)
        return status


def need_of(api_request: ApiRequest) -> Need:
    """What one request asks of a model."""
    body = api_request.body
    if api_request.route == "chat":
        tools = body.get("tools")
        offers_tools = bool(tools) and body.get("tool_choice") != "none"
        answer_format = body.get("response_format") or {}
        query = query_of_chat(
            body["messages"],
            has_tools=offers_tools,
            wants_json=answer_format.get("type") in ("json_object", "json_schema"),
        )
        text = text_of_chat(body["messages"])
        tools_tokens = tokens_in(written(tools).decode()) if offers_tools else 0
    else:
        offers_tools, tools_tokens = False, 0
        query = query_of_text(body["prompt" if api_request.route == "completions" else "input"])
        text = query.text
    difficulty = judge(query)
    return Need(
        difficulty=difficulty.value,
        why_difficult=difficulty.reason,
        languages=languages_of(text),
        tools=offers_tools,
        tokens=tokens_in(text) + tools_tokens + (api_request.answer_tokens or USUAL_ANSWER_TOKENS),
    )


def tokens_in(text: str) -> int:
    """About how many tokens a text has: one a Chinese character, one for four Latin ones."""
    wide = (len(text.encode("utf-8", "replace")) - len(text)) // 2
    return wide + (len(text) - wide) // 4
