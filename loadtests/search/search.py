"""The search itself: probes until the safe rate is known, then points below it, then overloads beyond it.

It does no I/O: `test` puts a plan's load on what is tested and gives back the run, under the name of its folder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cluster.errors import FenzhenError
from loadtests.plan import Plan
from loadtests.records.run import Run
from loadtests.records.sample import ERRORS
from loadtests.search.beyond import beyond_of, beyond_plan
from loadtests.search.knee import Load, Point, collapse_of, knee_of
from loadtests.search.probe import Met, judged, plan_of, seen_of, shape_of, took_s, warm_up_s
from loadtests.search.report import Beyond, Ending, Found, ProbeReport, ProbeWhy, SearchReport
from loadtests.search.seeker import Aim, Done, Probe, Seen, next_step, probe_s_at, rounded
from loadtests.search.words import sentences_of

Test = Callable[[Plan, str], Run]
BEYOND: Final = "beyond"
"""The folder of the run with overloads."""
# Of the safe rate: the flat part of the curve, without which there is no knee to see.
_BELOW: Final = (0.25, 0.5, 0.75)
_NEAR: Final = 1.1


# What no lower rate mends.
_HOPELESS: Final = {
    "http_400": "the request is not understood",
    "http_401": "the key is wrong or missing",
    "http_403": "the key may not do this",
    "http_404": "there is no such model or no such address",
    **{kind: ERRORS[kind] for kind in ("refused", "no_tokens", "unreadable")},
}


class _Stopped(Exception):
    """A run ended in a way that ends the search."""

    def __init__(self, ending: Ending, message: str) -> None:
        super().__init__(message)
        self.ending: Ending = ending


@dataclass
class Search:
    """One search, as it goes on."""

    plan: Plan
    aim: Aim
    test: Test
    tell: Callable[[SearchReport], None] = lambda _: None
    """Called after each run with what is known by then."""
    runs: dict[str, Run] = field(default_factory=dict)
    """All runs, by the names of their folders."""
    _probes: list[ProbeReport] = field(default_factory=list)
    _seen: list[Seen] = field(default_factory=list)
    _together: dict[float, Met] = field(default_factory=dict)
    _beyond: tuple[Beyond, ...] = ()
    _done: Done | None = None
    _stopped: tuple[Ending, str] | None = None
    _note: str = ""

    def run(self) -> SearchReport:
        """Search. An interrupt, or something that fails on the way, ends it with what is known by then.

        Raises UserError for a plan that has no rate to search, and what `test` raises before there is anything known.
        """
        shape_of(self.plan)
        try:
            self._seek()
            self._look_around()
        except _Stopped as stopped:
            self._stopped = (stopped.ending, str(stopped))
        except KeyboardInterrupt:
            self._stopped = ("interrupted", "")
        except FenzhenError as error:
            if not self._probes:
                raise
            self._stopped = ("failed", str(error))
        return self.report()

    def report(self) -> SearchReport:
        """What is known by now."""
        done = self._done or _so_far(self._seen)
        reason: Ending = done.reason if self._done else "interrupted"
        first = next(iter(self.runs.values()), None)
        ending, message = self._stopped or (reason, self._note)
        loads = [
            Load(one.rate_per_s, one.first_p90_s, one.met_ratio, one.saturated_at_s is not None) for one in self._probes
        ]
        over = [Load(one.rate_per_s, one.first_p50_s, one.met_ratio, is_cut=False) for one in self._beyond]
        safe = done.safe_per_s
        goodputs = [one.goodput_rps for one in self._probes if one.rate_per_s == safe]
        report = SearchReport(
            plan=self.plan.name,
            shape=shape_of(self.plan).kind,
            slo=self.plan.slo,
            precision_ratio=self.aim.precision_ratio,
            started_unix_s=first.about.started_unix_s if first else 0.0,
            took_s=round(self._used_s(), 3),
            target_url=first.about.target_url if first else "",
            tested=first.about.tested if first else "",
            ending=ending,
            message=message,
            probes=tuple(self._probes),
            safe_per_s=safe,
            failed_per_s=done.failed_per_s,
            is_confirmed=done.is_confirmed,
            is_sure=done.is_sure,
            is_at_least=safe is not None and done.failed_per_s is None,
            goodput_rps=sum(goodputs) / len(goodputs) if goodputs else None,
            knee=_found(knee_of(loads)),
            collapse=_found(collapse_of([*loads, *over], safe) if safe else Point(None, "no load is safe")),
            beyond=self._beyond,
            beyond_run=BEYOND if BEYOND in self.runs else None,
            sentences=(),
        )
        return report.model_copy(update={"sentences": tuple(sentences_of(report))})

    def _seek(self) -> None:
        # What comes after is part of what was asked for: it gets its time, up to half of all.
        reserved_s = min(self._after_s(), self.aim.most_s / 2)
        aim = replace(self.aim, most_s=self.aim.most_s - reserved_s)
        while isinstance(step := next_step(aim, self._seen), Probe):
            report, together = self._probe(step.rate_per_s, step.seconds, step.why)
            self._seen.append(seen_of(report, together, self.plan.slo))
            self.tell(self.report())
        self._done = step

    def _look_around(self) -> None:
        done = self._done
        if done is None or done.safe_per_s is None:
            return
        for ratio in _BELOW:
            rate = rounded(ratio * done.safe_per_s)
            is_known = any(rate / _NEAR <= one.rate_per_s <= rate * _NEAR for one in self._probes)
            seconds = probe_s_at(self.aim, rate)
            takes_s = warm_up_s(self.aim.probe_s) + seconds
            if not is_known and self._left_s() >= takes_s + self._beyond_s():
                self._probe(rate, seconds, "curve")
                self.tell(self.report())
        if done.failed_per_s is None:
            self._note = "What happens beyond was not looked at: the border was not reached."
        elif self._left_s() < self._beyond_s():
            self._note = "What happens beyond was not looked at: the time was up."
        else:
            self._overload(done.safe_per_s)

    def _probe(self, rate_per_s: float, seconds: float, why: ProbeWhy) -> tuple[ProbeReport, Met]:
        number = len(self._probes) + 1
        name = f"{number:02d}-{rate_per_s:g}-per-s"
        plan = plan_of(self.plan, rate_per_s, seconds, warm_up_s(self.aim.probe_s), number)
        run = self._tested(plan, name)
        report, together = judged(run, name, why, rate_per_s, self._together.get(rate_per_s, Met()))
        self._together[rate_per_s] = together
        self._probes.append(report)
        if sum(report.errors.values()) == report.requests and (error := next(iter(report.errors), "")) in _HOPELESS:
            raise _Stopped("failed", f"not one request was answered at {rate_per_s:g}/s: {error}, {_HOPELESS[error]}.")
        return report, together

    def _overload(self, safe_per_s: float) -> None:
        run = self._tested(beyond_plan(self.plan, safe_per_s, self.aim.probe_s, len(self._probes) + 1), BEYOND)
        self._beyond = beyond_of(run, safe_per_s)
        self.tell(self.report())

    def _tested(self, plan: Plan, name: str) -> Run:
        run = self.test(plan, name)
        self.runs[name] = run
        if run.about.outcome == "interrupted":
            raise _Stopped("interrupted", "")
        if run.about.outcome == "failed":
            raise _Stopped("failed", run.about.message or f"the run {name} failed")
        return run

    def _used_s(self) -> float:
        return sum(took_s(run) for run in self.runs.values())

    def _left_s(self) -> float:
        return self.aim.most_s - self._used_s()

    def _beyond_s(self) -> float:
        return beyond_plan(self.plan, 1.0, self.aim.probe_s, 0).seconds

    def _after_s(self) -> float:
        return self._beyond_s() + len(_BELOW) * (self.aim.probe_s + warm_up_s(self.aim.probe_s))


def search(
    plan: Plan, aim: Aim, test: Test, tell: Callable[[SearchReport], None] = lambda _: None
) -> tuple[SearchReport, Mapping[str, Run]]:
    """The highest rate at which the plan's promise is kept, and all runs by the names of their folders.

    See `Search.run`."""
    one = Search(plan, aim, test, tell)
    return one.run(), one.runs


def _so_far(seen: list[Seen]) -> Done:
    """What is known in the middle of a search."""
    # Nothing more is to be tried: then the answer is what there is.
    step = next_step(Aim(start_per_s=1.0, most_probes=0), seen)
    assert isinstance(step, Done)
    return step


def _found(point: Point) -> Found:
    return Found(rate_per_s=point.rate_per_s, reason=point.reason)
