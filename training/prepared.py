"""Rows that were checked and split, and what was found in them: nothing after this looks at a file of rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.rows import Preference, Row


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run learns from and is measured on."""

    train: tuple[Row, ...] = ()
    """Empty for DPO."""
    preferences: tuple[Preference, ...] = ()
    """Empty for SFT."""
    test: tuple[Row, ...] = ()
    """Held out: never trained on. For DPO the chosen answer is the row's."""
    test_preferences: tuple[Preference, ...] = ()
    general: tuple[Row, ...] = ()
    """Questions of everyday, to see what is forgotten."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of `train`, `test` and `general` as they are learnt from: the same rows in the same order, the same digest."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows that were read and are not used, by reason; the report names each."""
