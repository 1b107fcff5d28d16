"""Training: it learns what the rows hold, gives the same bytes again, and a judge estimates as it was fitted."""

from pathlib import Path

import numpy as np
import pytest

from router.estimate import Judge
from router.judge_file import load, save
from router.learning import measuring
from router.learning.heads import OWN, STRANGE, fit, read_texts
from router.learning.labelled_rows import RowSet
from router.learning.measuring import Measured, in_domain, leave_kind_out, train_on, with_few_labels
from router.learning.reliability import bins_of, calibration_error
from router.learning.training import Part, Trained, border_of, fit_parts, part_of, raw_difficulty, train
from router.query import Query
from tests.fakes.judges import CARD, rows


def trained() -> Trained:
    return train([part_of(rows())], name="test", made_by="a test", figures={"apgr": 0.7}, priors=OWN)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(trained().weights)


def test_questions_like_the_hard_rows_come_out_harder(judge: Judge) -> None:
    hard = judge.estimate(Query("A shop sells 812 pears and 44 figs at a discount. How many are left?"))
    easy = judge.estimate(Query("What is the capital of the largest country?"))
    assert easy.difficulty < 0.5 < hard.difficulty
    assert hard.chance(0) < 0.5 < hard.chance(1)


def test_the_judge_estimates_what_was_fitted() -> None:
    some = [*rows().prompts[:20], "房屋租赁合同无效以后怎么办？"]
    heads = fit_parts([part_of(rows())], OWN)
    judge = Judge(heads.weights(1, 0.5, CARD))
    for text, wanted in zip(some, heads.log_odds(read_texts(some)), strict=True):
        estimate = judge.estimate(Query(text))
        assert [estimate.small_log_odds, estimate.large_log_odds] == pytest.approx(wanted.tolist(), abs=5e-3)


def test_the_mean_of_several_priors_is_one_judge() -> None:
    texts = read_texts(rows().prompts)
    each = [fit_parts([Part(rows(), texts)], (prior,)).log_odds(texts) for prior in STRANGE]
    together = fit_parts([Part(rows(), texts)], STRANGE).log_odds(texts)
    assert together == pytest.approx(np.mean(each, 0), abs=0.05)


def test_a_row_without_weight_is_as_if_it_were_not_there() -> None:
    texts = read_texts(rows().prompts)
    quality = rows().quality.copy()
    weights = np.ones(len(quality))
    weights[50:150] = 0
    wrong = np.where(weights[:, None] > 0, quality, 1 - quality)
    first, second = (fit(texts, each, weights, OWN).log_odds(texts) for each in (quality, wrong))
    assert first == pytest.approx(second)


def test_chances_come_true_on_rows_that_were_kept_back() -> None:
    kept_back = trained().kept_back
    small = 1 / (1 + np.exp(-kept_back[:, 0]))
    assert calibration_error(bins_of(small, rows().small)) < 0.05


def test_the_border_parts_easy_from_hard() -> None:
    found = trained()
    raw = raw_difficulty(found.kept_back, found.weights.strong_trust_ratio)
    hard = rows().small < 0.5
    assert ((raw >= found.weights.border) == hard).mean() > 0.97


def test_a_rare_side_counts_for_as_much_as_a_common_one() -> None:
    raw = np.concatenate([np.linspace(0, 0.5, 98), [0.6, 0.7]])
    is_hard = raw > 0.55
    assert 0.4 < border_of(raw, is_hard) < 0.7


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.judge", tmp_path / "b.judge"
    for path in (first, second):
        save(trained().weights, path)
    assert first.read_bytes() == second.read_bytes()
    assert load(first).card.trained_on[0].rows == len(rows())


def test_measuring_by_folds_finds_what_is_there_and_not_more() -> None:
    measured = Measured(rows(400))
    assert in_domain(measured, splits=1, draws=20).apgr > 0.7
    shuffled = rows(400)
    places = np.random.default_rng(1).permutation(400)
    nothing = Measured(
        type(shuffled)("chance", shuffled.prompts, shuffled.quality[places], shuffled.kinds), measured.texts
    )
    assert in_domain(nothing, splits=2, draws=20).apgr == pytest.approx(0.5, abs=0.08)


def test_few_labels_suffice_for_a_simple_matter() -> None:
    assert with_few_labels(Measured(rows(400)), 60, splits=2, draws=20).apgr > 0.7


def test_a_kind_left_out_is_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def spy(sets: list[Measured], priors: object) -> object:
        seen.append({kind for one in sets for kind in one.rows.kinds})
        return train_on([Measured(rows())], OWN)

    monkeypatch.setattr(measuring, "train_on", spy)
    leave_kind_out(Measured(rows()), draws=5)
    assert sorted(map(sorted, seen)) == [["look-up"], ["sum"]]


def test_a_strange_sets_better_models_do_not_make_our_questions_easier() -> None:
    home = rows()
    clever = RowSet("clever", [f"Again: {prompt}" for prompt in home.prompts], np.ones((len(home), 2)), home.kinds)
    alone, mixed, apart = (
        train(parts, name="test", made_by="a test", figures={}, everyday=0, priors=STRANGE)
        .kept_back[: len(home), 0]
        .mean()
        for parts in (
            [part_of(home)],
            [part_of(home), part_of(clever)],
            [part_of(home), part_of(clever, is_strange=True)],
        )
    )
    assert abs(apart - alone) < abs(mixed - alone) / 2
