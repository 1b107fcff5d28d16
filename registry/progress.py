"""How a long fetch tells a person how far it is."""

from typing import Protocol


class Progress(Protocol):
    """One stage after the other; the command line draws a bar, tests keep a list."""

    def stage(self, title: str, total_bytes: int | None) -> None:
        """Begin a stage. `total_bytes` is None where the end cannot be foreseen."""

    def advance(self, done_bytes: int) -> None:
        """Bytes done since the stage began: all of them, not the difference."""

    def note(self, line: str) -> None:
        """Say one line that stays on the screen."""


class Silent:
    """For those whom nobody watches."""

    def stage(self, title: str, total_bytes: int | None) -> None:
        """Say nothing."""

    def advance(self, done_bytes: int) -> None:
        """Say nothing."""

    def note(self, line: str) -> None:
        """Say nothing."""
