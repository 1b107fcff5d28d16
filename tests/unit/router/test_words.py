"""Cue words are found as whole words, in both writings, whatever stands between and around them."""

import re
import sys

import numpy as np
import pytest

from router.scan import _is_space, scan
from router.scan_tables import FEATURES, KIND_COUNT, TABLES
from router.words import CUES


def cues_in(text: str) -> dict[str, int]:
    """How many different cue words of each kind stand in `text`."""
    row = np.empty(len(FEATURES))
    scan(np.frombuffer(text.encode("utf-32-le"), np.uint32), len(text), True, *TABLES, row)
    # 0.7 and 0.3 for each.
    return {kind: round((row[at] - 0.7) / 0.3) for at, kind in enumerate(FEATURES[:KIND_COUNT]) if row[at]}


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("what is love", {"definition": 1}),
        ("what\n  is love", {"definition": 1}),
        ("how many apples, and how \n many pears", {"amount": 1}),
        ('(why?) "why" and why', {"reasoning": 1}),
        ("somewhy whyever why_not why2", {}),
        ("c++ code", {"code": 2}),
        ("per cent", {"calculation": 1}),
        ("per week", {"quantity": 1}),
        ("用python写一个脚本", {"code": 2}),
        ("解释pros and cons", {}),
        ("解释 pros and cons", {"comparison": 1}),
        ("谢谢", {"thanks": 1}),
        ("是三倍吗", {"quantity": 1, "yes_no": 1}),
        ("比较利弊", {"comparison": 2}),
        ("你好", {}),
        ("", {}),
    ],
)
def test_different_cues_are_counted_once_for_their_kind(text: str, counts: dict[str, int]) -> None:
    assert cues_in(text) == counts


def test_every_cue_alone_is_found_as_its_kind() -> None:
    for kind, cues in CUES.items():
        for cue in cues.split(","):
            assert cues_in(cue).get(kind, 0) >= 1, cue
            if cue.isascii():
                assert cues_in(f"好 {cue}").get(kind, 0) >= 1, cue


def test_white_space_is_what_python_takes_for_it() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    spaces = {ord(space) for space in re.findall(r"\s", everything)}
    assert {point for point in range(sys.maxunicode + 1) if _is_space(point)} == spaces
    assert spaces == {point for point in range(sys.maxunicode + 1) if chr(point).isspace()}
