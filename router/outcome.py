"""Looks into what was seen of one request and says what became of it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from cluster.masking import masked
from cluster.outcomes import Fault, Outcome
from router.need import tokens_in
from router.outcome_answer import Call, Spoken, read_spoken, read_tail
from router.outcome_question import Question, read_question
from router.outcome_record import Record
from router.outcome_refusal import is_refusal
from router.outcome_schema import fits

# Groups that callers name stand in reports: a caller who makes up names must not fill them.
MAX_GROUPS: Final = 64
OTHER_GROUP: Final = "other"
_TEXTS: Final = frozenset({"chat", "code", "json", "tools", "completion"})


class Finding(NamedTuple):
    """What was asked, what was answered, and what became of it."""

    question: Question
    spoken: Spoken
    outcome: Outcome

    @property
    def is_fault(self) -> bool:
        """Whether anything is wrong with the answer."""
        one = self.outcome
        return bool(one.fault or one.is_empty or one.is_truncated or one.is_refused or one.is_malformed)


class Findings:
    """Reads records. Knows the sizes of the models and the groups that have been named so far."""

    def __init__(self, parameters_b: Mapping[str, float]) -> None:
        self._parameters_b = parameters_b
        self._groups: set[str] = set()

    def of(self, record: Record, *, is_shadow: bool = False) -> Finding:
        """Look into one record."""
        asked, drawn = record.asked, record.drawn
        question = read_question(asked)
        if record.parts is not None:
            spoken = read_spoken(record.parts, asked.is_stream)
        elif record.status:
            spoken = read_tail(record.tail, record.events)
        else:
            spoken = Spoken()
        fault: Fault = record.fault or ("error" if spoken.is_broken else "")
        is_text = question.task in _TEXTS
        has_words = bool(spoken.text or spoken.calls or spoken.declined)
        output_tokens = _output_tokens(spoken)
        ttft_s, tpot_s = _times(record, output_tokens)
        prompt_tokens = question.tokens if spoken.prompt_tokens is None else spoken.prompt_tokens
        size_b = self._parameters_b.get(record.model, 0.0)
        outcome = Outcome(
            name=record.model if drawn is None else drawn.split.name,
            rollout_id="" if drawn is None else drawn.split.rollout_id,
            version=0 if drawn is None else drawn.side.version,
            is_canary=drawn is not None and drawn.is_canary,
            is_shadow=is_shadow,
            stratum=question.stratum,
            group=self._group(asked.group),
            fault=fault,
            is_empty=not fault and not has_words and not spoken.has_data,
            is_truncated=not fault and is_text and spoken.finish == "length",
            is_refused=not fault and not spoken.calls and (bool(spoken.declined) or is_refusal(spoken.text)),
            is_malformed=None if fault or record.parts is None else _is_malformed(question, spoken),
            ttft_s=ttft_s,
            tpot_s=None if fault else tpot_s,
            output_tokens=output_tokens,
            has_escalated=record.has_escalated,
            cost=size_b * (prompt_tokens + output_tokens),
        )
        return Finding(question, spoken, outcome)

    def _group(self, named: bytes) -> str:
        group = named.decode("ascii", "replace")
        if not group or group in self._groups:
            return group
        # Whoever calls a group by a phone number means a person, of whom nothing is told.
        if len(self._groups) >= MAX_GROUPS or masked(group) != group:
            return OTHER_GROUP
        self._groups.add(group)
        return group


def _output_tokens(spoken: Spoken) -> int:
    if spoken.output_tokens is not None:
        return spoken.output_tokens
    return spoken.pieces or tokens_in(spoken.text)


def _times(record: Record, output_tokens: int) -> tuple[float | None, float | None]:
    if not record.first_s:
        return None, None
    if not record.asked.is_stream:
        # It came in one piece: whoever asked waited for the last byte.
        return record.last_s - record.started_s, None
    ttft_s = record.first_s - record.started_s
    if output_tokens < 2 or record.last_s <= record.first_s:
        return ttft_s, None
    return ttft_s, (record.last_s - record.first_s) / (output_tokens - 1)


def _is_malformed(question: Question, spoken: Spoken) -> bool | None:
    """Whether the answer has not the form that was asked for; None where none was, or where it cannot be said."""
    if question.tools is not None:
        if not spoken.calls:
            return True if question.must_call else None
        return any(_is_wrong(call, question) for call in spoken.calls)
    if question.task != "json":
        return None
    try:
        value = orjson.loads(spoken.text)
    except orjson.JSONDecodeError:
        return True
    if question.schema is None:
        return False
    is_fitting = fits(value, question.schema)
    return None if is_fitting is None else not is_fitting


def _is_wrong(call: Call, question: Question) -> bool:
    assert question.tools is not None
    if call.name not in question.tools or question.must_name not in ("", call.name):
        return True
    try:
        # A tool without parameters is called with nothing.
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return True
    schema = question.tools[call.name]
    return not isinstance(arguments, dict) or (schema is not None and fits(arguments, schema) is False)
