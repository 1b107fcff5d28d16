"""N-grams: the same text always falls into the same buckets, and the compiled sum is what the matrix holds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.characters import HASH, KIND
from router.features import normalised, points_of
from router.learning.heads import read_texts
from router.ngrams import BUCKETS, buckets_of, pad_places, weigh
from tests.fakes.judges import weights

ANY_TEXT = st.text(max_size=300)


def points(text: str) -> np.ndarray:
    return points_of(normalised(text))


def pad_for(text_points: np.ndarray) -> np.ndarray:
    return np.empty(pad_places(len(text_points)), np.uint32)


def test_the_buckets_of_a_text_never_change() -> None:
    # A judge's file is useless if these do: raise `ngrams.VERSION` with them.
    assert int(buckets_of(points("Which is larger, 3/8 or 0.4? 哪个更大")).astype(np.int64).sum()) == 19808635


def test_traditional_characters_fall_where_simplified_ones_do() -> None:
    assert (
        buckets_of(points("房屋租賃合同無效後怎麼辦")).tolist()
        == buckets_of(points("房屋租赁合同无效后怎么办")).tolist()
    )


def test_words_are_told_apart_by_the_order_of_their_letters() -> None:
    assert buckets_of(points("on"))[-1] != buckets_of(points("no"))[-1]


def test_words_in_another_order_share_their_words_but_not_their_pairs() -> None:
    one, other = set(buckets_of(points("red car")).tolist()), set(buckets_of(points("car red")).tolist())
    assert int(buckets_of(points("red"))[-1]) in one & other
    assert one != other


@given(ANY_TEXT)
def test_the_compiled_sum_is_the_product_with_the_training_matrix(text: str) -> None:
    numbers = weights().ngrams
    text_points = points(text)
    counts = np.zeros(BUCKETS, np.uint8)
    small, large = weigh(text_points, HASH, KIND, numbers, counts, pad_for(text_points))
    row = read_texts([text]).ngrams @ numbers.astype(np.float64)
    assert not counts.any()
    np.testing.assert_allclose([[small, large]], row, rtol=1e-4, atol=0.5)


@given(ANY_TEXT)
def test_the_pad_is_large_enough_and_every_bucket_exists(text: str) -> None:
    found = buckets_of(points(text))
    assert len(found) <= pad_places(len(points(text)))
    assert found.max() < BUCKETS


def test_what_stands_there_a_thousand_times_does_no_harm() -> None:
    text_points = points("a" * 1500)
    counts = np.zeros(BUCKETS, np.uint8)
    sums = weigh(text_points, HASH, KIND, weights().ngrams, counts, pad_for(text_points))
    assert np.isfinite(sums).all()
    assert not counts.any()
