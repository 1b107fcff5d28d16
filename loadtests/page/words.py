"""Figures and names as people read them, in Chinese and English."""

import datetime
from collections.abc import Mapping
from typing import Final

from loadtests.records.sample import ERRORS

NONE: Final = "–"

CUTS: Final[Mapping[str, tuple[str, str]]] = {
    "stage": ("按阶段", "By stage"),
    "model": ("按模型", "By the model that answered"),
    "level": ("按紧急程度", "By urgency"),
    "tenant": ("按租户", "By tenant"),
    "kind": ("按方式", "By kind"),
    "language": ("按语言", "By language"),
    "difficulty": ("按难度", "By difficulty"),
}
_ERRORS_ZH: Final[Mapping[str, str]] = {
    "refused": "连接不上",
    "reset": "回答中途连接断开",
    "timeout": "等待超时",
    "stream_error": "流中报错",
    "no_tokens": "回答为空",
    "unreadable": "回答不合接口规范",
    "not_sent": "在途请求已达上限，未发出",
}
_STATUS: Final[Mapping[str, tuple[str, str]]] = {
    "429": ("被限流", "the server limits how much one may ask"),
    "500": ("服务器内部错误", "a bug or a broken part of the server"),
    "502": ("上游失败", "what stands behind the server failed"),
    "503": ("服务暂不可用", "the server could not take it: overloaded, or nothing behind it was healthy"),
    "504": ("上游超时", "what stands behind the server did not answer in time"),
}
DEFINITIONS: Final = (
    (
        "首字时间 First token, as felt",
        "From the moment a request was due to its first token (text or tool call); of an answer that is not streamed, "
        "to its last byte. The SLO is judged on it: what the generator itself was late by is included.",
    ),
    ("TTFT", "From sent to the first token; streams only. What most public tools report."),
    ("TPOT", "(Last token - first token) / (tokens - 1), by the server's own count of tokens; streams only."),
    ("ITL", "Every single gap between two pieces of a stream."),
    ("端到端 e2e", "From sent to the last byte."),
    (
        "到达率 Offered",
        "Requests due a second by the plan, sent or not: in an open loop it does not depend on how fast the server is.",
    ),
    ("有效吞吐 Goodput", "Answers a second that meet every limit of the SLO and have no error."),
    ("达标率 Met", "Part of all requests due that meet the SLO; errors and what was not sent do not."),
    (
        "发送延迟 Lag",
        "Sent minus due: what the generator itself added. Where it is not small, the generator is being measured.",
    ),
    (
        "区间 Interval",
        "Wilson's interval of a share, 95 %. It takes requests as independent; those that wait in one queue are not, "
        "so it is rather too narrow.",
    ),
    (
        "p50, p90, p99",
        "Half, 90 % and 99 % of the requests took no longer; interpolated. Grey and slanted: of fewer than 100 "
        "requests, so rather the slowest than a percentile.",
    ),
)


def duration(value_s: float | None) -> str:
    """Three digits and a unit: 0.42 ms, 83 ms, 1.52 s."""
    if value_s is None:
        return NONE
    if value_s < 0.9995:
        return f"{_three(value_s * 1000)} ms"
    return f"{_three(value_s)} s"


def number(value: float | None) -> str:
    """Three digits, or all before the point."""
    return NONE if value is None else _three(value)


def rate(value: float | None) -> str:
    """So many a second."""
    return NONE if value is None else f"{_three(value)}/s"


def percent(ratio: float | None) -> str:
    """A share; never 100 % or 0 % where something is missing from it."""
    if ratio is None:
        return NONE
    if ratio in (0, 1):
        return f"{100 * ratio:.0f} %"
    shown = f"{100 * ratio:.1f}"
    return {"100.0": "99.9 %", "0.0": "<0.1 %"}.get(shown, f"{shown} %")


def count(value: float) -> str:
    """With thousands apart."""
    return f"{value:,.0f}"


def moment(unix_s: float) -> str:
    """A date that means the same wherever the page is read."""
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(seconds: float) -> str:
    """Seconds, or minutes and hours where there are many."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def error_words(kind: str) -> tuple[str, str]:
    """What a kind of error means, Chinese and English."""
    if kind in ERRORS:
        return _ERRORS_ZH.get(kind, ""), ERRORS[kind]
    status = kind.removeprefix("http_")
    return _STATUS.get(status, ("HTTP 状态 " + status, f"the server answered with status {status}"))


def _three(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 9.995 else 2
    shown = f"{value:.{digits}f}"
    return shown.rstrip("0").rstrip(".") if value == int(value) else shown


NOT_MEASURED: Final = "未测量 not measured"
