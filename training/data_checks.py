"""What rows may not be, row by row and against each other, and what the recipe wants done about it.

Each check takes rows and gives back those that go on, with a finding for every other: nothing is dropped in silence.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from cluster.masking import masked
from training.data_findings import Finding, Severity
from training.data_items import Item
from training.data_tokens import TokenCounter
from training.near_duplicates import near_duplicates, plain
from training.rows import Message, Preference, Row

Policy = Literal["refuse", "leave_out"]
Measured = Literal["near_held_out", "near_general"]

_ASKED: Final[dict[Measured, tuple[str, str]]] = {
    "near_held_out": ("in the held-out part", "held-out"),
    "near_general": ("among the everyday questions that are asked", "everyday question at"),
}
_TOKEN: Final = re.compile(r"\[([a-z]+)\]")


class Judged(NamedTuple):
    """What a check leaves, and what it found."""

    items: list[Item]
    findings: list[Finding]


def without_personal_data(items: Iterable[Item], policy: Literal["refuse", "mask", "leave_out", "allow"]) -> Judged:
    """Look for personal data, in groups' names as well. A finding names its kinds and never the text."""
    judged = Judged([], [])
    masks = _Masks()
    for item in items:
        row, kinds = (item.row, "") if policy == "allow" else masks.of(item.row)
        if not kinds:
            judged.items.append(item)
            continue
        match policy:
            case "mask":
                judged.items.append(dataclasses.replace(item, row=row))
                judged.findings.append(item.found("masked", "personal_data", f"personal data was masked: {kinds}"))
            case "leave_out":
                judged.findings.append(item.found("left_out", "personal_data", f"it has personal data: {kinds}"))
            case _:
                # It goes on, so that all else that is wrong with it is told at once.
                judged.items.append(item)
                says = f"it has personal data: {kinds}; take it out, or set data.personal_data to mask or leave_out"
                judged.findings.append(item.found("error", "personal_data", says))
    return judged


class _Masks:
    """Masked rows. A text that stands in many, as a system prompt does, is looked at once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, frozenset[str]]] = {}
        self._groups: dict[str, str] = {}

    def of(self, row: Row | Preference) -> tuple[Row | Preference, str]:
        """The row without personal data, and the kinds of what it had."""
        kinds: set[str] = set()

        def clean(text: str) -> str:
            fresh, found = self._masked(text)
            kinds.update(found)
            return fresh

        group = row.group
        if clean(group) != group:
            # Masked names would be one: groups of two people would become one group.
            group = self._groups.setdefault(group, f"[group-{len(self._groups) + 1}]")
        match row:
            case Row():
                messages = tuple(Message(message.role, clean(message.content)) for message in row.messages)
                fresh: Row | Preference = dataclasses.replace(row, messages=messages, group=group)
            case Preference():
                prompt = tuple(Message(message.role, clean(message.content)) for message in row.prompt)
                fresh = dataclasses.replace(
                    row, prompt=prompt, chosen=clean(row.chosen), rejected=clean(row.rejected), group=group
                )
        return fresh, ", ".join(sorted(kinds))

    def _masked(self, text: str) -> tuple[str, frozenset[str]]:
        if text not in self._known:
            fresh = masked(text)
            new = Counter(_TOKEN.findall(fresh)) - Counter(_TOKEN.findall(text))
            self._known[text] = fresh, frozenset(new or ["other"]) if fresh != text else frozenset()
        return self._known[text]


def counted(items: Iterable[Item], tokens: TokenCounter) -> list[Item]:
    """The rows with how many tokens they have."""
    return [_counted(item, tokens) for item in items]


def _counted(item: Item, tokens: TokenCounter) -> Item:
    prompt = tokens(item.row.prompt)
    whole = max(tokens((*item.row.prompt, Message("assistant", answer))) for answer in item.answers)
    return dataclasses.replace(item, prompt_tokens=prompt, answer_tokens=max(0, whole - prompt))


def short_enough(items: Iterable[Item], max_tokens: int, policy: Policy, kind: str) -> Judged:
    """Rows of at most `max_tokens`. `kind` is what those that have more are called."""
    judged = Judged([], [])
    for item in items:
        count = item.prompt_tokens + item.answer_tokens
        if count <= max_tokens:
            judged.items.append(item)
            continue
        says = f"it has {count:,} tokens, template included, and data.max_tokens is {max_tokens:,}"
        if policy == "refuse":
            judged.items.append(item)
            says += "; shorten it, raise max_tokens, or set data.too_long to leave_out"
        judged.findings.append(item.found(_severity(policy), kind, says))
    return judged


def said_once(items: Iterable[Item], policy: Policy) -> Judged:
    """Each row once, the first one; and a warning where one question has answers that differ."""
    judged = Judged([], [])
    first: dict[tuple[str, ...], Item] = {}
    asked: dict[str, Item] = {}
    for item in items:
        prompt = item.prompt_key
        key = (prompt, *(plain(answer) for answer in item.answers))
        turned = (prompt, *key[:0:-1])
        if key in first:
            says = f"the same row stands at {first[key].where}"
            if policy == "refuse":
                says += "; take one out, or set data.duplicates to leave_out"
            judged.findings.append(item.found(_severity(policy), "duplicate", says))
            continue
        first[key] = item
        judged.items.append(item)
        other = asked.setdefault(prompt, item)
        if isinstance(item.row, Row) and other is not item:
            says = f"the same question has another answer at {other.where}; which one is right?"
            judged.findings.append(item.found("warning", "contradiction", says))
        elif isinstance(item.row, Preference) and turned in first:
            says = f"the same two answers are judged the other way round at {first[turned].where}"
            judged.findings.append(item.found("warning", "contradiction", f"{says}; which one is right?"))
    return judged


def apart_from(
    train: Sequence[Item], asked: Sequence[Item], policy: Policy, kind: Measured = "near_held_out"
) -> Judged:
    """Training rows whose question does not stand, or nearly so, among those asked: `kind` says which those are."""
    judged = Judged([], [])
    whole, one = _ASKED[kind]
    found = near_duplicates([item.question for item in train], [item.question for item in asked])
    for item, near in zip(train, found, strict=True):
        if near is None:
            judged.items.append(item)
            continue
        says = f"its question stands {whole}, at {asked[near.held_out].where}"
        if near.similarity < 1:
            says = f"its question is nearly that of the {one} {asked[near.held_out].where} ({near.similarity:.2f})"
        if policy == "refuse":
            says += "; take one out, or set data.duplicates to leave_out"
        judged.findings.append(item.found(_severity(policy), kind, says))
    return judged


def shared_groups(train: Sequence[Item], held_out: Sequence[Item]) -> list[Finding]:
    """Groups that stand on both sides, which a split never does: one side, or a part of it, was given by hand."""
    first = {item.row.group: item for item in reversed(train) if item.row.group}
    findings: dict[str, Finding] = {}
    for item in held_out:
        group = item.row.group
        if group in first and group not in findings:
            says = f"its group stands in the training rows as well, at {first[group].where}; keep it on one side"
            findings[group] = item.found("error", "shared_group", says)
    return list(findings.values())


def not_trained_on(general: Sequence[Item], train: Sequence[Item]) -> Judged:
    """Everyday questions that are not among the training rows: what is trained on shows no forgetting."""
    judged = Judged([], [])
    known = {item.question: item for item in reversed(train)}
    for item in general:
        if item.question in known:
            says = f"this everyday question is trained on, at {known[item.question].where}, and shows no forgetting"
            judged.findings.append(item.found("left_out", "general_in_training", says))
        else:
            judged.items.append(item)
    return judged


def _severity(policy: Policy) -> Severity:
    return "error" if policy == "refuse" else "left_out"
