"""What a search has found, in sentences for somebody who has to decide about a peak day."""

from collections.abc import Iterator

from loadtests.judging.slo import promise_of
from loadtests.search.report import Beyond, SearchReport

_ENDINGS = {
    "probes": "The search ended before that because it had made as many probes as it may.",
    "time": "The search ended before that because its time was up; --max-minutes gives it more.",
    "interrupted": "The search was interrupted: this is what was known by then.",
}


def sentences_of(report: SearchReport) -> Iterator[str]:
    """The first says which load is safe."""
    yield _safe(report)
    if report.safe_per_s is not None:
        yield from _certainty(report)
    if report.ending == "failed":
        yield f"The search ended early: {report.message}"
    elif report.ending in _ENDINGS:
        yield _ENDINGS[report.ending]
    if report.safe_per_s is None:
        return
    if report.knee.rate_per_s is None:
        yield f"No knee was seen: {report.knee.reason}."
    else:
        yield f"The knee lies at {_rate(report.knee.rate_per_s)}: {report.knee.reason}."
    for one in report.beyond:
        yield from _beyond(one)
    if not report.beyond and report.message and report.ending != "failed":
        yield report.message
    if report.collapse.rate_per_s is not None:
        yield f"Goodput collapses at {_rate(report.collapse.rate_per_s)}: {report.collapse.reason}."
    elif report.beyond:
        yield f"Goodput does not collapse: {report.collapse.reason}."


def _safe(report: SearchReport) -> str:
    promise = promise_of(report.slo)
    if report.safe_per_s is None:
        if not report.probes:
            return "Nothing was tried."
        least = min(probe.rate_per_s for probe in report.probes)
        if report.ending == "nothing_holds":
            return f"No load keeps the promise: even at {_rate(least)} it is broken. Promised: {promise}."
        return f"No load that keeps the promise was found; the lowest that was tried is {_rate(least)}."
    safe = _rate(report.safe_per_s)
    if report.ending == "generator":
        return (
            f"At least {safe} keep the promise ({promise}); beyond that the generator is the limit, not the server: "
            "give it more processes or workers."
        )
    if report.is_at_least:
        return f"At least {safe} keep the promise ({promise}); no higher rate was seen to break it."
    return f"Up to {safe} the promise is kept: {promise}."


def _certainty(report: SearchReport) -> Iterator[str]:
    if report.failed_per_s is not None and not report.is_at_least:
        yield f"The border lies between {report.safe_per_s:.3g} and {_rate(report.failed_per_s)}."
    if not report.is_sure:
        yield (
            "That it is kept there is likely, not sure: the share was as large as promised, but among too few requests "
            "to tell; longer probes (--probe-seconds) would."
        )
    elif not report.is_confirmed:
        yield "It was kept there in one probe only, which may be luck."


def _beyond(one: Beyond) -> Iterator[str]:
    failed = sum(one.errors.values())
    errors = f", {failed / one.requests:.1%} fail" if failed else ", none fails"
    first = "" if one.first_p50_s is None else f"; the median first token comes after {_seconds(one.first_p50_s)}"
    yield (
        f"At {one.times:g} times that ({_rate(one.rate_per_s)}) for {one.seconds:.0f} s, {one.met_ratio:.0%} are in "
        f"time ({one.goodput_rps:.3g} a second){errors}{first}."
    )
    if one.recovery_s is None:
        yield (
            f"Afterwards, at {_rate(one.after_per_s)}, the promise was not kept again within the {one.watched_s:.0f} s "
            "that were looked at."
        )
    elif one.recovery_s == 0:
        yield f"Afterwards, at {_rate(one.after_per_s)}, the promise is kept again at once."
    else:
        yield f"Afterwards, at {_rate(one.after_per_s)}, the promise is kept again after {one.recovery_s:.0f} s."


def _rate(per_s: float) -> str:
    return f"{per_s:.3g} requests/s" if per_s < 1000 else f"{per_s:,.0f} requests/s"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
