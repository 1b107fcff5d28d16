"""A client that passes everything on to the caller, and remembers it as far as anybody wants to know."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cluster.outcomes import Fault
from router.http_request import Client
from router.outcome_record import Asked, Record
from router.policy import AUTO

if TYPE_CHECKING:
    from router.splits import Drawn
    from router.watching import Watching

# Of one request. Longer questions and answers are judged by their times, sizes and ends alone.
MAX_RAW_BYTES: Final = 64 * 1024
MAX_ANSWER_BYTES: Final = 256 * 1024
_MODEL_LINE: Final = b"\r\nx-fenzhen-model: "
# Whoever leaves after so long without a first byte has been let down; whoever leaves sooner may have other reasons.
PATIENCE_S: Final = 10.0
_ERROR_STATUS: Final = 500
_TIMED_OUT: Final = 504
_NOT_FOUND: Final = 404
_CALLERS_FAULT: Final = 400
# Of an answer that is not held: enough for its last events, in which usage and reason for the end stand.
_TAIL_BYTES: Final = 4096


class Watched:
    """A client that passes everything on, and remembers it as far as anybody wants to know."""

    __slots__ = (
        "_asked", "_client", "_drawn", "_events", "_fault", "_first_model", "_first_s", "_held_bytes", "_is_drift",
        "_is_wanted", "_judged_by", "_last_s", "_lost", "_model", "_parts", "_started_s", "_status", "_tail",
        "_watching",
    )  # fmt: skip

    def __init__(self, client: Client, watching: "Watching", asked: Asked, is_drift: bool) -> None:
        self._client = client
        self._watching = watching
        self._asked = asked
        self._is_drift = is_drift
        self._is_wanted = is_drift
        """Whether anybody wants to know what comes now; said by the draw."""
        self._drawn: Drawn | None = None
        self._judged_by: Drawn | None = None
        """The draw for `auto` itself: which judge has chosen the model."""
        self._lost: tuple[Record, ...] = ()
        """Word of sides that failed, while another one goes on."""
        self._model = self._first_model = ""
        self._fault: Fault = ""
        self._started_s = watching.now_s()
        self._first_s = self._last_s = 0.0
        self._status = 0
        self._parts: list[bytes] | None = None
        self._events = 0
        self._tail = b""
        self._held_bytes = len(asked.raw)
        watching.held_bytes += self._held_bytes

    def __del__(self) -> None:
        # A caller who hung up is nobody's fault and leaves no word, but what was held for it is free again.
        if self._held_bytes:
            self._watching.let_go(self._held_bytes)

    # ---- from the exchange -----------------------------------------------------------------------------------------

    def chosen(self, drawn: "Drawn", model: str) -> None:
        """The exchange goes to this side now; called for each attempt."""
        if drawn.split.name == AUTO:
            self._judged_by = drawn
        else:
            before = self._drawn
            if before is None or before.side != drawn.side or before.split.name != drawn.split.name:
                if before is not None and self._fault:
                    # Another side is about to come to its rescue. Whether it can tells whose fault it was.
                    self._lost += self._lost_by(before)
                self._fault = ""
                self._started_s = self._watching.now_s()
            self._drawn = drawn
        self._model = model
        self._first_model = self._first_model or model
        judged_by = self._judged_by
        self._is_wanted = self._is_drift or _is_wanted(drawn) or (judged_by is not None and _is_wanted(judged_by))

    def failed(self, fault: Fault) -> None:
        """This attempt failed before its first byte, or took too long behind it."""
        # It stays the side's fault even if another endpoint of the same side makes up for it.
        self._fault = self._fault or fault

    def gone(self) -> None:
        """The caller has hung up."""
        self._put_lost(0)
        waited_s = self._watching.now_s() - self._started_s
        if self._is_wanted and not self._first_s and (self._fault or waited_s >= PATIENCE_S):
            self._over(self._fault or "timeout")
        self._is_wanted = False
        self._forget()

    # ---- from the exchange to the client ---------------------------------------------------------------------------

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer: of an engine, or a refusal of ours."""
        self._client.answer(status, headers, body)
        self._put_lost(status)
        if self._is_wanted:
            self._status = status
            self._model = self._model or _model_in(headers)
            self._first_s = self._last_s = self._watching.now_s()
            self._parts = []
            self._keep((body,))
            self._over(self._fault)

    def begin(self, status: int, headers: bytes, content_length: int | None) -> None:
        """An engine's answer begins."""
        self._client.begin(status, headers, content_length)
        self._put_lost(status)
        self._status = status
        if self._is_wanted:
            self._model = self._model or _model_in(headers)
            self._parts = []
        else:
            self._forget()

    def relay(self, parts: Sequence[bytes]) -> None:
        """Parts of it."""
        self._client.relay(parts)
        if self._is_wanted:
            now_s = self._watching.now_s()
            if not self._first_s:
                self._first_s = now_s
            self._last_s = now_s
            self._keep(parts)

    def end(self) -> None:
        """Its end."""
        self._client.end()
        if self._is_wanted:
            if not self._first_s:
                self._first_s = self._last_s = self._watching.now_s()
            self._over(self._fault)

    def abort(self) -> None:
        """It broke off."""
        self._client.abort()
        if self._is_wanted:
            self._over(self._fault or "error")

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _keep(self, parts: Sequence[bytes]) -> None:
        kept, watching = self._parts, self._watching
        size = sum(map(len, parts))
        if kept is not None:
            if self._held_bytes + size <= MAX_RAW_BYTES + MAX_ANSWER_BYTES and watching.has_room(size):
                kept += parts
                self._held_bytes += size
                watching.held_bytes += size
                return
            # It has grown too long: from here on it is only counted.
            self._events = sum(map(_events_in, kept))
            self._parts = None
            freed_bytes = self._held_bytes - len(self._asked.raw)
            self._held_bytes -= freed_bytes
            watching.held_bytes -= freed_bytes
        self._events += sum(map(_events_in, parts))
        self._tail = (self._tail + parts[-1])[-_TAIL_BYTES:]

    def _over(self, fault: Fault) -> None:
        """It has its end: hand over what is known."""
        if not fault and self._status >= _ERROR_STATUS:
            fault = "timeout" if self._status == _TIMED_OUT else "error"
        drawn, judged_by, watching = self._drawn, self._judged_by, self._watching
        self._is_wanted = False
        if self._status == _NOT_FOUND and drawn is not None and drawn.side.served_name != drawn.side.pool:
            # The model is there, its adapter is not, for which no caller can be blamed.
            fault = fault or "error"
        if not self._model or (not fault and self._status >= _CALLERS_FAULT):
            # It went nowhere, or it is the caller's fault.
            self._forget()
            return
        record = Record(
            self._asked, drawn, self._model, self._is_drift, self._has_escalated, self._started_s, self._first_s,
            self._last_s, self._status, fault, None if self._parts is None else tuple(self._parts), self._tail,
            self._events, self._held_bytes,
        )  # fmt: skip
        self._held_bytes = 0
        self._parts = None
        if judged_by is not None and (self._is_drift or judged_by.is_recorded):
            # The same bytes: they are counted once.
            watching.put(record._replace(drawn=judged_by, held_bytes=0))
        if self._is_drift or (drawn is not None and _is_wanted(drawn)):
            watching.put(record)
        else:
            watching.free(record)

    def _lost_by(self, drawn: "Drawn") -> tuple[Record, ...]:
        if not _is_wanted(drawn):
            return ()
        # It sent nothing, so there is no time of a first byte.
        record = Record(self._asked, drawn, self._model, False, self._has_escalated, self._started_s, fault=self._fault)
        return (record,)

    def _put_lost(self, status: int) -> None:
        """Word of sides that failed, whether or not another one did better; where it was the caller's fault, none."""
        if not self._lost:
            return
        lost, self._lost = self._lost, ()
        if not _CALLERS_FAULT <= status < _ERROR_STATUS:
            for record in lost:
                self._watching.put(record)

    @property
    def _has_escalated(self) -> bool:
        sizes_b = self._watching.parameters_b
        return sizes_b.get(self._model, 0.0) > sizes_b.get(self._first_model, 0.0)

    def _forget(self) -> None:
        held_bytes, self._held_bytes = self._held_bytes, 0
        self._watching.held_bytes -= held_bytes
        self._parts = None
        self._asked = self._asked._replace(raw=b"")


def _is_wanted(drawn: "Drawn") -> bool:
    return drawn.is_recorded or drawn.is_shadowed


def _model_in(headers: bytes) -> str:
    """The model that answers, for a request that no split was asked about; empty where none was chosen."""
    # The last such line is ours: a server behind us may be a router as well.
    _, line, rest = (b"\r\n" + headers).rpartition(_MODEL_LINE)
    return rest.partition(b"\r\n")[0].decode("ascii", "replace") if line else ""


def _events_in(part: bytes) -> int:
    return part.count(b"data:")
