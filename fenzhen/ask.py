"""`fenzhen ask`: one question to the running router, the answer as it comes, and why this model gave it."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from cluster.errors import FenzhenError, NotFound, OurFault, Unavailable, UserError
from cluster.stack_state import router_url
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output

# The router has its own time-outs; this one only keeps a dead network from holding the command for ever.
_TIMEOUT_S = 330.0
_CONNECT_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer and what the router says about it."""

    answer: str
    model: str
    difficulty: float | None
    """0 to 1; None where the model was named and nobody judged."""
    reason: str
    request_id: str
    prompt_tokens: int
    answer_tokens: int
    ttft_s: float
    """From sending to the first token, seconds."""
    total_s: float


@click.command()
@config_options
@json_option
@click.argument("question")
@click.option("--model", default="auto", show_default=True, help="auto, or a model's name.")
@click.option("--explain", is_flag=True, help="Say which model answered and why.")
@click.option("--max-tokens", default=300, show_default=True, type=click.IntRange(min=1), help="Longest answer.")
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0, 2), help="0: always the same.")
def ask(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    question: str,
    model: str,
    explain: bool,
    max_tokens: int,
    temperature: float,
) -> None:
    """Ask QUESTION (`-`: read it from standard input) and print the answer as it comes."""
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    base_url = router_url(settings)
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise UserError("the question is empty")
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
    answer = _asked(base_url, body, is_quiet=as_json)
    if as_json:
        output.result(asdict(answer), "")
    elif explain:
        rate = (answer.answer_tokens - 1) / max(answer.total_s - answer.ttft_s, 1e-9)
        click.echo(
            f"  model       {answer.model}\n"
            f"  difficulty  {_told_difficulty(answer.difficulty)}\n"
            f"  because     {answer.reason}\n"
            f"  took        {answer.ttft_s:.2f} s to the first token, {answer.total_s:.2f} s in all, "
            f"{answer.answer_tokens} tokens, {rate:.1f} tokens/s"
        )


def _told_difficulty(difficulty: float | None) -> str:
    return "not judged: the model was named" if difficulty is None else f"{difficulty:.3f} (0 easy, 1 hard)"


def _asked(base_url: str, body: dict[str, Any], *, is_quiet: bool) -> Answer:
    sent_s = time.monotonic()
    first_s: float | None = None
    parts: list[str] = []
    usage: dict[str, int] = {}
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    try:
        with httpx.stream("POST", f"{base_url}/v1/chat/completions", json=body, timeout=timeout) as response:
            if response.status_code != httpx.codes.OK:
                raise _told(response)
            for event in _events(response):
                usage = event.get("usage") or usage
                for choice in event.get("choices", ()):
                    piece = choice["delta"].get("content")
                    if not piece:
                        continue
                    first_s = first_s if first_s is not None else time.monotonic()
                    parts.append(piece)
                    if not is_quiet:
                        click.echo(piece, nl=False)
    except httpx.ConnectError:
        raise Unavailable(f"nothing answers at {base_url}: `fenzhen up` starts it, `fenzhen status` looks") from None
    except httpx.TransportError as error:
        raise Unavailable(f"the connection to {base_url} broke ({type(error).__name__})") from error
    if not is_quiet:
        click.echo()
    ended_s = time.monotonic()
    headers = response.headers
    return Answer(
        answer="".join(parts),
        model=headers.get("x-fenzhen-model", "?"),
        difficulty=float(headers["x-fenzhen-difficulty"]) if "x-fenzhen-difficulty" in headers else None,
        reason=headers.get("x-fenzhen-reason", "?"),
        request_id=headers.get("x-request-id", "?"),
        prompt_tokens=usage.get("prompt_tokens", 0),
        answer_tokens=usage.get("completion_tokens", 0),
        ttft_s=(first_s if first_s is not None else ended_s) - sent_s,
        total_s=ended_s - sent_s,
    )


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise Unavailable(str(event["error"]["message"]))
        yield event


def _told(response: httpx.Response) -> FenzhenError:
    """The router's error as one of ours."""
    response.read()
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the router answered {response.status_code}"
    match response.status_code:
        case 404:
            return NotFound(message)
        case 503 | 504:
            return Unavailable(f"{message} Ask again in {response.headers.get('retry-after', '?')} s.")
        case code if code < 500:
            return UserError(message)
    return OurFault(message)
