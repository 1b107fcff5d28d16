"""What is measured at an engine, from outside, so that a timing can be fitted to it."""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtests.rehearsal.hearing import Engine, Heard
from loadtests.rehearsal.timing import Limits

Say = Callable[[str], None]
_PROMPTS: Final = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_BATCHES: Final = (1, 2, 4, 6, 8, 12, 16)
_SHORT: Final = 32
_LONG: Final = 4096
# The long contexts of one batch may take so long to compute: what is measured are the answers behind them.
_PREFILL_S: Final = 4.0
_REPEATS: Final = 3
_DECODE_TOKENS: Final = 32
# Fewer gaps than these tell nothing.
_LEAST_GAPS: Final = 8
_MIXED: Final = (64, 256, 512)
_MIXED_DECODERS: Final = 4
_MIXED_VISITS: Final = 5
# Before each visitor, at most: so that he comes at any moment of a step, and not always at its end.
_MIXED_PAUSE_S: Final = 0.1
# Every vocabulary has these, and they are no tokens with a meaning of their own.
_LOWEST_ID: Final = 1000
_HIGHEST_ID: Final = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """A time that was measured, and what it consisted of: one equation of the fit."""

    what: str
    seconds: float
    overheads: int = 0
    """1: a request's overhead is in it."""
    steps: float = 1
    prefill_tokens: float = 0
    prefill_pairs: float = 0
    sequences: float = 0
    context_tokens: float = 0


@dataclass(slots=True)
class Measured:
    """All that a fit needs."""

    rows: list[Row] = field(default_factory=list)
    gaps: list[list[float]] = field(default_factory=list)
    """Of single streams while nothing else changed, for the noise."""


async def measure(engine: Engine, limits: Limits, seed: int, say: Say, budget_s: float) -> Measured:
    """Ask in each of the ways below; none is begun once the budget is used up. Raises Unavailable, UserError."""
    prompts = Prompts(seed)
    measured = Measured()
    end_s = time.perf_counter() + budget_s
    # The first answer pays for what is loaded late.
    await asyncio.gather(*(engine.ask(prompts.of(64), 8) for _ in range(2)))
    say("one request at a time, prompts of several lengths")
    singles = await _singles(engine, limits, prompts, end_s)
    measured.rows += singles
    say("prompts that come while others are answered")
    measured.rows += await _mixed(engine, limits, prompts, end_s)
    say("answers side by side, short and long contexts")
    affordable = _PREFILL_S / singles[-1].seconds * singles[-1].prefill_tokens
    await _decodes(engine, limits, prompts, measured, round(affordable), end_s)
    return measured


class Prompts:
    """Prompts by length, no two with the same beginning: no prefix cache helps."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - made-up prompts

    def of(self, tokens: int) -> list[int]:
        """One of so many tokens."""
        return [self._random.randrange(_LOWEST_ID, _HIGHEST_ID) for _ in range(tokens)]

    def up_to(self, seconds: float) -> float:
        """A pause by lot."""
        return self._random.uniform(0, seconds)


async def _singles(engine: Engine, limits: Limits, prompts: Prompts, end_s: float) -> list[Row]:
    rows = []
    for tokens in _PROMPTS:
        if tokens > limits.max_model_len - 2 or time.perf_counter() > end_s:
            break
        times = [(await engine.ask(prompts.of(tokens), 1)).ttft_s for _ in range(_REPEATS)]
        steps = -(-tokens // limits.max_num_batched_tokens)
        pairs = tokens * (tokens - 1) / 2
        rows.append(Row(f"prompt of {tokens}", statistics.median(times), 1, steps, tokens, pairs))
    return rows


async def _decodes(
    engine: Engine, limits: Limits, prompts: Prompts, measured: Measured, affordable: int, end_s: float
) -> None:
    # By turns, so that what disturbs for some seconds does not fall on one kind alone.
    for batch in _BATCHES:
        for context in (_SHORT, _LONG):
            room = min(limits.max_model_len, limits.kv_tokens // batch) - 2 * _DECODE_TOKENS
            tokens = max(1, min(context, room, affordable // batch if context == _LONG else room))
            if batch > limits.max_num_seqs or time.perf_counter() > end_s or (context == _LONG and tokens < 4 * _SHORT):
                continue
            # While the last prompts are computed the first ones are answered already.
            more = -(-batch * tokens // limits.max_num_batched_tokens)
            heard = await asyncio.gather(*(engine.ask(prompts.of(tokens), _DECODE_TOKENS + more) for _ in range(batch)))
            row, gaps = decode_row(heard, tokens)
            if row is not None:
                measured.rows.append(row)
                measured.gaps += gaps


def decode_row(heard: Sequence[Heard], prompt_tokens: int) -> tuple[Row | None, list[list[float]]]:
    """The step's time while all of these were being answered and none had ended; None: hardly ever."""
    begin_s = max(one.pieces_s[0] for one in heard)
    end_s = min(one.pieces_s[-1] for one in heard)
    means, gaps, contexts = [], [], []
    for one in heard:
        inside = [(place, at_s) for place, at_s in enumerate(one.pieces_s) if begin_s <= at_s <= end_s]
        if len(inside) <= _LEAST_GAPS:
            return None, []
        (first, first_s), (last, last_s) = inside[0], inside[-1]
        means.append((last_s - first_s) / (last - first))
        contexts.append(prompt_tokens + (first + last) / 2)
        gaps.append([after[1] - before[1] for before, after in itertools.pairwise(inside)])
    what = f"{len(heard)} answers behind {prompt_tokens}"
    row = Row(what, statistics.median(means), sequences=len(heard), context_tokens=sum(contexts))
    return row, gaps


async def _mixed(engine: Engine, limits: Limits, prompts: Prompts, end_s: float) -> list[Row]:
    """A prompt among answers: the gap that it tears, a step that shows by itself, and what its sender waits for."""
    decoders = min(_MIXED_DECODERS, limits.max_num_seqs - 1)
    if decoders < 1:
        return []
    rows = []
    for tokens in _MIXED:
        if tokens > min(limits.max_num_batched_tokens - decoders, limits.max_model_len - 2):
            break
        if time.perf_counter() > end_s:
            break
        answers = [asyncio.create_task(engine.ask(prompts.of(_SHORT), 3 * _DECODE_TOKENS)) for _ in range(decoders)]
        try:
            visits = []
            # They have begun once a request behind them has been answered.
            await engine.ask(prompts.of(_SHORT), 2)
            for _ in range(_MIXED_VISITS):
                await asyncio.sleep(prompts.up_to(_MIXED_PAUSE_S))
                visits.append(await engine.ask(prompts.of(tokens), 1))
            heard = await asyncio.gather(*answers)
        finally:
            for task in answers:
                task.cancel()
        rows += mixed_rows(heard, visits, tokens)
    return rows


def mixed_rows(heard: Sequence[Heard], visits: Sequence[Heard], tokens: int) -> list[Row]:
    """The longest gaps while visitors' prompts were computed, and what those waited for; none if nobody was answered.

    A visitor comes in the middle of a step on average: he waits for half of one, and then for his own.
    """
    torn: list[float] = []
    contexts: list[int] = []
    waited: list[float] = []
    for visit in visits:
        for one in heard:
            during = [
                (after - before, place)
                for place, (before, after) in enumerate(itertools.pairwise(one.pieces_s))
                if visit.sent_s < after <= visit.pieces_s[0] + 0.005
            ]
            if during and one.pieces_s[-1] > visit.pieces_s[0]:
                gap_s, place = max(during)
                torn.append(gap_s)
                contexts.append(_SHORT + place)
                waited.append(visit.ttft_s)
    if not torn:
        return []
    pairs = tokens * (tokens - 1) / 2
    decoders = len(heard)
    context = decoders * statistics.fmean(contexts)
    what = f"prompt of {tokens} among {decoders} answers"
    return [
        Row(what, statistics.median(torn), 0, 1, tokens, pairs, decoders, context),
        Row(f"{what}, to its token", statistics.median(waited), 1, 1.5, tokens, pairs, 1.5 * decoders, 1.5 * context),
    ]
