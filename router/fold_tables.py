"""How characters fold, and which courtesies a question may begin and end with, as the compiled `fold` wants them."""

import unicodedata
from itertools import product
from typing import Final

import numpy as np

HEAD_ROOT: Final = 1
"""The node above the courtesies that a question may begin with; those of English begin and end at a word's edge."""
TAIL_ROOT: Final = 2
"""The node above the thanks that it may end with; those of English begin at a word's edge."""
ENDS_ROOT: Final = 3
"""The node above the last letters of all thanks, read backwards."""
HASH_MASK: Final = 2047
LONGEST_THANKS: Final = 22
WORDS_AT: Final = 65536
"""From here on `FOLDS` holds a bit for each character, 16 to a number: whether it belongs to a word."""

# What a search engine would fold, too. The rest of Unicode is left as it is, but for its capitals.
_RARE: Final = (
    (0xA0, 0xA0), (0x2000, 0x200D), (0x202F, 0x202F), (0x205F, 0x205F), (0x2460, 0x24FF), (0x3000, 0x3000),
    (0xFB00, 0xFB06), (0xFEFF, 0xFEFF), (0xFF00, 0xFFEF),
)  # fmt: skip
_YOU: Final = ("您", "你")
_MAYBE_YOU: Final = (*_YOU, "")


def _each(*parts: tuple[str, ...]) -> list[str]:
    """Every way to say it, the preferred first."""
    return ["".join(choice) for choice in product(*parts)]


# The first of these that fits is taken, not the longest.
_HEADS: Final = [
    *_each(("尊敬的", ""), ("工作人员", "工作人員")),
    *_each(_YOU, ("们", "們", ""), ("好",)),
    "早上好", "下午好", "晚上好", "大家好",
    *_each(("打扰", "打擾"), ("了", "")),
    "不好意思", "劳驾", "勞駕",
    *_each(("能不能", "可不可以", "可以", "能", ""), ("麻烦", "麻煩", "拜托", "拜託"), _MAYBE_YOU),
    *_each(("我", ""), ("想", ""), ("请", "請"), ("问一下", "問一下", "教一下", "问", "問", "教", *_MAYBE_YOU)),
    *_each(("帮", "幫"), ("我", "忙")),
    "hello", "hi", "hey",
    *_each(("dear ",), ("sir", "madam", "assistant", "all")),
    *_each(("good ",), ("morning", "afternoon", "evening")),
    "sorry", "excuse me", "please", "kindly",
    *_each(
        ("could", "can", "would", "will"), (" you ",), ("please ", "kindly ", ""), ("help me", "tell me", ""),
    ),
    *_each(("i would", "i'd"), (" like to ",), ("ask", "know")),
    "would you mind", "i have a question",
]  # fmt: skip
_TAILS: Final = [
    *_each(
        ("非常", "十分", ""), ("谢谢", "謝謝", "多谢", "多謝", "感谢", "感謝"), (*_YOU, "了", "啦", ""),
    ),
    *_each(("麻烦", "辛苦"), _MAYBE_YOU, ("了", "")),
    "please",
    *_each(("many ", ""), ("thanks",), (" a lot", " in advance", "")),
    *_each(("thank you",), (" very much", " so much", " in advance", "")),
]  # fmt: skip
# Most questions end otherwise, which is told at once.
_ENDS: Final = ["谢", "謝", "您", "你", "了", "啦", "苦", "please", "thanks", "lot", "advance", "you", "much"]


def _folded(letter: str, narrow: str) -> int:
    """The one character that `letter` becomes; 0 where that takes more than one, or depends on those beside it."""
    small = narrow.lower()
    if len(narrow) != 1 or len(small) != 1 or small > "\uffff":
        return 0
    # A sigma is another one at a word's end; accents and the parts of Hangul join the letter before them.
    if letter == "Σ" or (narrow != letter and (unicodedata.combining(narrow) or "\u1100" <= narrow <= "\u11ff")):
        return 0
    # Blanks are removed beside what was wide before its capitals went.
    return ord(small) if (narrow >= "\u2e80") == (small >= "\u2e80") else 0


def _folds() -> np.ndarray:
    letters = [chr(point) for point in range(65536)]
    folds = np.arange(WORDS_AT + 4096).astype(np.uint16)
    for letter in letters:
        if letter.lower() != letter:
            folds[ord(letter)] = _folded(letter, letter)
    for first, last in _RARE:
        for letter in letters[first : last + 1]:
            folds[ord(letter)] = _folded(letter, unicodedata.normalize("NFKC", letter))
    is_word = [letter.isalnum() or letter == "_" for letter in letters]
    folds[WORDS_AT:] = np.packbits(is_word, bitorder="little").view("<u2")
    return folds


def _trie() -> np.ndarray:
    """Pairs of a key (node and letter) and the node below; above its 16 bits: which courtesy ends there, from 1."""
    trie = np.zeros(2 * (HASH_MASK + 1), np.uint32)
    nodes = ENDS_ROOT
    for root, courtesies in ((HEAD_ROOT, _HEADS), (TAIL_ROOT, _TAILS), (ENDS_ROOT, [end[::-1] for end in _ENDS])):
        for rank, courtesy in enumerate(courtesies, start=1):
            node, place = root, 0
            for letter in courtesy:
                key = (node << 16) | ord(letter)
                place = ((key * 0x9E3779B1) >> 15) & HASH_MASK
                while trie[2 * place] not in (0, key):
                    place = (place + 1) & HASH_MASK
                if trie[2 * place] == 0:
                    nodes += 1
                    assert nodes < HASH_MASK // 2, "the table of courtesies is too small"
                    trie[2 * place], trie[2 * place + 1] = key, nodes
                node = int(trie[2 * place + 1]) & 0xFFFF
            if trie[2 * place + 1] < 65536:
                trie[2 * place + 1] |= rank << 16
    return trie


TABLES: Final = (_folds(), _trie())
"""The last arguments of `fold.fold`."""

assert max(map(len, _TAILS)) == LONGEST_THANKS
