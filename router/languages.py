"""Which natural languages a text is written in, as far as its scripts tell."""

import re

# Ranges of letters only. The Japanese ones leave out the middle dot (U+30FB), which Chinese uses in foreign names.
_HAN = re.compile("[\u2e80-\u2fd5\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d]")
_LATIN = re.compile("[A-Za-z\uff21-\uff3a\uff41-\uff5a\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]")
_OTHERS = {
    "ko": re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3\uffa1-\uffdc]"),
    "ru": re.compile("[\u0400-\u052f]"),
    "ar": re.compile("[\u0620-\u064a\u066e-\u06d3\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]"),
    "th": re.compile("[\u0e01-\u0e30\u0e40-\u0e46]"),
    # One or two Greek letters are a formula (pi, alpha beta), not Greek.
    "el": re.compile("[\u0370-\u03ff\u1f00-\u1fff]{3}"),
    "he": re.compile("[\u05d0-\u05ea]"),
    "hi": re.compile("[\u0904-\u0939\u0958-\u0961]"),
}
# Nearly every text is Chinese or English: one look says that none of the other scripts needs a search of its own.
_ANY_OTHER = re.compile("[\u0370-\u11ff\u1f00-\u1fff\u3131-\u318e\uac00-\ud7a3\ufb50-\ufdff\ufe70-\ufefc\uffa1-\uffdc]")


def languages_of(text: str) -> frozenset[str]:
    """Name the languages (ISO 639-1) that a model must know to read `text`.

    Scripts are all that is looked at: Latin letters count as `en`, for French or Vietnamese cannot be told from
    English by letters; Cyrillic counts as `ru`, Arabic as `ar`, Devanagari as `hi`. A single Han character asks for
    `zh`, or for `ja` where kana stand beside it. Latin letters beside Chinese or Japanese add nothing: names and
    codes are everywhere. A text without letters needs no language.
    """
    if text.isascii():
        return frozenset({"en"}) if _LATIN.search(text) else frozenset()
    found = set()
    if _KANA.search(text):
        found.add("ja")
    elif _HAN.search(text):
        found.add("zh")
    elif _LATIN.search(text):
        found.add("en")
    if _ANY_OTHER.search(text):
        found.update(code for code, letters in _OTHERS.items() if letters.search(text))
    return frozenset(found)
