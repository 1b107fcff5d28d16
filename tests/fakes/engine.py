"""A stand-in for vLLM's server: the same HTTP, no model, standard library only.

    python -m tests.fakes.engine --port 8001 --served-model-name small [options]

It answers each chat with its own name and the last message's words, and tells in headers what it was sent:
`x-seen-request-id`, `x-seen-header-names` (sorted, comma-separated) and `x-seen-body-sha256`.
"""

import argparse
import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
DEFAULT_TOKENS = 16


def options(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; options of vLLM that are not known here are passed over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.engine", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--max-num-seqs", type=int, default=16, help="more requests than these wait")
    parser.add_argument("--start-delay-s", type=float, default=0.0, help="before it listens")
    parser.add_argument("--first-token-delay-s", type=float, default=0.0)
    parser.add_argument("--token-delay-s", type=float, default=0.0, help="before every token")
    parser.add_argument("--die-after-s", type=float, help="end with status 3 and an error in the log")
    parser.add_argument("--hang-after-s", type=float, help="answer nothing any more, not even SIGTERM")
    parser.add_argument("--sick-after-s", type=float, help="answer 503 on /health")
    parser.add_argument("--refuse", type=int, help="answer every POST with this status")
    parser.add_argument("--break-after-tokens", type=int, help="cut the connection in the middle of an answer")
    parser.add_argument("--enable-lora", action="store_true", help="load adapters while it runs")
    parser.add_argument("--max-lora-rank", type=int, default=16)
    parser.add_argument("--adapter-delay-s", type=float, default=0.0, help="before an adapter is loaded")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--spawn-child", action="store_true", help="a second process that ends for no signal but KILL")
    return parser.parse_known_args(words)[0]


@dataclass
class Request:
    """One HTTP request, whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def echo(self) -> dict[str, str]:
        """What the caller may want to check."""
        return {
            "x-seen-request-id": self.headers.get("x-request-id", ""),
            "x-seen-header-names": ",".join(sorted(self.headers)),
            "x-seen-body-sha256": hashlib.sha256(self.body).hexdigest(),
        }


class Refusal(Exception):
    """An answer in vLLM's error shape."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass
class FakeEngine:
    """Serves until it is told not to."""

    opts: argparse.Namespace
    slots: asyncio.Semaphore
    running: int = 0
    waiting: int = 0
    sick: bool = False
    adapters: dict[str, str] = field(default_factory=dict)
    """Folders by name."""
    asked: list[str] = field(default_factory=list)
    """The model of each request that was answered."""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until it is closed."""
        try:
            while request := await read_request(reader):
                try:
                    await self.answer(request, reader, writer)
                except Refusal as refusal:
                    send(writer, refusal.status, refusal.body, request.echo)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        name = self.opts.served_model_name
        match request.method, request.path.partition("?")[0]:
            case "GET", "/health":
                send(writer, 503 if self.sick else 200, b"", {})
            case "GET", "/v1/models":
                like = {"object": "model", "created": 1, "owned_by": "vllm"}
                card = like | {"id": name, "max_model_len": 2048}
                more = [like | {"id": key, "root": folder, "parent": name} for key, folder in self.adapters.items()]
                send(writer, 200, {"object": "list", "data": [card, *more]}, request.echo)
            case "POST", "/v1/load_lora_adapter" | "/v1/unload_lora_adapter" as path if self.opts.enable_lora:
                change = self.load if path == "/v1/load_lora_adapter" else self.unload
                send(writer, 200, await change(json.loads(request.body)), request.echo)
            case "GET", "/metrics":
                label = f'{{engine="0",model_name="{name}"}}'
                text = "".join(
                    f"# TYPE vllm:num_requests_{key} gauge\nvllm:num_requests_{key}{label} {float(count)}\n"
                    for key, count in (("running", self.running), ("waiting", self.waiting))
                )
                send(writer, 200, text.encode(), {"content-type": "text/plain; version=0.0.4"})
            case "POST", "/v1/chat/completions" | "/v1/completions" as path:
                if self.opts.refuse:
                    raise Refusal(self.opts.refuse, "InternalServerError", "told to refuse")
                asked = checked(request, path, (name, *self.adapters))
                self.asked.append(asked["model"])
                await self.complete(request, asked, reader, writer)
            case "POST", "/v1/embeddings":
                texts = checked(request, "/v1/embeddings", (name, *self.adapters))["input"]
                vectors = [
                    {"object": "embedding", "index": place, "embedding": [0.5, -0.5]}
                    for place, _ in enumerate(texts if isinstance(texts, list) else [texts])
                ]
                usage = {"prompt_tokens": 1, "total_tokens": 1}
                send(writer, 200, {"object": "list", "model": name, "data": vectors, "usage": usage}, request.echo)
            case _:
                raise Refusal(404, "NotFoundError", "Not Found")

    async def load(self, asked: Json) -> bytes:
        """Add an adapter as vLLM 0.32 does, with its words."""
        name, folder = asked["lora_name"], Path(asked["lora_path"])
        if name in self.adapters:
            raise Refusal(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
        await asyncio.sleep(self.opts.adapter_delay_s)
        try:
            rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        except OSError:
            raise Refusal(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for <path>") from None
        if rank > self.opts.max_lora_rank:
            words = f"LoRA rank {rank} is greater than max_lora_rank {self.opts.max_lora_rank}."
            raise Refusal(500, "InternalServerError", f"Call to add_lora method failed: {words}")
        self.adapters[name] = str(folder)
        return f"Success: LoRA adapter '{name}' added successfully.".encode()

    async def unload(self, asked: Json) -> bytes:
        """Forget an adapter's name; what is in flight finishes."""
        name = asked["lora_name"]
        if self.adapters.pop(name, None) is None:
            raise Refusal(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        return f"Success: LoRA adapter '{name}' removed successfully.".encode()

    async def complete(
        self, request: Request, asked: Json, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Run one generation, streamed or whole."""
        self.waiting += 1
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            chat = "messages" in asked
            words = answer_words(self.opts.served_model_name, asked)
            limit = asked.get("max_completion_tokens") or asked.get("max_tokens") or DEFAULT_TOKENS
            finish = "stop" if len(words) <= limit else "length"
            tokens = self.tokens(words[:limit], reader, writer)
            usage = usage_of(asked, min(len(words), limit))
            if asked.get("stream"):
                await self.stream(request, asked, tokens, (finish, usage), writer)
                return
            text = "".join([token async for token in tokens])
            choice: Json = {"index": 0, "logprobs": None, "finish_reason": finish}
            choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            body = head_of(asked, chat, "chat.completion") | {"choices": [choice], "usage": usage}
            send(writer, 200, body, request.echo)
        finally:
            self.running -= 1
            self.slots.release()

    async def stream(
        self,
        request: Request,
        asked: Json,
        tokens: AsyncIterator[str],
        known: tuple[str, Json],
        writer: asyncio.StreamWriter,
    ) -> None:
        """Send an answer as server-sent events, as vLLM does."""
        chat, finish, usage = "messages" in asked, *known
        head = head_of(asked, chat, "chat.completion.chunk")
        start(writer, 200, {"content-type": "text/event-stream; charset=utf-8"} | request.echo)

        def event(delta: Json, finish_reason: str | None = None) -> None:
            choice = {"index": 0, "logprobs": None, "finish_reason": finish_reason}
            chunk(writer, head | {"choices": [choice | ({"delta": delta} if chat else {"text": delta["content"]})]})

        if chat:
            event({"role": "assistant", "content": ""})
        async for token in tokens:
            event({"content": token})
            await writer.drain()
        event({"content": ""}, finish)
        if (asked.get("stream_options") or {}).get("include_usage"):
            chunk(writer, head | {"choices": [], "usage": usage})
        chunk(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")

    async def tokens(
        self, words: Sequence[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> AsyncIterator[str]:
        """The answer's tokens in time. Raises ConnectionResetError as soon as the client has hung up."""
        for number, word in enumerate(words):
            delay_s = self.opts.token_delay_s + (self.opts.first_token_delay_s if number == 0 else 0.0)
            until_s = time.monotonic() + delay_s
            while (left_s := until_s - time.monotonic()) > 0:
                await asyncio.sleep(min(left_s, 0.02))
                if reader.at_eof():
                    raise ConnectionResetError
            if number == self.opts.break_after_tokens:
                writer.transport.abort()
                raise ConnectionResetError
            yield word

    async def serve(self) -> None:
        """Listen until SIGTERM."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, (lambda: None) if self.opts.ignore_sigterm else ended.set)
        await asyncio.sleep(self.opts.start_delay_s)
        # `backlog`: tests open more connections at once than the default of 100 would hold.
        server = await asyncio.start_server(self.connected, self.opts.host, self.opts.port, backlog=1024)
        print(f"serving {self.opts.served_model_name} on port {self.opts.port}", flush=True)
        for delay_s, act in (
            (self.opts.die_after_s, die),
            (self.opts.hang_after_s, lambda: time.sleep(3600)),
            (self.opts.sick_after_s, lambda: setattr(self, "sick", True)),
        ):
            if delay_s is not None:
                loop.call_later(delay_s, act)
        await ended.wait()
        server.close()


def die() -> None:
    """End as vLLM does over a bad model: an error in the log and a status."""
    print("RuntimeError: told to die", file=sys.stderr, flush=True)
    os._exit(3)


def checked(request: Request, path: str, names: Sequence[str]) -> Json:
    """The request's JSON, or the refusal that vLLM would send."""
    try:
        asked = json.loads(request.body)
    except ValueError as error:
        raise Refusal(400, "BadRequestError", f"JSON decode error: {error}") from None
    wanted = {"/v1/chat/completions": "messages", "/v1/embeddings": "input"}.get(path, "prompt")
    if not isinstance(asked, dict) or wanted not in asked:
        raise Refusal(400, "BadRequestError", f"{wanted}: Field required", wanted)
    if asked.get("model") not in names:
        raise Refusal(404, "NotFoundError", f"The model `{asked.get('model')}` does not exist.", "model")
    tokens = asked.get("max_tokens")
    if tokens is not None and (not isinstance(tokens, int) or tokens < 0):
        raise Refusal(400, "BadRequestError", f"max_tokens must be at least 0, got {tokens}.", "max_tokens")
    return asked


def answer_words(name: str, asked: Json) -> list[str]:
    """The answer, cut into tokens: who answers, and what was asked last."""
    last = asked["messages"][-1].get("content") if asked.get("messages") else asked.get("prompt")
    return [f"{name}", " says:", *(f" {word}" for word in str(last or "").split())]


def usage_of(asked: Json, completion_tokens: int) -> Json:
    """Words count as tokens."""
    texts = [str(message.get("content")) for message in asked.get("messages", ())] or [str(asked.get("prompt"))]
    prompt_tokens = sum(len(text.split()) for text in texts)
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return counts | {"total_tokens": sum(counts.values())}


def head_of(asked: Json, chat: bool, kind: str) -> Json:
    """The fields that every answer and every chunk carries."""
    return {"id": "cmpl-1", "object": kind if chat else "text_completion", "created": 1, "model": asked["model"]}


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one request. Raises IncompleteReadError when the client has closed."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body)


def start(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    """Send a head; without a length the body is chunked."""
    lines = [f"HTTP/1.1 {status} Stand-in", *(f"{key}: {value}" for key, value in headers.items())]
    if "content-length" not in headers:
        lines.append("transfer-encoding: chunked")
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


def chunk(writer: asyncio.StreamWriter, data: Json | str) -> None:
    """Send one event as one chunk."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    event = f"data: {text}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(event), event))


def send(writer: asyncio.StreamWriter, status: int, body: Json | bytes, headers: dict[str, str]) -> None:
    """Send a whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    kind = {} if isinstance(body, bytes) else {"content-type": "application/json"}
    start(writer, status, kind | headers | {"content-length": str(len(data))})
    writer.write(data)


def main(words: Sequence[str]) -> None:
    """Serve."""
    opts = options(words)
    if opts.spawn_child:
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
        subprocess.Popen([sys.executable, "-c", stubborn])
    asyncio.run(FakeEngine(opts, asyncio.Semaphore(opts.max_num_seqs)).serve())


if __name__ == "__main__":
    main(sys.argv[1:])
