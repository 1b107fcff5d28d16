"""Continuous batching as vLLM's scheduler does it, as a plain simulation: no clock, no I/O, seeded.

The rules are those of `vllm/v1/core/sched/scheduler.py` (0.32, first come first served): who runs goes first, with one
token of an answer or the next part of a prompt; what is left of the step's tokens goes to those who wait, in order,
while there are places and the whole prompt fits into free blocks. When a running one finds no block, the one admitted
last gives up all of its own, waits at the head of the queue and computes everything anew.
"""

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.rehearsal.blocks import Blocks
from loadtests.rehearsal.timing import Timing


@dataclass(slots=True, eq=False)
class Request:
    """One request, and how far it is. Times in seconds on the caller's clock."""

    prompt_tokens: int
    answer_tokens: int
    """So many and it ends."""
    hashes: Sequence[int] = ()
    """Of its whole blocks, prompt and answer to be; empty: nothing of it is ever found again."""
    arrived_s: float = 0.0
    ready_s: float = 0.0
    """When it reaches the queue: arrived, and the request's overhead."""
    queued_s: float = 0.0
    """When the scheduler saw it first, at the begin of a step: vLLM counts its queue from there."""
    admitted_s: float | None = None
    """When its first step began; None: it still waits."""
    cached_tokens: int = 0
    """Of the prompt, found in the prefix cache when it was admitted first."""
    computed: int = 0
    """Tokens whose keys and values lie in the cache, or will at the step's end."""
    generated: int = 0
    preemptions: int = 0
    is_over: bool = False
    """Ended or cancelled."""
    blocks: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Prompt and what has been answered."""
        return self.prompt_tokens + self.generated


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step: what it computes, and how long that takes."""

    begins_s: float
    duration_s: float
    prefill_tokens: int
    prefill_pairs: int
    """Pairs of a prompt token in the step and a token before it."""
    decodes: int
    """Answers that go on by one token."""
    context_tokens: int
    """Tokens before those."""
    speaking: tuple[Request, ...]
    """Who gets a token at its end."""
    admitted: tuple[Request, ...]
    """Who had waited."""
    preempted: int

    @property
    def tokens(self) -> int:
        """Computed in it."""
        return self.prefill_tokens + self.decodes


class Batch:
    """The scheduler of one engine. A step is begun by `step` and ended by `end`; in between only `add` and `cancel`."""

    def __init__(self, timing: Timing, seed: int = 0) -> None:
        self.timing = timing
        self._limits = timing.limits
        self._random = random.Random(seed)  # noqa: S311 - made-up noise
        self._arriving: deque[Request] = deque()
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.blocks = Blocks(self._limits.blocks)
        self._last: StepPlan | None = None
        self.preemptions = 0
        self.prefix_asked_tokens = 0
        self.prefix_hit_tokens = 0

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._arriving) + len(self.waiting) + len(self.running)

    @property
    def next_ready_s(self) -> float | None:
        """When the next one reaches the queue; None: nobody is on the way."""
        return self._arriving[0].ready_s if self._arriving else None

    def add(self, request: Request, now_s: float) -> None:
        """Take a request. Raises ValueError if it is longer than the model's context."""
        if request.prompt_tokens + request.answer_tokens > self._limits.max_model_len:
            raise ValueError("prompt and answer are longer than max_model_len")
        if request.prompt_tokens < 1 or request.answer_tokens < 1:
            raise ValueError("a request has at least one token of prompt and one of answer")
        request.arrived_s = now_s
        request.ready_s = now_s + self.timing.request_overhead_s
        self._arriving.append(request)

    def cancel(self, request: Request) -> None:
        """Forget a request; its place and its blocks are free at once."""
        if request.is_over:
            return
        request.is_over = True
        for queue in (self.running, self.waiting, self._arriving):
            if request in queue:
                queue.remove(request)
                break
        self._release(request)

    def step(self, now_s: float) -> StepPlan | None:
        """Plan the step that begins now; None: there is nothing to do."""
        planned_s = now_s
        if self._limits.schedules_ahead and self.running and self._last is not None:
            planned_s = self._last.begins_s
        while self._arriving and self._arriving[0].ready_s <= planned_s:
            self._arriving[0].queued_s = now_s
            self.waiting.append(self._arriving.popleft())
        if not self.running and not self.waiting:
            self._last = None
            return None
        work = _Work(self._limits.max_num_batched_tokens)
        preempted = self._continue(work)
        admitted = [] if preempted else self._admit(work, now_s)
        duration_s = self.timing.step_s(work.prefill_tokens, work.prefill_pairs, work.decodes, work.context_tokens)
        self._last = StepPlan(
            now_s, duration_s * self._noise(), work.prefill_tokens, work.prefill_pairs, work.decodes,
            work.context_tokens, tuple(work.speaking), tuple(admitted), preempted,
        )  # fmt: skip
        return self._last

    def end(self, plan: StepPlan) -> list[Request]:
        """End a step: who got a token, without those cancelled meanwhile. Who has all of them is over."""
        spoken = []
        is_any_over = False
        for request in plan.speaking:
            if request.is_over:
                continue
            request.generated += 1
            spoken.append(request)
            if request.generated >= request.answer_tokens:
                request.is_over = is_any_over = True
                self._release(request)
        if is_any_over:
            self.running = [request for request in self.running if not request.is_over]
        return spoken

    def _continue(self, work: "_Work") -> int:
        """Let those who run go on, in order of admission; gives how many were preempted."""
        preempted = 0
        index = 0
        while index < len(self.running) and work.budget:
            request = self.running[index]
            tokens = min(request.tokens - request.computed, work.budget)
            missing = self._missing(request.computed + tokens, len(request.blocks))
            while missing > self.blocks.free:
                last = self.running.pop()
                self._preempt(last)
                preempted += 1
                if last is request:
                    return preempted
            self._schedule(request, tokens, missing, work)
            index += 1
        return preempted

    def _admit(self, work: "_Work", now_s: float) -> list[Request]:
        """Let in who waits, in order."""
        admitted = []
        while work.budget and self.waiting and len(self.running) < self._limits.max_num_seqs:
            request = self.waiting[0]
            # One token at least must be computed, or there would be nothing to say the next one by.
            at_most = (request.tokens - 1) // self._limits.block_tokens
            known = self.blocks.known(request.hashes, at_most) if self._limits.has_prefix_cache else []
            # The whole of it must fit, not only what this step computes.
            missing = self._missing(request.tokens, len(known))
            if missing + self.blocks.free_among(known) > self.blocks.free:
                break
            self.waiting.popleft()
            self.blocks.hold(known)
            request.blocks = known
            request.computed = len(known) * self._limits.block_tokens
            if request.admitted_s is None:
                request.admitted_s = now_s
                request.cached_tokens = request.computed
                self.prefix_asked_tokens += request.tokens
                self.prefix_hit_tokens += request.computed
            self.running.append(request)
            admitted.append(request)
            tokens = min(request.tokens - request.computed, work.budget)
            self._schedule(request, tokens, self._missing(request.computed + tokens, len(known)), work)
        return admitted

    def _schedule(self, request: Request, tokens: int, missing: int, work: "_Work") -> None:
        before = request.computed
        after = before + tokens
        if missing:
            request.blocks += self.blocks.take(missing)
        request.computed = after
        work.budget -= tokens
        if before >= request.prompt_tokens and tokens == 1:
            work.decodes += 1
            work.context_tokens += before
        else:
            work.prefill_tokens += tokens
            work.prefill_pairs += tokens * before + tokens * (tokens - 1) // 2
        if after == request.tokens:
            work.speaking.append(request)
        size = self._limits.block_tokens
        if request.hashes and self._limits.has_prefix_cache and before // size != after // size:
            for block in range(before // size, min(after // size, len(request.hashes))):
                self.blocks.remember(request.blocks[block], request.hashes[block])

    def _missing(self, tokens: int, blocks: int) -> int:
        """Blocks that so many tokens need beyond those at hand."""
        return max(0, -(-tokens // self._limits.block_tokens) - blocks)

    def _preempt(self, request: Request) -> None:
        self._release(request)
        request.computed = 0
        request.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(request)

    def _release(self, request: Request) -> None:
        self.blocks.release(request.blocks)
        request.blocks = []

    def _noise(self) -> float:
        sigma = self.timing.noise_sigma
        return math.exp(sigma * self._random.gauss() - sigma * sigma / 2) if sigma else 1.0


@dataclass(slots=True)
class _Work:
    """What a step comes to while it is planned."""

    budget: int
    prefill_tokens: int = 0
    prefill_pairs: int = 0
    decodes: int = 0
    context_tokens: int = 0
    speaking: list[Request] = field(default_factory=list)
