"""Users who ask our questions, streamed: `locust -f loadtests/locustfile.py --host http://127.0.0.1:8000`.

Rows: the whole answer as `chat easy` and `chat hard`, the time to its first token as `TTFT` of the same names.
Importing locust replaces the standard library's sockets (gevent), so no other module may import this one.
"""

import json
import os
import random
import time

from locust import HttpUser, between, task

from loadtests.questions import Level, load

QUESTIONS = load()
# The router's own word: it chooses.
MODEL = os.environ.get("FENZHEN_LOAD_MODEL", "auto")
# To connect, and between two pieces of an answer: a hard question on a CPU may wait for minutes.
TIMEOUTS_S = (10, 300)
MAX_TOKENS = int(os.environ.get("FENZHEN_LOAD_MAX_TOKENS", "64"))


class Asker(HttpUser):  # type: ignore[misc]  # locust's classes are untyped to mypy here
    """One person at a counter: asks, reads the answer as it comes, thinks for a moment."""

    host = "http://127.0.0.1:8000"
    wait_time = between(0.5, 2)

    # Seven easy questions for three hard ones.
    @task(7)  # type: ignore[untyped-decorator]
    def ask_something_easy(self) -> None:
        """Ask a question that the small model should answer."""
        self._ask("easy")

    @task(3)  # type: ignore[untyped-decorator]
    def ask_something_hard(self) -> None:
        """Ask a question that the large model should answer."""
        self._ask("hard")

    def _ask(self, level: Level) -> None:
        question = random.choice([one for one in QUESTIONS if one.level_of_difficulty == level])  # noqa: S311
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": question.question}],
            "max_tokens": MAX_TOKENS,
            "stream": True,
        }
        begin_s = time.perf_counter()
        first_token_s = None
        with self.client.post(
            "/v1/chat/completions",
            json=body,
            name=f"chat {level}",
            stream=True,
            timeout=TIMEOUTS_S,
            catch_response=True,
        ) as reply:
            if reply.status_code != 200:
                reply.failure(f"HTTP {reply.status_code}")
                return
            for line in reply.iter_lines():
                if first_token_s is None and _holds_token(line):
                    first_token_s = time.perf_counter() - begin_s
            # Locust stops its clock at the headers of a streamed answer; the row is to hold the whole of it.
            reply.request_meta["response_time"] = (time.perf_counter() - begin_s) * 1000
            if first_token_s is None:
                reply.failure("the stream ended without a token")
                return
        self.environment.events.request.fire(
            request_type="TTFT",
            name=f"chat {level}",
            response_time=first_token_s * 1000,
            response_length=0,
            exception=None,
            context={},
        )


def _holds_token(line: bytes) -> bool:
    """Whether one line of the event stream carries text, and not only the role or the end."""
    data = line.removeprefix(b"data:").strip()
    if not line.startswith(b"data:") or data == b"[DONE]":
        return False
    choices = json.loads(data).get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))
