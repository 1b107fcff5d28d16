"""The tables of a run's page, as rows: what is in them is decided here, how they look in the template."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtests.counting import wilson
from loadtests.judging.figures import Figures, Right
from loadtests.page.words import CUTS, error_words
from loadtests.plan import Plan
from loadtests.plan_file import plan_yaml
from loadtests.records.run import EngineTotals, Run

_MOST_ROWS: Final = 40
"""Of one table: a target that names a thousand models must not make a page of as many lines."""
# Cuts in which a single row says nothing that the whole does not say.
_SHOWN_ALONE: Final = ("model",)
_HUES: Final = ("--c1", "--c2", "--c3", "--c4", "--c5", "--c6")

_ROUTER: Final[Mapping[str, tuple[str, str]]] = {
    "relieved": ("减压改派", "sent to another model because the chosen one was busy"),
    "switches": ("会话换模型", "conversations that went on with another model"),
    "retries": ("重试", "sent again to another engine before the first token"),
    "engine_failures": ("引擎失败", "engines that failed a request"),
    "fallbacks": ("回退到稳定版", "answered by the stable version because the canary failed"),
}

Slices = Mapping[str, Mapping[str, Figures]]


@dataclass(frozen=True, slots=True)
class SliceRow:
    """A part of the requests."""

    name: str
    figures: Figures
    met_low: float
    met_high: float
    """Wilson, 95 %."""


@dataclass(frozen=True, slots=True)
class SliceTable:
    """One way to cut the requests."""

    title_zh: str
    title: str
    rows: tuple[SliceRow, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One kind of error."""

    kind: str
    count: int
    ratio: float
    """Of all requests."""
    words_zh: str
    words: str


@dataclass(frozen=True, slots=True)
class ShareRow:
    """To whom a part of the answers came from."""

    title: str
    answered: int
    shares: tuple[tuple[str, str, float], ...]
    """Model, colour and part."""


@dataclass(frozen=True, slots=True)
class QualityRow:
    """Labelled questions of one part."""

    title: str
    right: Right


def slice_row(name: str, figures: Figures) -> SliceRow:
    """With the interval of its share that met the SLO."""
    return SliceRow(name, figures, *wilson(round(figures.met_ratio * figures.requests), figures.requests))


def slice_tables(slices: Slices) -> list[SliceTable]:
    """Those that say more than the whole does."""
    tables = []
    for cut, titles in CUTS.items():
        parts = slices.get(cut, {})
        if len(parts) > 1 or (parts and cut in _SHOWN_ALONE):
            rows = tuple(slice_row(name, figures) for name, figures in list(parts.items())[:_MOST_ROWS])
            tables.append(SliceTable(*titles, rows, len(parts) - len(rows)))
    return tables


def error_rows(figures: Figures) -> list[ErrorRow]:
    """Most frequent first."""
    found = list(figures.errors.items())[:_MOST_ROWS]
    return [ErrorRow(kind, count, count / figures.requests, *error_words(kind)) for kind, count in found]


def share_rows(whole: Figures, slices: Slices) -> list[ShareRow]:
    """Who answered: all together, and by what the router may have decided by; empty unless there was a choice."""
    hues = {model: _HUES[min(place, len(_HUES) - 1)] for place, model in enumerate(whole.shares)}
    if len(hues) < 2:
        return []
    parts = [("全部 all", whole)]
    for cut in ("difficulty", "language", "level", "kind"):
        own = slices.get(cut, {})
        parts += [(f"{cut}: {name}", figures) for name, figures in own.items() if len(own) > 1]
    return [
        # In one order, so that the same colour stands on the same side.
        ShareRow(title, one.answered, tuple((model, hues[model], one.shares.get(model, 0.0)) for model in hues))
        for title, one in parts
        if one.answered
    ]


def quality_rows(whole: Figures, slices: Slices) -> list[QualityRow]:
    """Right answers, all together and by model, difficulty and language; empty where nothing was labelled."""
    if whole.right is None:
        return []
    rows = [QualityRow("全部 all", whole.right)]
    for cut in ("model", "difficulty", "language"):
        own = slices.get(cut, {})
        rows += [QualityRow(f"{cut}: {name}", one.right) for name, one in own.items() if one.right and len(own) > 1]
    return rows


def engine_rows(run: Run) -> Sequence[EngineTotals]:
    """Those that had to let requests wait longest first."""
    return sorted(run.engines.totals, key=lambda one: (-(one.queue_p99_s or 0.0), one.engine))[:_MOST_ROWS]


def router_rows(totals: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """What the router did beside answering; `totals` as `loadtests.judging.document` counts them."""
    return [(*words, totals[name]) for name, words in _ROUTER.items() if name in totals]


def plan_text(plan: Plan) -> str:
    """The plan as YAML. Names of variables stay, what could be a secret in an address goes."""
    return re.sub(r"://[^\s/@]+@|\?\S+", lambda found: "://…@" if found[0].startswith("://") else "?…", plan_yaml(plan))
