"""Gates: conditions that a version's results have to meet, written as people say them: `accuracy >= 0.9`."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

from cluster.errors import UserError
from registry.versions import Gate

_COMPARED: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GATE: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(>=|<=|>|<)\s*(\S+)\s*")


def gate_of(text: str, results: Mapping[str, float]) -> Gate:
    """Look whether results meet a condition; a result that is missing does not. Raises UserError."""
    match = _GATE.fullmatch(text)
    bound = _number(match[3]) if match else None
    if match is None or bound is None:
        raise UserError(
            f"{text!r} is no condition; write a result's name, >=, <=, > or <, and a number: accuracy >= 0.9"
        )
    metric, sign, _ = match.groups()
    value = results.get(metric)
    is_passed = value is not None and math.isfinite(value) and _COMPARED[sign](value, bound)
    return Gate(metric, f"{sign} {bound:g}" if float(f"{bound:g}") == bound else f"{sign} {bound!r}", value, is_passed)


def result_of(text: str) -> tuple[str, float]:
    """A result as it is given to a command, `accuracy=0.93`. Raises UserError."""
    metric, mark, written = text.partition("=")
    value = _number(written)
    if not mark or not metric.strip() or value is None:
        raise UserError(f"{text!r} is no result; write its name, = and a number: accuracy=0.93")
    return metric.strip(), value


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
