"""What can be seen of a question at a glance: its size, its shape and its cue words, each as one number.

Everything is counted by compiled patterns and `str` methods over at most `2 * WINDOW_CHARS` characters: a question of
500 characters may cost some 60 microseconds of CPU, not more.
"""

import math
import re
import unicodedata
from collections.abc import Mapping

from router.query import Query
from router.words import cues_in

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
_WIDE = re.compile("[\u00a0\u2000-\u200d\u202f\u205f\u2460-\u24ff\u3000\ufb00-\ufb06\ufeff\uff00-\uffef]+")
_SPACES_BESIDE_HAN = re.compile("[ \t]+(?=[\u2e80-\uffff])|(?<=[\u2e80-\uffff])[ \t]+")
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
_LAST_LETTERS_OF_THANKS = "谢謝您你了啦苦estuh"
_MARKS_AT_END = " ,.!。~\t\r\n"
# Thanks longer than this are a message of their own.
_TAIL_CHARS = 60

# The Chinese numeral for one is left out: it is also the indefinite article.
# One character class, and not three alternatives: a third of the time.
_NUMBER_OR_MATH = re.compile(r"[0-9二三四五六七八九十百千两兩=+*/^√∑∫≤≥≠×÷%<>\\$][0-9.,:]*")
_PROOF_HEAD = re.compile("(?:试|試)?(?:证明|證明)(?!材料|书|書|信|文件|函)")
_ITEM = re.compile(r"\s(?:[-*•]\s|\(?\d{1,2}[.)、]\s?(?!\d)|\(?([a-h])[.):、])")
_CLAUSE_ENDS = (". ", "。", "!", "?", ",", ";")
_QUESTION_HEAD = re.compile(r"(?:is|are|was|were|do|does|did|has|have|may|can|must|should) ")


def normalised(text: str) -> str:
    """Fold what must not change the choice: width, case, spaces, and courtesies at both ends."""
    if len(text) > 2 * WINDOW_CHARS:
        text = f"{text[:WINDOW_CHARS]}\n{text[-WINDOW_CHARS:]}"
    if not text.isascii():
        for wide, narrow in _MARKS:
            text = text.replace(wide, narrow)
        text = _WIDE.sub(_narrow, text)
        if " " in text:
            text = _SPACES_BESIDE_HAN.sub("", text)
    text = text.lower().strip()
    text = text[_length_of_head(text) :]
    if text.rstrip(_MARKS_AT_END)[-1:] not in _LAST_LETTERS_OF_THANKS:
        return text
    if tail := _POLITE_TAIL.search(text, max(0, len(text) - _TAIL_CHARS)):
        text = text[: tail.start()]
    return text


def _narrow(wide: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", wide[0])


def _length_of_head(text: str) -> int:
    head = _POLITE_HEAD.match(text)
    return head.end() if head else 0


def features_of(query: Query) -> Mapping[str, float]:
    """Count everything that the judge weighs; what is absent or 0 is left out."""
    text = normalised(query.text)
    items = list(_ITEM.finditer("\n" + text)) if "\n" in text else []
    options = [item for item in items if item[1]]
    # The options of a multiple choice are not what is asked.
    stem = text[: options[0].start()] if len(options) >= 3 else text
    asking = stem if len(stem) <= 2 * ASKING_CHARS else f"{stem[:ASKING_CHARS]} {stem[-ASKING_CHARS:]}"
    # The second cue of a kind tells less than the first, and a fourth nothing more.
    found: dict[str, float] = {kind: min(1.6, 0.7 + 0.3 * count) for kind, count in cues_in(asking).items()}
    # A body in which nobody asks anything (token ids) is not a greeting.
    found["empty"] = float(not text and query.turns > 0)

    numbers = symbols = 0
    for hit in _NUMBER_OR_MATH.findall(asking):
        if hit[0].isnumeric():
            numbers += 1
        else:
            symbols += 1
            numbers += len(hit) > 1
    questions = stem.count("?")
    clauses = sum(map(stem.count, _CLAUSE_ENDS))

    # Material left out of the windows is taken to be like what was read.
    scale = max(1.0, len(query.text) / (2 * WINDOW_CHARS))
    found["choice"] = float(len(options) >= 3)
    found["length"] = max(-1.5, min(2.0, math.log((_words(stem) * scale + 1) / MIDDLING_WORDS)))
    if found["choice"]:
        # A long stem with options to choose from is material to be read: more of it is not a harder task.
        found["length"] = min(0.0, found["length"])
        found["material"] = max(0.0, math.log((_words(stem) * scale + 1) / MUCH_MATERIAL_WORDS))
    found["numbers"] = min(2.0, math.log1p(numbers))
    found["sums"] = float(numbers >= 2 and not found.keys().isdisjoint(("calculation", "quantity", "amount")))
    found["symbols"] = min(1.5, math.log1p(symbols))
    found["clauses"] = min(1.0 if found["choice"] else 2.5, math.log1p(clauses))
    found["questions"] = min(2.0, max(0.0, questions - 1.0))
    found["items"] = min(1.5, math.log1p(len(items) - len(options)))
    found["fence"] = float("```" in text)
    # Elsewhere in a question the word is most often a certificate or a piece of evidence.
    if _PROOF_HEAD.match(text):
        found["proof"] = 1.0
    found["closed"] = float(text.endswith(("吗?", "吗", "嗎?", "嗎")) or _QUESTION_HEAD.match(text) is not None)
    found["context"] = min(2.0, math.log1p(query.context_chars / 2000))
    found["follow_up"] = float(query.turns > 1)
    found["tools"] = float(query.has_tools)
    found["json"] = float(query.wants_json)
    return {name: amount for name, amount in found.items() if amount}


def _words(text: str) -> float:
    words = float(len(text.split()))
    if not text.isascii():
        # In UTF-8 a Chinese character takes two bytes more than an ASCII one: counted ten times faster than searched.
        words += WORDS_PER_HAN * (len(text.encode("utf-8", "replace")) - len(text)) / 2
    return words
