"""People who ask without pause, each request as another person, and what became of every one of their requests."""

import asyncio
import itertools
import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx

from cluster.errors import OurFault

# One fact each: a small model answers in a few words and stops by itself, so that what never stops stands out.
_PLACES: Final = (
    "Italy",
    "Spain",
    "Japan",
    "Peru",
    "Egypt",
    "Norway",
    "Canada",
    "Kenya",
    "Austria",
    "Portugal",
    "Chile",
)
_ASKED: Final = ("What is the capital of {}?", "Which language do people speak in {}?", "On which continent is {}?")
_SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 16}},
    "required": ["city"],
    "additionalProperties": False,
}
# Every second wants JSON: its format is a metric of its own, which needs evidence of its own.
_JSON_EVERY: Final = 2
# Short ones: a verdict wants dozens of answers, and two cores make some fifty tokens a second.
_MAX_TOKENS: Final = 20
_JSON_MAX_TOKENS: Final = 28
_TIMEOUT_S: Final = 90.0
_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. Times in seconds since the epoch."""

    sent_s: float
    done_s: float
    status: int
    """0: no answer at all."""
    version: str
    """That answered, by the router's header."""
    said: str


class Crowd:
    """So many people in a thread of their own; use as a context manager."""

    def __init__(self, base_url: str, model: str, people: int) -> None:
        self._base_url = base_url
        self._model = model
        self._people = people
        self._asked: list[Asked] = []
        self._numbers = itertools.count()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd")

    def __enter__(self) -> "Crowd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(_TIMEOUT_S + 10)
        if self._thread.is_alive():
            raise OurFault("requests do not end")

    def since(self, from_s: float) -> list[Asked]:
        """All requests sent since then that are over."""
        return [each for each in list(self._asked) if each.sent_s >= from_s]

    async def _run(self) -> None:
        client = httpx.AsyncClient(base_url=self._base_url, timeout=_TIMEOUT_S, trust_env=False)
        async with client, asyncio.TaskGroup() as people:
            for _ in range(self._people):
                people.create_task(self._ask_on(client))

    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        while not self._ends.is_set():
            self._asked.append(await self._ask(client, next(self._numbers)))
            await asyncio.sleep(_PAUSE_S)

    async def _ask(self, client: httpx.AsyncClient, number: int) -> Asked:
        sent_s = time.time()
        try:
            async with client.stream("POST", "/v1/chat/completions", json=_body(self._model, number)) as answer:
                raw = await answer.aread()
        except httpx.HTTPError as error:
            return Asked(sent_s, time.time(), 0, "", type(error).__name__)
        version = answer.headers.get("x-fenzhen-version", "")
        said = _said(raw) if answer.status_code == 200 else raw[:200].decode("utf-8", "replace")
        return Asked(sent_s, time.time(), answer.status_code, version, said)


def _body(model: str, number: int) -> dict[str, Any]:
    place = _PLACES[number % len(_PLACES)]
    body: dict[str, Any] = {"model": model, "user": f"person-{number}", "temperature": 0.3}
    if number % _JSON_EVERY == 0:
        question = f"Give me a JSON object with a city of {place}."
        form = {"type": "json_schema", "json_schema": {"name": "city", "schema": _SCHEMA}}
        body |= {"max_tokens": _JSON_MAX_TOKENS, "response_format": form}
    else:
        question = _ASKED[number % len(_ASKED)].format(place) + " Answer in one word."
        body |= {"max_tokens": _MAX_TOKENS, "stream": True}
    return body | {"messages": [{"role": "user", "content": question}]}


def _said(raw: bytes) -> str:
    """The text of an answer, streamed or whole."""
    if raw.lstrip()[:1] == b"{":
        return str(json.loads(raw)["choices"][0]["message"]["content"])
    events = (json.loads(line[5:]) for line in raw.split(b"\n") if line.startswith(b"data:") and b"[DONE]" not in line)
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
