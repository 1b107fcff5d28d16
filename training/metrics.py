"""How well an answer says what its reference says, by words, and by characters where words are written without spaces.

Exact match and token F1 are those of SQuAD (P. Rajpurkar, J. Zhang, K. Lopyrev, P. Liang: SQuAD: 100,000+ Questions for
Machine Comprehension of Text, 2016) with two differences: articles are not taken out, they are English alone, and an
exact match counts punctuation. Rouge-L is the F-measure, both sides of equal weight, of the longest common subsequence
(C.-Y. Lin: ROUGE: A Package for Automatic Evaluation of Summaries, 2004).
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

# Scripts that are written without spaces: Han with its extensions, kana, Thai.
_UNSPACED: Final = "\u3005\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f\U00020000-\U0003ffff"
_TOKEN: Final = re.compile(rf"[{_UNSPACED}]|[0-9]+(?:[.,:][0-9]+)*|(?:(?![{_UNSPACED}0-9])[^\W_])+")
_SPACES: Final = re.compile(r"\s+")
# "身份证 原件" and "身份证原件" are the same; so are "办理, 需要" and "办理,需要".
_IDLE_SPACE: Final = re.compile(rf"(?<=[{_UNSPACED},.:;!?()]) | (?=[{_UNSPACED},.:;!?()])")


def folded(text: str) -> str:
    """The text without what does not count: width and other compatible forms (NFKC), case, idle spaces."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _IDLE_SPACE.sub("", _SPACES.sub(" ", plain).strip())


def tokens_of(text: str) -> list[str]:
    """Characters of Chinese, words of Latin and the like, whole numbers. Punctuation is left out."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def token_spans(text: str) -> list[tuple[str, int, int]]:
    """The tokens as they stand in the text itself, each with where it begins and ends."""
    return [
        (unicodedata.normalize("NFKC", found[0]).casefold(), found.start(), found.end())
        for found in _TOKEN.finditer(text)
    ]


def exact_match(answer: str, reference: str) -> float:
    """1 if both are the same text once folded, else 0."""
    return float(folded(answer) == folded(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of the shares of tokens that each has in common with the other; 1 if neither has any."""
    said, wanted = Counter(tokens_of(answer)), Counter(tokens_of(reference))
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())


def rouge_l(answer: str, reference: str) -> float:
    """F1 of the longest common subsequence of tokens; 1 if neither has any."""
    said, wanted = tokens_of(answer), tokens_of(reference)
    if not said or not wanted:
        return float(said == wanted)
    return 2 * common_subsequence(said, wanted) / (len(said) + len(wanted))


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    One bit a token of `first`, a step a token of `second`. Source: M. Crochemore, C. Iliopoulos, Y. Pinzon, J. Reid: A
    fast and practical bit-vector algorithm for the longest common subsequence problem, 2001.
    """
    places: dict[str, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    every = (1 << len(first)) - 1
    left = every
    for token in second:
        found = left & places.get(token, 0)
        left = ((left + found) | (left - found)) & every
    return len(first) - left.bit_count()


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that the whole text is; None if it is none, or has a key twice, or NaN or Infinity."""
    try:
        document = json.loads(text, parse_constant=_refused, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def same_json(one: Any, other: Any) -> bool:
    """Whether two documents say the same: neither spelling nor the order of keys counts, and texts are folded."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(same_json, one, other))
        case str(), str():
            return folded(one) == folded(other)
        case bool(), _:
            return one is other
        case _, bool():
            return False
        case int() | float(), int() | float():
            return one == other
    return one is None and other is None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands there twice")
    return document
