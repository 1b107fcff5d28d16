"""Who hears how a run goes: the process that started the generator, or somebody at a terminal."""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from loadtests.asking.gathering import Total
from loadtests.asking.messages import packed
from loadtests.asking.sample_file import SampleFile
from loadtests.records.tick import Tick

_SAMPLES_TIMEOUT_S: Final = 5.0
_LATE_S: Final = 0.05
_log: Final = logging.getLogger(__name__)


class Parent:
    """Gets one JSON object a line; the samples go to their file. `loadtests.generator` is the other end."""

    def __init__(self, lines: int, samples: SampleFile) -> None:
        """`lines`: a file descriptor."""
        self._lines = lines
        self._samples = samples

    def connected(self, workers: int) -> None:
        """So many workers are there; the load has not begun."""
        self._say({"workers": workers})

    def began(self, unix_s: float, workers: int) -> None:
        """All is prepared: second 0 is then."""
        self._say({"began_unix_s": unix_s, "workers": workers})

    def samples(self, lines: bytes) -> None:
        """Lines of samples.jsonl."""
        self._samples.append(lines)

    def ticks(self, ticks: Sequence[Tick]) -> None:
        """Seconds of all workers together."""
        self._say({"ticks": [list(tick) for tick in ticks]})

    def over(self, total: Total) -> None:
        """The end."""
        trouble = self._samples.close(_SAMPLES_TIMEOUT_S)
        document = {
            "outcome": "failed" if trouble else total.outcome,
            "message": " ".join(filter(None, (f"{trouble}." if trouble else "", total.message))),
            "saturated_at_s": total.saturated_at_s,
            "gaps": packed(total.gaps),
            "workers": total.workers,
        }
        self._say({"over": document})

    def failed(self, text: str, *, is_users: bool) -> None:
        """The end, by an error."""
        self._samples.close(_SAMPLES_TIMEOUT_S)
        self._say({"failed": {"text": text, "is_users": is_users}})

    def _say(self, document: dict[str, Any]) -> None:
        line = orjson.dumps(document) + b"\n"
        # Nobody listens any more: the samples are still kept, and the end is near.
        with suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._lines, line) :]


class Terminal:
    """For `locust --plan FILE --stages`: locust shows the figures itself."""

    def began(self, unix_s: float, workers: int) -> None:
        """All is prepared."""
        _log.info("The plan's stages begin, sent by %d workers", workers)

    def samples(self, lines: bytes) -> None:
        """Not kept: `fenzhen loadtest run` does that."""

    def ticks(self, ticks: Sequence[Tick]) -> None:
        """Shown where the generator itself is late, as figures are not to be trusted then."""
        for tick in ticks:
            if tick.lag_max_s > _LATE_S:
                _log.warning("second %d: a request was sent %.0f ms late", tick.at_s, tick.lag_max_s * 1000)

    def over(self, total: Total) -> None:
        """The end."""
        _log.info("%s", f"The plan is over: {total.outcome}. {total.message}".rstrip())

    def failed(self, text: str, *, is_users: bool) -> None:
        """The end, by an error."""
        _log.error("The plan has failed: %s", text)
