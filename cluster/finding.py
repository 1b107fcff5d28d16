"""What one check found, in words and as a verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]
_ORDER: tuple[Verdict, ...] = ("ok", "warn", "fail")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `fenzhen doctor`."""

    name: str
    """What was looked at, in one or two words."""
    verdict: Verdict
    """warn: it runs, but slower or with less than asked. fail: a start would not end well."""
    fact: str
    """What is the case, with figures."""
    remedy: str | None = None
    """What to do about it; None where there is nothing to do."""


def worst(findings: Iterable[Finding]) -> Verdict:
    """The gravest verdict; ok for none."""
    return max((finding.verdict for finding in findings), key=_ORDER.index, default="ok")
