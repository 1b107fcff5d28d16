"""What an engine says of itself: its context, its cache, and how many requests it works on at once."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final

import httpx

from cluster.errors import FenzhenError, NotFound, Unavailable, UserError
from loadtests.rehearsal.hearing import Engine
from loadtests.rehearsal.measuring import Prompts
from loadtests.rehearsal.timing import Limits

# As vLLM 0.32 has them where nobody says otherwise and the engine does not tell.
_MAX_NUM_SEQS: Final = 256
_MAX_NUM_BATCHED_TOKENS: Final = 2048
_BLOCK_TOKENS: Final = 16
_PROBES: Final = 48
_PROBE_TOKENS: Final = 32
_LOOK_S: Final = 0.05
# Then all places are taken that there are.
_LOOKS: Final = 8
_TIMEOUT_S: Final = 10.0
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Facts:
    """Limits, and what of them had to be taken for granted."""

    limits: Limits
    engine: str
    """Name and version, if it says them."""
    notes: tuple[str, ...]


async def facts_of(engine: Engine, max_num_seqs: int | None, max_num_batched_tokens: int | None) -> Facts:
    """Ask the engine. What is given counts. Raises NotFound, Unavailable, UserError."""
    notes = []
    headers = {"authorization": f"Bearer {engine.key}"} if engine.key else {}
    async with httpx.AsyncClient(base_url=engine.url, timeout=_TIMEOUT_S, headers=headers, trust_env=False) as client:
        card = await _card(client, engine)
        page = await _metrics(client)
        version = await _version(client)
        cache = _labels(page, "vllm:cache_config_info")
        context = card.get("max_model_len")
        if not isinstance(context, int):
            raise UserError(f"{engine.url}/v1/models does not say max_model_len, as vLLM does")
        block = int(cache["block_size"]) if cache.get("block_size", "").isdigit() else _BLOCK_TOKENS
        if cache.get("num_gpu_blocks", "").isdigit():
            kv_tokens = int(cache["num_gpu_blocks"]) * block
        else:
            kv_tokens = _MAX_NUM_SEQS * context
            notes.append("kv_tokens: the engine does not tell; taken as never full")
        if max_num_seqs is None:
            max_num_seqs = await _places(client, engine)
            if max_num_seqs is None:
                max_num_seqs = _MAX_NUM_SEQS
                notes.append(f"max_num_seqs: {_PROBES} requests at once did not wait; taken as {_MAX_NUM_SEQS}")
        if max_num_batched_tokens is None:
            max_num_batched_tokens = _MAX_NUM_BATCHED_TOKENS
            notes.append(f"max_num_batched_tokens: no engine tells; taken as {_MAX_NUM_BATCHED_TOKENS}")
    limits = Limits(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_tokens=max(kv_tokens, -(-context // block) * block),
        block_tokens=block,
        max_model_len=context,
        has_prefix_cache=cache.get("enable_prefix_caching", "True") == "True",
    )
    return Facts(limits, version, tuple(notes))


async def _card(client: httpx.AsyncClient, engine: Engine) -> dict[str, Any]:
    try:
        answer = await client.get("/v1/models")
        answer.raise_for_status()
        cards = answer.json()["data"]
        names = [card["id"] for card in cards]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{engine.url}/v1/models cannot be read: {error}") from error
    if engine.model not in names:
        raise NotFound(f"{engine.url} has no model {engine.model!r}; it has {', '.join(names)}")
    found: dict[str, Any] = cards[names.index(engine.model)]
    return found


async def _metrics(client: httpx.AsyncClient) -> str:
    try:
        answer = await client.get("/metrics")
    except httpx.HTTPError:
        return ""
    return answer.text if answer.status_code == 200 else ""


async def _version(client: httpx.AsyncClient) -> str:
    try:
        answer = await client.get("/version")
        return f"vLLM {answer.json()['version']}" if answer.status_code == 200 else ""
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""


async def _places(client: httpx.AsyncClient, engine: Engine) -> int | None:
    """How many run while others wait; None if none has to, or the engine does not tell."""
    prompts = Prompts(0)
    tasks = [asyncio.create_task(engine.ask(prompts.of(16), _PROBE_TOKENS)) for _ in range(_PROBES)]
    looks: list[int] = []
    try:
        while len(looks) < _LOOKS and not all(task.done() for task in tasks):
            page = await _metrics(client)
            if _value(page, "vllm:num_requests_waiting") > 0:
                looks.append(int(_value(page, "vllm:num_requests_running")))
            await asyncio.sleep(_LOOK_S)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for one in ended:
        # What the engine does not do now it will not do later, and its own words say why.
        if isinstance(one, FenzhenError):
            raise one
    return max(looks) if looks and max(looks) > 0 else None


def _value(page: str, name: str) -> float:
    for line in page.splitlines():
        if line.startswith(name + "{"):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def _labels(page: str, name: str) -> dict[str, str]:
    for line in page.splitlines():
        if line.startswith(name + "{"):
            return dict(_LABEL.findall(line))
    return {}
