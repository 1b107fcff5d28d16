"""The rows that come with us: where they lie. training/SHIPPED_ROWS.md tells what they are."""

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).resolve().parent

HOTLINE_ROWS: Final = _FOLDER / "hotline_rows.jsonl"
"""Questions put to a government hotline in Chinese, and what its triage desk answers: JSON."""

HOTLINE_PREFERENCES: Final = _FOLDER / "hotline_preferences.jsonl"
"""Other such questions with a right and a wrong answer, for DPO."""

EVERYDAY_ROWS: Final = _FOLDER / "everyday_rows.jsonl"
"""Other everyday questions, English and Chinese, that are learnt from so that less is forgotten."""

GENERAL_ROWS: Final = _FOLDER / "general_rows.jsonl"
"""Everyday questions, English and Chinese, that show what is forgotten."""

HOTLINE_RECIPE: Final = _FOLDER / "recipes" / "hotline.yaml"
"""The recipe that learns `HOTLINE_ROWS`."""
