"""What one worker has sent and got back: lines of samples not yet handed on, and the counts of the running second."""

from loadtests.records.sample import Sample, as_line
from loadtests.records.tick import Tick
from loadtests.workload.turn import Turn


class Ledger:
    """Counts are of the second that is open; `close_second` closes it. No clock of its own."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Sent and not yet answered."""
        self.unsettled = 0
        """In flight when the test was interrupted: what became of them is not known, so they have no sample."""
        self._lines: list[bytes] = []
        self._due = 0
        self._sent = 0
        self._done = 0
        self._errors = 0
        self._lag_max_s = 0.0
        self._pieces = 0

    def due(self) -> None:
        """A request's moment has come."""
        self._due += 1

    def sent(self, lag_s: float) -> None:
        """It goes out, so long after it was due."""
        self._sent += 1
        self.in_flight += 1
        if lag_s > self._lag_max_s:
            self._lag_max_s = lag_s

    def settled(self, sample: Sample) -> None:
        """One that was sent has been answered or has failed."""
        self.in_flight -= 1
        self._keep(sample)

    def kept_back(self, sample: Sample) -> None:
        """One that was due has not been sent."""
        self._keep(sample)

    def dropped(self) -> None:
        """One that was sent is given up without a word on it."""
        self.in_flight -= 1
        self.unsettled += 1

    def close_second(self, at_s: int, cpu_ratio: float, pieces: int) -> tuple[bytes, Tick]:
        """The lines since the last call, and the second's counts; `pieces`: of streams, since the run began."""
        lines = b"".join(self._lines)
        tick = Tick(
            at_s, self._due, self._sent, self._done, self._errors, self.in_flight, round(self._lag_max_s, 6),
            round(cpu_ratio, 3), pieces - self._pieces,
        )  # fmt: skip
        self._lines.clear()
        self._due = self._sent = self._done = self._errors = 0
        self._lag_max_s = 0.0
        self._pieces = pieces
        return lines, tick

    def _keep(self, sample: Sample) -> None:
        self._done += 1
        if sample.error:
            self._errors += 1
        # At once, and not all together at the end of the second: that would be a pause in which nothing is sent.
        self._lines.append(as_line(sample))


def unanswered(turn: Turn, stage: int, worker: int, at_s: float, lag_s: float, error: str) -> Sample:
    """The sample of a request of which nothing is known but that it failed in the generator's own hands."""
    return Sample(
        at_s=at_s, lag_s=lag_s, stage=stage, worker=worker, kind=turn.kind, turn=turn.turn, person=turn.person,
        question=turn.question, language=turn.language, difficulty=turn.difficulty, tenant=turn.tenant,
        level=turn.level, asked=turn.asked, answered_by="", reason="", status=0, error=error, ttft_s=None, tpot_s=None,
        e2e_s=None, max_itl_s=None, prompt_tokens=0, completion_tokens=0, cached_tokens=None, finish="", tool_calls=0,
        is_right=None,
    )  # fmt: skip
