"""The weights set by hand fit the features."""

import numpy as np

from router.difficulty import LOG_ODDS, WEIGHTS
from router.scan_tables import FEATURES
from router.words import CUES, KIND_OF_CUE


def test_every_kind_of_cue_has_a_weight_and_every_cue_one_kind() -> None:
    assert set(CUES) <= set(WEIGHTS)
    cues = [cue for line in CUES.values() for cue in line.split(",")]
    assert sorted(cues) == sorted(set(cues))
    assert all(cue == cue.lower().strip() for cue in KIND_OF_CUE)


def test_every_feature_has_a_weight_and_a_reason_in_ascii() -> None:
    assert set(WEIGHTS) == set(FEATURES)
    assert np.isfinite(LOG_ODDS).all()
    assert all(weight.reason.isascii() and weight.reason for weight in WEIGHTS.values())
