"""Texts that were read in a wrong encoding before are told from those that only look odd."""

import pytest

from training.rows_text import flaw

WRITTEN = [
    "怎么办理居住证？", "perché…”", "NESCAFÉ® è buono", "PÍŠE SE ROK", "IRMÃ”", "naïve café, Zürich", "¿Qué?",
    "±2 °C, 3 µm",
    "«Évian»", "привет", "한국어", "日本語です", "👩‍👩‍👧 🇨🇳", "第一行\r\n\t第二行", "中华人民共和国", "𠮷野家",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_what_people_write_has_no_flaw(text: str) -> None:
    assert flaw(text) is None


@pytest.mark.parametrize("text", ["我们是一家人，你好", "café", "привет", "它’s", "한국어"])
def test_utf8_read_as_latin_is_told(text: str) -> None:
    misread = text.encode().decode("cp1252", errors="ignore")
    assert flaw(misread) == (
        "mojibake", "is UTF-8 that was read as Latin-1 (Windows-1252); read its source as UTF-8"
    )  # fmt: skip
    assert flaw(text.encode().decode("latin-1")) == flaw(misread)


@pytest.mark.parametrize("text", ["办理居住证明", "路灯坏了没人管", "привет"])
def test_utf8_read_as_gbk_is_told(text: str) -> None:
    misread = text.encode().decode("gb18030", errors="replace")
    found = flaw(misread)
    assert found is not None
    assert found[0] in ("mojibake", "replacement")
