"""How good an answer is, without a person: held against a reference, or against a larger model's answer.

Against a reference the result is right or wrong, by the first of these that applies:
    the reference is one or several capital letters A to H    the answer chooses the same
    the reference is a number                                 the number that the answer comes to is the same
    else                                                      the reference stands in the answer, as whole words
Against another answer it is a share from 0 to 1:
    both say the same but for case, width, spaces and marks   1
    both choose a letter, or state a result                   1 or 0, as these are the same
    one says yes and the other no, or each has one number
    and these differ                                          0
    else                                                      the words that they share (F1 of words and of pairs of
                                                              Chinese characters)
Words shared are no measure of truth: two good letters differ more than two wrong sums. They rank many questions well
enough to learn from; where that is not enough there are references and a judge model.
"""

import math
import re
import unicodedata
from collections import Counter
from typing import Final

MAX_CHARS: Final = 6000
"""More of an answer is not looked at."""
_MARKUP: Final = re.compile(r"[*_`#>|~$]+|\\(?:text|mathrm|mathbf|left|right|[()\[\],;!])")
_SPACE: Final = re.compile(r"\s+")
_EDGES: Final = " .,;:!?。、\"'“”‘’()[]【】「」"
_WORD: Final = re.compile("[\u3400-\u9fff]|[^\\W_]+(?:[.,][0-9]+)*")
_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:/[0-9]+)?%?|[0-9]+(?:\.[0-9]+)?%?")
# Where an answer states its result, and what follows. The last one counts.
_STATED: Final = re.compile(
    r"(?:\\boxed\{|answer(?: is|:)|result is|(?:答案|结果)(?:应?[是为选]|:)|故选|应选|选项?[是为:])"
    r"\s*(?=([^。;]{0,80}))"
)
_CHOICE: Final = re.compile(r"[\s(\[{:]*(?:option |choice |选项?)?\(?([a-h]{1,6})(?![a-z0-9'’])(?! ?[a-z]*的)")
_LETTER: Final = re.compile(r"(?<![A-Za-z])[A-H](?![A-Za-z'’])")
_LETTERS: Final = re.compile("[a-h]")
_YES: Final = re.compile(r"(?:yes|correct|true|right|是的|对的?|正确|可以|能)(?![a-z吗么])")
_NO: Final = re.compile(r"(?:no|not|incorrect|false|wrong|不|否|错误?|没有|无法)(?![a-z])")


def is_right(answer: str, reference: str) -> bool:
    """Whether the answer gives what the reference says."""
    said, wanted = normalised(answer), normalised(reference)
    if not wanted or not said:
        return False
    if said == wanted:
        return True
    letters = "".join(unicodedata.normalize("NFKC", reference).replace(",", " ").replace("、", " ").split())
    if re.fullmatch("[A-H]{1,6}", letters):
        return _chosen(answer) == sorted(letters.casefold())
    number = _number_of(wanted)
    if number is not None:
        numbers = _NUMBER.findall(said)
        reached = stated_number(said)
        if reached is None and numbers:
            reached = _number_of(numbers[-1])
        return reached is not None and _is_same(reached, number)
    return _holds(said, wanted)


def agreement(one: str, other: str) -> float:
    """How far two answers to one question agree, 0 to 1."""
    first, second = normalised(one), normalised(other)
    if not first or not second:
        return 0.0
    if first == second:
        return 1.0
    choices = choice_of(first), choice_of(second)
    if choices[0] and choices[1]:
        return float(choices[0] == choices[1])
    results = stated_number(first), stated_number(second)
    if results[0] is not None and results[1] is not None:
        return float(_is_same(results[0], results[1]))
    if (_YES.match(first) and _NO.match(second)) or (_NO.match(first) and _YES.match(second)):
        return 0.0
    numbers = _NUMBER.findall(first), _NUMBER.findall(second)
    if len(numbers[0]) == len(numbers[1]) == 1:
        values = _number_of(numbers[0][0]), _number_of(numbers[1][0])
        if values[0] is None or values[1] is None or not _is_same(values[0], values[1]):
            return 0.0
        if first == numbers[0][0] or second == numbers[1][0]:
            return 1.0
    return shared_words(first, second)


def normalised(text: str) -> str:
    """The text without what does not count: case, width, marks of emphasis, spaces, marks at its ends."""
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARS]).casefold().replace("####", " answer: ")
    return _SPACE.sub(" ", _MARKUP.sub(" ", plain)).strip(_EDGES)


def shared_words(first: str, second: str) -> float:
    """F1 of the words of two normalised texts: Latin words, Chinese characters, and pairs of these that touch."""
    ours, theirs = _words(first), _words(second)
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def choice_of(said: str) -> str | None:
    """The letters that a normalised answer chooses, in order; None if it chooses none."""
    for stated in reversed(_STATED.findall(said)):
        if (found := _CHOICE.match(stated)) and _is_choice(found.group(1), stated[found.end(1) :]):
            return found.group(1)
    found = _CHOICE.match(said)
    # "B", "B. Paris" and "b)" are choices; "a dog barks" is none.
    if found and _is_choice(found.group(1), said[found.end(1) :]) and said[found.end(1) :][:1] != " ":
        return found.group(1)
    return None


def stated_number(said: str) -> float | None:
    """The number that a normalised answer says is its result."""
    for stated in reversed(_STATED.findall(said)):
        numbers = _NUMBER.findall(stated)
        # "The answer is 5 + 7 = 12".
        sums = re.findall(r"=\s*([-+]?[0-9][0-9,./%]*)", stated)
        if numbers:
            return _number_of(sums[-1].rstrip(".,/") if sums else numbers[0])
    return None


def _chosen(answer: str) -> list[str] | None:
    """The letters that an answer chooses, sorted, where it is known that letters are asked for."""
    plain = unicodedata.normalize("NFKC", answer[:MAX_CHARS])
    if re.fullmatch(r"[A-H](?:[\s,、和及]*[A-H])*[.。]?", plain.strip()):
        return sorted(_LETTERS.findall(plain.casefold()))
    chosen = choice_of(normalised(answer))
    if chosen is not None:
        return sorted(chosen)
    # "I think B is right": nothing says that it is the choice, but it is the only letter there is.
    alone = set(_LETTER.findall(plain))
    return sorted(letter.casefold() for letter in alone) if len(alone) == 1 else None


def _is_choice(letters: str, after: str) -> bool:
    is_article = letters == "a" and re.match(" [a-z]", after) is not None
    # "bad" and "cab" are words; "abd" and "ac" are choices.
    return not is_article and list(letters) == sorted(set(letters))


def _words(text: str) -> Counter[str]:
    words: Counter[str] = Counter()
    last, last_end = "", -1
    for found in _WORD.finditer(text):
        word = found.group()
        words[word] += 1
        is_han = len(word) == 1 and "\u3400" <= word <= "\u9fff"
        if is_han and last and found.start() == last_end:
            words[last + word] += 1
        last, last_end = (word if is_han else ""), found.end()
    return words


def _number_of(text: str) -> float | None:
    found = _NUMBER.fullmatch(text.strip(" 元¥€£"))
    if not found:
        return None
    plain = found.group().replace(",", "")
    above, _, below = plain.rstrip("%").partition("/")
    if below and not float(below):
        return None
    number = float(above) / (float(below) if below else 1.0)
    return number / 100 if plain.endswith("%") else number


def _is_same(one: float, other: float) -> bool:
    # What was computed in another order may differ in the last digit that is written.
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def _holds(said: str, wanted: str) -> bool:
    """Whether `wanted` stands in `said`: Latin words whole, Chinese anywhere, for there are no spaces around them."""
    before = "(?<![a-z0-9])" if wanted[0].isascii() else ""
    after = "(?![a-z0-9])" if wanted[-1].isascii() else ""
    return re.search(before + re.escape(wanted) + after, said) is not None
