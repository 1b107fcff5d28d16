"""The stand-in's scheduler: who goes when, what is found in the cache, and what happens when there is no room."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.rehearsal.batch import Batch, Request, StepPlan
from loadtests.rehearsal.timing import Limits, Provenance, Timing

BASE_S = 0.01
PREFILL_S = 0.001
OVERHEAD_S = 0.005


def timing(
    *, seqs: int = 4, batched: int = 64, blocks: int = 64, block: int = 16, noise: float = 0.0, ahead: bool = False,
    cache: bool = True,
) -> Timing:  # fmt: skip
    return Timing(
        name="made-up",
        request_overhead_s=0.0,
        base_s=BASE_S,
        per_prefill_token_s=PREFILL_S,
        per_sequence_s=0.002,
        per_context_token_s=0.0,
        noise_sigma=noise,
        limits=Limits(
            max_num_seqs=seqs, max_num_batched_tokens=batched, kv_tokens=blocks * block, block_tokens=block,
            max_model_len=min(256, blocks * block), schedules_ahead=ahead, has_prefix_cache=cache,
        ),
        provenance=Provenance(kind="measured", text="made up"),
    )  # fmt: skip


def run(batch: Batch, steps: int = 10_000) -> list[StepPlan]:
    """Steps one after the other until nothing is left, or so many."""
    plans: list[StepPlan] = []
    now_s = 0.0
    while len(plans) < steps and (plan := batch.step(now_s)) is not None:
        now_s += plan.duration_s
        batch.end(plan)
        plans.append(plan)
    return plans


def asked(batch: Batch, *sizes: tuple[int, int], hashes: Sequence[int] = ()) -> list[Request]:
    requests = [Request(prompt, answer, hashes) for prompt, answer in sizes]
    for request in requests:
        batch.add(request, 0.0)
    return requests


def test_a_request_alone_takes_its_prompt_in_one_step_and_then_a_step_a_token() -> None:
    batch = Batch(timing())
    (request,) = asked(batch, (40, 5))
    plans = run(batch)
    assert [plan.tokens for plan in plans] == [40, 1, 1, 1, 1]
    assert plans[0].duration_s == pytest.approx(BASE_S + 40 * PREFILL_S)
    assert plans[1].duration_s == pytest.approx(BASE_S + 0.002)
    assert plans[0].prefill_pairs == 40 * 39 // 2
    assert [plan.context_tokens for plan in plans] == [0, 40, 41, 42, 43]
    assert request.is_over
    assert request.generated == 5


def test_a_long_prompt_is_computed_in_parts() -> None:
    batch = Batch(timing(batched=64))
    asked(batch, (150, 2))
    plans = run(batch)
    assert [plan.prefill_tokens for plan in plans] == [64, 64, 22, 0]
    assert [len(plan.speaking) for plan in plans] == [0, 0, 1, 1]
    assert sum(plan.prefill_pairs for plan in plans) == 150 * 149 // 2


def test_answers_go_on_while_a_long_prompt_is_computed() -> None:
    batch = Batch(timing(batched=64))
    short, long = asked(batch, (10, 8), (150, 2))
    plans = run(batch)
    # What the short one leaves of a step's tokens goes to the long one.
    assert [plan.tokens for plan in plans[:3]] == [64, 64, 34]
    assert all(short in plan.speaking for plan in plans[:8])
    assert next(number for number, plan in enumerate(plans) if long in plan.speaking) == 2


def test_who_came_first_is_let_in_first() -> None:
    batch = Batch(timing(seqs=2))
    requests = asked(batch, (10, 3), (10, 3), (10, 3), (10, 3))
    plans = run(batch)
    assert [request for plan in plans for request in plan.admitted] == requests
    assert max(len(plan.speaking) for plan in plans) == 2


def test_a_long_prompt_that_does_not_fit_is_not_overtaken() -> None:
    batch = Batch(timing(blocks=16, block=16))
    first, long, short = asked(batch, (100, 40), (200, 2), (10, 2))
    plans = run(batch, steps=20)
    admitted = [request for plan in plans for request in plan.admitted]
    assert admitted == [first]
    assert list(batch.waiting) == [long, short]


def test_without_room_the_newest_gives_way_and_begins_anew() -> None:
    batch = Batch(timing(blocks=8, block=16))
    old, new = asked(batch, (48, 60), (48, 60))
    plans = run(batch)
    assert old.preemptions == 0
    assert new.preemptions >= 1
    assert batch.preemptions == new.preemptions == sum(plan.preempted for plan in plans)
    # Its prompt and what it had answered are computed again.
    assert sum(plan.prefill_tokens for plan in plans) > 96
    assert old.is_over
    assert new.is_over
    assert new.generated == 60


def test_a_prompt_that_begins_as_another_did_is_found_in_the_cache() -> None:
    hashes = [11, 22, 33, 44]
    batch = Batch(timing())
    asked(batch, (64, 2), hashes=hashes)
    first = run(batch)
    (again,) = asked(batch, (64, 2), hashes=hashes)
    second = run(batch)
    # The last block is computed anew: without a token to compute there would be none to go on from.
    assert again.cached_tokens == 48
    assert (first[0].prefill_tokens, second[0].prefill_tokens) == (64, 16)
    assert second[0].duration_s < first[0].duration_s
    assert (batch.prefix_asked_tokens, batch.prefix_hit_tokens) == (128, 48)


def test_the_answer_is_in_the_cache_for_the_next_turn() -> None:
    batch = Batch(timing())
    asked(batch, (32, 32), hashes=[1, 2, 3, 4])
    run(batch)
    (next_turn,) = asked(batch, (80, 1), hashes=[1, 2, 3, 4, 5])
    run(batch)
    # The last token of an answer has no keys and values yet when it is said.
    assert next_turn.cached_tokens == 48


def test_two_at_once_share_the_blocks_of_a_beginning() -> None:
    hashes = [1, 2, 3]
    batch = Batch(timing(batched=256))
    asked(batch, (49, 20), (49, 20), hashes=hashes)
    batch.step(0.0)
    assert batch.blocks.count - batch.blocks.free == 3 + 1 + 1


def test_without_a_prefix_cache_nothing_is_found() -> None:
    batch = Batch(timing(cache=False))
    asked(batch, (64, 2), (64, 2), hashes=[1, 2, 3, 4])
    run(batch)
    assert batch.prefix_hit_tokens == 0


def test_what_is_freed_first_is_forgotten_first() -> None:
    batch = Batch(timing(blocks=8, block=16))
    asked(batch, (64, 1), hashes=[1, 2, 3, 4])
    run(batch)
    asked(batch, (64, 1), hashes=[5, 6, 7, 8])
    run(batch)
    asked(batch, (64, 1), hashes=[9, 10, 11, 12])
    run(batch)
    assert not batch.blocks.known([1, 2, 3, 4], 4)
    assert len(batch.blocks.known([5, 6, 7, 8], 4)) == 4


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_cancelled_request_frees_all_at_once(steps: int) -> None:
    batch = Batch(timing(seqs=1))
    first, second = asked(batch, (40, 20), (40, 2))
    plans = run(batch, steps)
    # In the middle of a step, too.
    plan = batch.step(1.0)
    batch.cancel(first)
    assert batch.blocks.used_ratio == 0
    assert plan is not None
    assert batch.end(plan) == []
    run(batch)
    assert second.generated == 2
    assert first.generated == len(plans)


def test_a_request_is_on_its_way_for_its_overhead() -> None:
    batch = Batch(timing().model_copy(update={"request_overhead_s": OVERHEAD_S}))
    (request,) = asked(batch, (10, 1))
    assert batch.step(OVERHEAD_S / 2) is None
    assert batch.next_ready_s == OVERHEAD_S
    assert batch.step(OVERHEAD_S) is not None
    assert request.admitted_s == OVERHEAD_S


def test_an_engine_that_plans_ahead_lets_newcomers_wait_one_step_more() -> None:
    admitted_in = {}
    for ahead in (False, True):
        batch = Batch(timing(ahead=ahead))
        asked(batch, (10, 20))
        plan = batch.step(0.0)
        assert plan is not None
        late = Request(10, 2)
        batch.add(late, plan.duration_s / 2)
        for number in range(1, 6):
            batch.end(plan)
            plan = batch.step(plan.begins_s + plan.duration_s)
            assert plan is not None
            if late in plan.admitted:
                admitted_in[ahead] = number
    assert admitted_in == {False: 1, True: 2}


def test_noise_is_seeded_and_does_not_move_the_mean() -> None:
    def durations(seed: int) -> list[float]:
        batch = Batch(timing(noise=0.2, blocks=64), seed)
        asked(batch, (16, 200))
        return [plan.duration_s for plan in run(batch)][1:]

    assert durations(1) == durations(1)
    assert durations(1) != durations(2)
    many = [one for seed in range(20) for one in durations(seed)]
    assert sum(many) / len(many) == pytest.approx(BASE_S + 0.002, rel=0.03)


def test_what_can_never_be_worked_on_is_refused() -> None:
    batch = Batch(timing())
    with pytest.raises(ValueError, match="max_model_len"):
        batch.add(Request(250, 10), 0.0)
    with pytest.raises(ValueError, match="at least one token"):
        batch.add(Request(10, 0), 0.0)
    with pytest.raises(ValueError, match="longest request"):
        Limits(max_num_seqs=1, max_num_batched_tokens=1, kv_tokens=100, max_model_len=128)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 120), st.integers(1, 60), st.integers(0, 3), st.integers(0, 40), st.one_of(
                st.none(), st.integers(0, 60)
            ),
        ),
        min_size=1, max_size=12,
    ),
    st.integers(1, 5), st.integers(1, 80), st.integers(12, 40), st.booleans(),
)  # fmt: skip
def test_every_request_ends_and_no_block_is_lost(
    asked: list[tuple[int, int, int, int, int | None]], seqs: int, batched: int, blocks: int, ahead: bool
) -> None:
    limits = timing(seqs=seqs, batched=batched, blocks=blocks, ahead=ahead)
    batch = Batch(limits)
    due = sorted(asked, key=lambda one: one[3])
    requests: list[Request] = []
    leaving: list[tuple[int, Request]] = []
    step, now_s = 0, 0.0
    while due or batch.in_flight:
        while due and due[0][3] <= step:
            prompt, answer, family, _, leaves_after = due.pop(0)
            hashes = [hash((family, block)) for block in range((prompt + answer) // 16)]
            request = Request(prompt, answer, hashes)
            batch.add(request, now_s)
            requests.append(request)
            if leaves_after is not None:
                leaving.append((step + leaves_after, request))
        plan = batch.step(now_s)
        for at, request in leaving:
            if at == step:
                batch.cancel(request)
        if plan is not None:
            assert plan.tokens <= batched
            assert len(plan.speaking) <= seqs
            assert plan.duration_s > 0
            batch.end(plan)
            now_s += plan.duration_s
        held = [block for request in batch.running for block in request.blocks]
        assert len(set(held)) == batch.blocks.count - batch.blocks.free
        assert all(len(request.blocks) == math.ceil(request.computed / 16) for request in batch.running)
        step += 1
        assert step < 20_000
    assert batch.blocks.free == batch.blocks.count
    stayed = [request for request in requests if request.generated == request.answer_tokens]
    gone = {id(request) for _, request in leaving}
    assert all(request in stayed or id(request) in gone for request in requests)
    assert all(request.is_over and not request.blocks for request in requests)
