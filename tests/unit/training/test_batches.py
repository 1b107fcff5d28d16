import random

import pytest

from training.batches import IGNORED, bins_of, order_of, packed, padded, steps_of

LENGTHS = [random.Random(number).randint(5, 60) for number in range(42)]


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "most", "steps"),
    [(42, 3, 8, None, 16), (40, 3, 8, None, 15), (42, 3, 8, 5, 5), (3, 1, 8, None, 1), (10, 0.5, 5, None, 1)],
)
def test_a_run_has_as_many_full_steps_as_its_epochs_need(
    rows: int, epochs: float, batch: int, most: int | None, steps: int
) -> None:
    assert steps_of(rows, epochs, batch, most) == steps


def test_every_row_comes_as_often_as_any_other_give_or_take_one() -> None:
    order = order_of(LENGTHS, batch_size=8, steps=16, seed=1)
    assert len(order) == 16 * 8
    times = [order.count(row) for row in range(len(LENGTHS))]
    assert set(times) <= {3, 4}


def test_the_order_hangs_on_the_seed_alone() -> None:
    assert order_of(LENGTHS, 8, 16, seed=1) == order_of(LENGTHS, 8, 16, seed=1)
    assert order_of(LENGTHS, 8, 16, seed=1) != order_of(LENGTHS, 8, 16, seed=2)


def test_rows_of_a_step_are_of_like_length() -> None:
    def filling(order: list[int]) -> int:
        steps = [[LENGTHS[row] for row in order[begin : begin + 8]] for begin in range(0, len(order), 8)]
        return sum(max(step) * len(step) - sum(step) for step in steps)

    mixed = list(range(len(LENGTHS))) * 3 + [0, 1]
    random.Random(1).shuffle(mixed)
    assert filling(order_of(LENGTHS, 8, 16, seed=1)) < filling(mixed) / 3


def test_fewer_rows_than_a_step_holds_come_several_times() -> None:
    assert sorted(order_of([3, 4], 5, 1, seed=1)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_sequences_hold_all_rows_and_none_is_over_full() -> None:
    bins = bins_of(LENGTHS, 100)
    assert sorted(row for each in bins for row in each) == list(range(len(LENGTHS)))
    assert max(sum(LENGTHS[row] for row in each) for each in bins) <= 100


def test_sequences_are_filled_evenly() -> None:
    assert [sorted(each) for each in bins_of([50] * 4, 150)] == [[0, 2], [1, 3]]


def test_a_row_longer_than_a_sequence_has_one_to_itself() -> None:
    assert sorted(map(sorted, bins_of([200, 10, 10], 100))) == [[0], [1], [2]]


def test_labels_name_the_next_token() -> None:
    batch = padded([[1, 2, 3], [4, 5]], [[IGNORED, 2, 3], [IGNORED, 5]], pad=9)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 9]]
    assert batch["labels"].tolist() == [[2, 3, IGNORED], [5, IGNORED, IGNORED]]


def test_positions_begin_anew_with_each_row_of_a_sequence_and_with_its_filling() -> None:
    batch = packed([[1, 2, 3], [4, 5], [6]], [[IGNORED, 2, 3], [IGNORED, 5], [IGNORED]], pad=9, capacity=4)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 1, 0]]
    assert batch["labels"].tolist() == [[2, 3, IGNORED], [5, IGNORED, IGNORED]]
    uneven = packed([[1, 2, 3], [4]], [[IGNORED, 2, 3], [IGNORED]], pad=9, capacity=3)
    assert uneven["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert uneven["position_ids"].tolist() == [[0, 1, 2], [0, 0, 1]]
