"""The page of all settings."""

from pathlib import Path

from cluster.settings_reference import reference

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_the_page_in_the_docs_is_the_one_that_the_settings_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_setting_says_what_it_is_for() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `") and not line.startswith("| `kind`")]
    assert len(rows) > 40
    assert [row for row in rows if row.rstrip(" |").endswith("|")] == []
    assert [row for row in rows if row.split("|")[-2].strip() == ""] == []
