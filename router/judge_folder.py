"""Where judges lie in the state folder, and which of them is in use."""

from pathlib import Path
from typing import Final

from router.judge_file import DEFAULT

_FOLDER: Final = "judges"
_ROWS: Final = "rows"


class JudgeFolder:
    """The judges of one stack: the one in use, the one before it, and the one that is tried out."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / _FOLDER
        self.in_use = self.folder / "in_use.judge"
        """The adopted one; without it the shipped one is in use."""
        self.previous = self.folder / "previous.judge"
        self.candidate = self.folder / "candidate.judge"

    def chosen(self, named: Path | None) -> Path:
        """The file in use: the one that the configuration names, the adopted one, or the shipped one."""
        if named is not None:
            return named
        return self.in_use if self.in_use.exists() else DEFAULT


def rows_dir(state_dir: Path) -> Path:
    """Where rows are stored while serving."""
    return state_dir / _ROWS
