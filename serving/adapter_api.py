"""Asks one vLLM server to load and unload LoRA adapters while it serves."""

import re
from types import TracebackType
from typing import Any, Final, Literal

import httpx

from serving.remote_probe import MODELS_PATH, models_in

Task = Literal["chat", "embed"]

# vLLM reads the weights between two steps of its core: 0.04 s for 2 MB here; a network disk may take a minute.
LOAD_TIMEOUT_S: Final = 120.0
# One token, behind whatever the engine works on just now.
WARM_TIMEOUT_S: Final = 60.0
_ANSWER_TIMEOUT_S: Final = 10.0
# As `registry.versions` makes them. What is called otherwise was put there by somebody else and is left alone.
_OURS: Final = re.compile(r"[^@\s]+@\d+-[0-9a-f]{8}")
_MAX_WORDS: Final = 200
_NO_SUCH_PATH: Final = (
    "the server cannot load adapters while it runs: start it with --enable-lora and with "
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"
)


class Refused(Exception):
    """The server said no; `str(error)` are its own words, in one line."""


class Unreached(Exception):
    """No answer: the server is busy, hangs or has ended, so the adapter may be loaded or not."""


class AdapterApi:
    """One server; use as an async context manager."""

    def __init__(self, base_url: str, task: Task = "chat") -> None:
        self._task = task
        # `trust_env=False`: a proxy meant for the internet must not stand between us and our own engine.
        self._client = httpx.AsyncClient(base_url=base_url, timeout=_ANSWER_TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> "AdapterApi":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def names(self) -> frozenset[str]:
        """The adapters under names of ours that the server has."""
        try:
            response = await self._client.get(MODELS_PATH)
        except httpx.HTTPError as error:
            raise Unreached(_no_answer(error, MODELS_PATH)) from None
        if response.status_code != 200:
            raise Unreached(f"says {response.status_code} on {MODELS_PATH}")
        return frozenset(name for name in models_in(response.content) if _OURS.fullmatch(name))

    async def load(self, name: str, folder: str) -> None:
        """Load a folder under a name."""
        await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder}, LOAD_TIMEOUT_S)

    async def unload(self, name: str) -> None:
        """Take a name away. Requests that are in flight under it finish: vLLM only forgets the name."""
        await self._post("/v1/unload_lora_adapter", {"lora_name": name}, _ANSWER_TIMEOUT_S)

    async def warm(self, name: str) -> None:
        """Have one token computed, so that no caller is the first."""
        if self._task == "embed":
            await self._post("/v1/embeddings", {"model": name, "input": "Hello"}, WARM_TIMEOUT_S)
            return
        body = {"model": name, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        await self._post("/v1/completions", body, WARM_TIMEOUT_S)

    async def _post(self, path: str, body: dict[str, Any], timeout_s: float) -> None:
        try:
            response = await self._client.post(path, json=body, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise Unreached(_no_answer(error, path)) from None
        if response.status_code != 200:
            raise Refused(_words(response))


def _no_answer(error: httpx.HTTPError, path: str) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"no answer on {path} in time"
    return f"no answer on {path}: {type(error).__name__}"


def _words(response: httpx.Response) -> str:
    """What vLLM says in its error, in one line."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, TypeError, KeyError):
        message = "Not Found" if response.status_code == 404 else f"says {response.status_code}"
    if message == "Not Found":
        # Not of an adapter, of which it would say more: of the path itself.
        return _NO_SUCH_PATH
    words = " ".join(str(message).split())
    return words if len(words) <= _MAX_WORDS else words[: _MAX_WORDS - 1] + "…"
