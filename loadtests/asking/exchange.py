"""One request over the wire, and what is noted of it. For gevent: many greenlets may ask at once.

A request's life:

1. `Asker.ask` looks at the clock: the request counts as sent now. All that follows is the server's time, connecting
   included: a server that cannot take connections quickly enough makes callers wait.
2. The head is looked up: turns of one tenant and level have the same but for the length (`loadtests.asking.address`).
3. A kept connection is taken if one is still open, else a fresh one is made (`loadtests.asking.connections`).
4. Head and body are sent. If the server stops listening it may still have answered, so the answer is read anyway.
5. What arrives is fed with its time to `AnswerStream`, which finds the answer's end, its events, and in them tokens,
   tool calls and usage (`loadtests.asking.completion`), until it is whole, broken, or nothing has come for `timeout_s`.
6. If a kept connection breaks before the first byte, the server was just closing it: an idle connection may be closed
   at any time (RFC 9112, 9.5). The request is sent once more, on a fresh one; its clock goes on. On a fresh connection
   the same is an error, `reset`.
7. The connection is kept if the answer was whole and the server lets it; else it is closed.
8. All that is known becomes one `Sample`, and an `Answer` for whoever goes on with the conversation. Of an error they
   say the kind, never what the server wrote. Times are told as far as they were measured, with errors, too.

A greenlet that is killed while it asks closes its connection and lets the exception pass: whoever kills it knows why,
and writes the sample.
"""

import time
from typing import Final

from loadtests.asking.address import Headers, address_of
from loadtests.asking.answer_stream import AnswerStream
from loadtests.asking.connections import Connection, Connections
from loadtests.asking.patience import NothingCame, Patience
from loadtests.records.gaps import Gaps
from loadtests.records.sample import Sample
from loadtests.workload.answer import Answer
from loadtests.workload.turn import Turn

# One for each tenant, level and key.
_MOST_HEADS: Final = 4096


class Asker:
    """Asks one server, and counts what goes into no sample."""

    def __init__(self, base_url: str, timeout_s: float, worker: int = 0) -> None:
        """Resolves the host's name. Raises UserError for an address that cannot be asked."""
        self._address = address_of(base_url)
        self._connections = Connections(self._address)
        self._timeout_s = timeout_s
        self._worker = worker
        self._heads: dict[Headers, bytes] = {}
        self.gaps: dict[tuple[int, str], Gaps] = {}
        """Between tokens of streams without error, by stage and the model that answered."""
        self.pieces = 0
        """Of streams, so far."""

    @property
    def note(self) -> str:
        """One sentence if this machine, not the server, was why connections were refused; else ""."""
        return self._connections.note

    def ask(self, turn: Turn, stage: int, due_s: float | None, clock_zero_s: float) -> tuple[Sample, Answer]:
        """Send one request and wait for its answer. Whatever the server does is told in the sample; only a header that
        cannot be sent raises, UserError.

        due_s: when it was due, seconds since the run began; None in a closed loop.
        clock_zero_s: time.perf_counter() when the run began.
        """
        sent_s = time.perf_counter()
        request = b"%b%d\r\n\r\n%b" % (self._head(turn.headers), len(turn.body), turn.body)
        stream = AnswerStream(turn.is_streamed)
        try:
            error = self._exchange(request, stream) or stream.error
        finally:
            stream.close()
        sample = self._sample(turn, stage, due_s, sent_s, clock_zero_s, stream, error)
        if error:
            return sample, Answer(error=error)
        told = stream.completion
        if told.gaps:
            total = self.gaps.setdefault((stage, sample.answered_by), {})
            for bucket, count in told.gaps.items():
                total[bucket] = total.get(bucket, 0) + count
        answer = Answer(told.text, told.tool_calls)
        # Words beside a call are no answer yet: what the tool says comes first.
        if turn.is_right is not None and not told.tool_calls:
            sample = sample._replace(is_right=turn.is_right(answer.text))
        return sample, answer

    def close(self) -> None:
        """Close the connections that are kept; those in use are closed when their answers have ended."""
        self._connections.close()

    def _head(self, headers: Headers) -> bytes:
        head = self._heads.get(headers)
        if head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            head = self._heads[headers] = self._address.head(headers)
        return head

    def _exchange(self, request: bytes, stream: AnswerStream) -> str:
        """Fill `stream`. "": it knows itself what became of it."""
        with Patience(self._timeout_s) as patience:
            try:
                connection = self._connections.kept()
                if connection is not None:
                    self._talk(connection, request, stream, patience)
                    if stream.has_begun:
                        return ""
                try:
                    connection = self._connections.fresh()
                except TimeoutError:
                    return "timeout"
                except OSError:
                    return "refused"
                patience.heard_s = time.perf_counter()
                self._talk(connection, request, stream, patience)
            except NothingCame:
                return "timeout"
        return ""

    def _talk(self, connection: Connection, request: bytes, stream: AnswerStream, patience: Patience) -> None:
        """Send, and read until the answer is over or the connection is. It is kept or closed afterwards."""
        is_sent = False
        clock = time.perf_counter
        try:
            try:
                connection.send(request)
                is_sent = True
            except OSError:
                # It may have answered before it has read everything: too large, or too busy.
                pass
            told = stream.completion
            while not stream.is_over:
                data = connection.receive()
                now_s = clock()
                if not data:
                    if stream.has_begun:
                        stream.end()
                    break
                patience.heard_s = now_s
                pieces = told.pieces
                stream.feed(data, now_s)
                self.pieces += told.pieces - pieces
        except OSError:
            pass
        finally:
            if is_sent and stream.is_complete and stream.keeps_alive:
                self._connections.keep(connection)
            else:
                connection.close()

    def _sample(
        self, turn: Turn, stage: int, due_s: float | None, sent_s: float, clock_zero_s: float,
        stream: AnswerStream, error: str,
    ) -> Sample:  # fmt: skip
        told = stream.completion
        since_zero_s = sent_s - clock_zero_s
        first_s, last_s, ended_s = told.first_s, told.last_s, stream.ended_s
        tpot_s = None
        if turn.is_streamed and not error and told.tokens > 1 and first_s is not None and last_s is not None:
            tpot_s = (last_s - first_s) / (told.tokens - 1)
        return Sample(
            at_s=since_zero_s if due_s is None else due_s,
            lag_s=0.0 if due_s is None else max(0.0, since_zero_s - due_s),
            stage=stage,
            worker=self._worker,
            kind=turn.kind,
            turn=turn.turn,
            person=turn.person,
            question=turn.question,
            language=turn.language,
            difficulty=turn.difficulty,
            tenant=turn.tenant,
            level=turn.level,
            asked=turn.asked,
            answered_by=stream.named_model or told.model,
            reason=stream.reason,
            status=stream.status,
            error=error,
            ttft_s=None if first_s is None else first_s - sent_s,
            tpot_s=tpot_s,
            e2e_s=None if ended_s is None else ended_s - sent_s,
            max_itl_s=told.max_gap_s,
            prompt_tokens=told.prompt_tokens,
            completion_tokens=told.tokens,
            cached_tokens=told.cached_tokens,
            finish=told.finish,
            tool_calls=len(told.tool_calls),
            is_right=None,
        )
