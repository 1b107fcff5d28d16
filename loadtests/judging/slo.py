"""Whether what callers were promised was kept, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.counting import wilson
from loadtests.judging.columns import Columns
from loadtests.plan import Slo
from loadtests.records.sample import Sample


@dataclass(frozen=True, slots=True)
class Verdict:
    """The SLO and what became of it. Shares are of all requests due, those with errors included."""

    is_met: bool | None
    """None: the interval holds the share that was promised, so there are too few requests to tell."""
    met_ratio: float
    low_ratio: float
    """Wilson, 95 %. It takes requests as independent; neighbours in one queue are not, so it is rather too narrow."""
    high_ratio: float
    requests: int
    sentence: str
    """For a person: what was promised, what was kept, how sure."""


def meets(sample: Sample, slo: Slo) -> bool:
    """Whether one request got what was promised. One that was not sent, or came to an error, did not."""
    if sample.error:
        return False
    first_s, whole_s = sample.first_s, sample.whole_s
    if slo.ttft_s is not None and (first_s is None or first_s > slo.ttft_s):
        return False
    if slo.tpot_s is not None and sample.tpot_s is not None and sample.tpot_s > slo.tpot_s:
        return False
    return slo.e2e_s is None or (whole_s is not None and whole_s <= slo.e2e_s)


def verdict(samples: Sequence[Sample], slo: Slo) -> Verdict:
    """Of samples without those of a warm-up."""
    return verdict_on(sum(meets(sample, slo) for sample in samples), len(samples), slo)


def verdict_from(columns: Columns, slo: Slo) -> Verdict:
    """The same from columns."""
    return verdict_on(int(columns.met(slo).sum()), len(columns), slo)


def verdict_on(met: int, requests: int, slo: Slo) -> Verdict:
    """The same from counts."""
    low, high = wilson(met, requests)
    is_met = True if low >= slo.share_ratio else False if high < slo.share_ratio else None
    ratio = met / requests if requests else 0.0
    return Verdict(is_met, ratio, low, high, requests, _sentence(is_met, ratio, low, high, requests, slo))


def promise_of(slo: Slo) -> str:
    """What was promised, in words: 99 % of the requests have their first token within 0.5 s."""
    limits = [
        f"{words} {limit:g} s"
        for words, limit in (
            ("have their first token (unstreamed: the whole answer) within", slo.ttft_s),
            ("need at most, per further token,", slo.tpot_s),
            ("are answered whole within", slo.e2e_s),
        )
        if limit is not None
    ]
    return f"{_percent(slo.share_ratio)} of the requests {' and '.join(limits) or 'are answered without an error'}"


def _sentence(is_met: bool | None, ratio: float, low: float, high: float, requests: int, slo: Slo) -> str:
    promise = f"Promised: {promise_of(slo)}."
    if not requests:
        return f"{promise} There was no request, so nothing can be told."
    kept = f"Kept for {_percent(ratio)} of {requests:,} (95 % interval {_percent(low)} to {_percent(high)})"
    match is_met:
        case True:
            return f"{promise} {kept}: met."
        case False:
            return f"{promise} {kept}: NOT met."
        case None:
            return f"{promise} {kept}: too few requests to tell, the interval holds {_percent(slo.share_ratio)}."


def _percent(ratio: float) -> str:
    # Rounded to the nearest, 99.996 % would read as 100 %, which it is not.
    shown = f"{100 * ratio:.2f}".rstrip("0").rstrip(".")
    if shown == "100" and ratio < 1:
        shown = "99.99"
    return f"{shown} %"
