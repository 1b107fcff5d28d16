"""What can be seen of a question at a glance: its size, its shape and its cue words, each as one number.

Everything is counted by compiled patterns and `str` methods over at most `2 * WINDOW_CHARS` characters: a question of
500 characters may cost some 30 microseconds of CPU, not more.
"""

import re
import unicodedata
from math import log, log1p

from router.query import Query
from router.words import WHITE_SPACE, cues_in

# The task stands at the head or at the tail of a long text; between them lies material, which is not read.
WINDOW_CHARS = 2000
# One Chinese character carries about 0.6 of an English word.
WORDS_PER_HAN = 0.6
# What is asked stands in the first and last characters of a question. A cue word in between is more likely part of the
# material, and a longer material has more of them by chance.
ASKING_CHARS = 240
# From here on a question is long rather than short; only its logarithm counts, and for little.
MIDDLING_WORDS = 15
# A stem longer than this brings its material along.
MUCH_MATERIAL_WORDS = 60

# The full-width marks of ordinary Chinese. Unicode's own folding (NFKC) of a whole text costs 55 microseconds, so it is
# kept for the rare characters that are left over.
_MARKS = (("，", ","), ("：", ":"), ("；", ";"), ("？", "?"), ("！", "!"), ("（", "("), ("）", ")"))
_RARE = "[\u00a0\u2000-\u200d\u202f\u205f\u2460-\u24ff\u3000\ufb00-\ufb06\ufeff\uff00-\uffef]"
# Not `[...]+`: only before a pattern that starts with a single character does the engine skip quickly.
_WIDE = re.compile(f"{_RARE}{_RARE}*")
# Most of Chinese and its signs: neither wide nor in capitals, so that there is nothing to fold. To eat what matches
# takes half the time of a search for what does not.
_FOLDED = re.compile(
    "[\\x00-@\\[-\x9f\xa1-\xbf\xd7\xf7\u200e-\u202e\u2030-\u205e\u2190-\u245f\u2500-\u2bff\u3001-\ua63f"
    "\U0001f300-\U0001faff\U00020000-\U0003ffff]*+"
)
_WITHOUT_HAN = re.compile("[\x00-\u2e7f]*+")
# A run of blanks with a wide character on either side. To skip to one character is five times as fast as to skip to
# one of two, and tabs are rare.
_AFTER_BLANK = "(?:(?<=[\u2e80-\uffff][ \t])[ \t]*|[ \t]*(?=[\u2e80-\uffff]))"
_SPACES_BESIDE_HAN = re.compile(" " + _AFTER_BLANK)
_BLANKS_BESIDE_HAN = re.compile("[ \t]" + _AFTER_BLANK)
_POLITE_HEAD = re.compile(
    r"(?:[\s,.!:;。、~]+|"
    r"(?:尊敬的)?(?:工作人员|工作人員)|[您你][们們]?好|早上好|下午好|晚上好|大家好|打扰了?|打擾了?|不好意思|劳驾|勞駕|"
    r"(?:能不能|可不可以|可以|能)?(?:麻烦|麻煩|拜托|拜託)[您你]?|"
    r"我?想?(?:请|請)(?:问一下|問一下|教一下|问|問|教|您|你)?|(?:帮|幫)(?:我|忙)|"
    r"(?:hello|hi|hey|dear (?:sir|madam|assistant|all)|good (?:morning|afternoon|evening)|"
    r"sorry|excuse me|please|kindly|(?:could|can|would|will) you (?:please |kindly )?(?:(?:help me|tell me)\b)?|"
    r"i(?: would|'d) like to (?:ask|know)|would you mind|i have a question)\b)+"
)
_POLITE_TAIL = re.compile(
    r"(?:[\s,.!。、~]*(?:(?:非常|十分)?(?:谢谢|謝謝|多谢|多謝|感谢|感謝)(?:[您你]|了|啦)?|麻烦[您你]?了?|辛苦[您你]?了?|"
    r"\bplease|\b(?:many )?thanks(?: a lot| in advance)?|\bthank you(?: very much| so much| in advance)?)[\s,.!。~]*)+$"
)
# Most questions end otherwise, which is told at once.
_ENDS_OF_THANKS = ("谢", "謝", "您", "你", "了", "啦", "苦", "please", "thanks", "lot", "advance", "you", "much")
_MARKS_AT_END = " ,.!。~\t\r\n"
# Thanks longer than this are a message of their own.
_TAIL_CHARS = 60

# The Chinese numeral for one is left out: it is also the indefinite article.
# One character class, and not three alternatives: a third of the time.
_NUMBER_OR_MATH = re.compile(r"[0-9二三四五六七八九十百千两兩=+*/^√∑∫≤≥≠×÷%<>\\$][0-9.,:]*")
_PROOF_HEAD = re.compile("(?:试|試)?(?:证明|證明)(?!材料|书|書|信|文件|函)")
# The last but one character of an option is its letter: a group to catch it would take longer.
_ITEM = re.compile(
    rf"[{WHITE_SPACE}](?:[a-h][.):、]|[-*•]\s|\d\d?[.)、]\s?(?!\d)|\((?:[a-h][.):、]|\d\d?[.)、]\s?(?!\d)))"
)
_OTHER_CLAUSE_ENDS = (". ", "。", "!", ",", ";")
# The second cue of a kind tells less than the first, and a fourth nothing more: the amount for each number of cues.
_AMOUNT_OF_CUES = tuple(min(1.6, 0.7 + 0.3 * count) for count in range(5))
_QUESTION_HEAD = re.compile(r"(?:is|are|was|were|do|does|did|has|have|may|can|must|should) ")


def normalised(text: str) -> str:
    """Fold what must not change the choice: width, case, spaces, and courtesies at both ends."""
    if len(text) > 2 * WINDOW_CHARS:
        text = f"{text[:WINDOW_CHARS]}\n{text[-WINDOW_CHARS:]}"
    text = (text.lower() if text.isascii() else _folded(text)).strip()
    text = text[_length_of_head(text) :]
    if not text.rstrip(_MARKS_AT_END).endswith(_ENDS_OF_THANKS):
        return text
    if tail := _POLITE_TAIL.search(text, max(0, len(text) - _TAIL_CHARS)):
        text = text[: tail.start()]
    return text


def _folded(text: str) -> str:
    for wide, narrow in _MARKS:
        text = text.replace(wide, narrow)
    is_folded = _FOLDED.fullmatch(text)
    if not is_folded:
        text = _WIDE.sub(_narrow, text)
    if " " in text and not _WITHOUT_HAN.fullmatch(text):
        text = (_BLANKS_BESIDE_HAN if "\t" in text else _SPACES_BESIDE_HAN).sub("", text)
    return text if is_folded else text.lower()


def _narrow(wide: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", wide[0])


def _length_of_head(text: str) -> int:
    head = _POLITE_HEAD.match(text)
    return head.end() if head else 0


def features_of(query: Query) -> dict[str, float]:
    """Count everything that the judge weighs; what is absent or 0 is left out."""
    text = normalised(query.text)
    items = _ITEM.findall("\n" + text) if "\n" in text else []
    options = sum(map(_is_option, items)) if items else 0
    is_choice = options >= 3
    # The options of a multiple choice are not what is asked.
    stem = text[: _start_of_options(text)] if is_choice else text
    asking = stem if len(stem) <= 2 * ASKING_CHARS else f"{stem[:ASKING_CHARS]} {stem[-ASKING_CHARS:]}"
    found = {kind: _AMOUNT_OF_CUES[count if count < 4 else 4] for kind, count in cues_in(asking).items()}
    # A body in which nobody asks anything (token ids) is not a greeting.
    if not text and query.turns > 0:
        found["empty"] = 1.0
    words = _words(stem)
    if len(query.text) > 2 * WINDOW_CHARS:
        # Material left out of the windows is taken to be like what was read.
        words *= len(query.text) / (2 * WINDOW_CHARS)
    length = log((words + 1) / MIDDLING_WORDS)
    if is_choice:
        found["choice"] = 1.0
        # A long stem with options to choose from is material to be read: more of it is not a harder task.
        length = min(0.0, length)
    if length:
        found["length"] = -1.5 if length < -1.5 else 2.0 if length > 2.0 else length
    if is_choice and words + 1 > MUCH_MATERIAL_WORDS:
        found["material"] = log((words + 1) / MUCH_MATERIAL_WORDS)
    _add_figures(found, asking)
    questions = stem.count("?")
    clauses = questions + sum(map(stem.count, _OTHER_CLAUSE_ENDS))
    if clauses:
        found["clauses"] = min(1.0 if is_choice else 2.5, log1p(clauses))
    if questions > 1:
        found["questions"] = min(2.0, questions - 1.0)
    if len(items) > options:
        found["items"] = min(1.5, log1p(len(items) - options))
    if "```" in text:
        found["fence"] = 1.0
    # Elsewhere in a question the word is most often a certificate or a piece of evidence.
    if _PROOF_HEAD.match(text):
        found["proof"] = 1.0
    if text.endswith(("吗?", "吗", "嗎?", "嗎")) or _QUESTION_HEAD.match(text):
        found["closed"] = 1.0
    if query.context_chars:
        found["context"] = min(2.0, log1p(query.context_chars / 2000))
    if query.turns > 1:
        found["follow_up"] = 1.0
    if query.has_tools:
        found["tools"] = 1.0
    if query.wants_json:
        found["json"] = 1.0
    return found


def _add_figures(found: dict[str, float], asking: str) -> None:
    numbers = symbols = 0
    for hit in _NUMBER_OR_MATH.findall(asking):
        if hit[0].isnumeric():
            numbers += 1
        else:
            symbols += 1
            numbers += len(hit) > 1
    if numbers:
        found["numbers"] = min(2.0, log1p(numbers))
        if numbers > 1 and ("calculation" in found or "quantity" in found or "amount" in found):
            found["sums"] = 1.0
    if symbols:
        found["symbols"] = min(1.5, log1p(symbols))


def _start_of_options(text: str) -> int:
    return next(item.start() for item in _ITEM.finditer("\n" + text) if _is_option(item[0]))


def _is_option(item: str) -> bool:
    return "a" <= item[-2] <= "h"


def _words(text: str) -> float:
    words = float(len(text.split()))
    if not text.isascii():
        # In UTF-8 a Chinese character takes two bytes more than an ASCII one: counted ten times faster than searched.
        words += WORDS_PER_HAN * (len(text.encode("utf-8", "replace")) - len(text)) / 2
    return words
