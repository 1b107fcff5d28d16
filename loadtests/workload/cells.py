"""Things sorted by language and difficulty, of which one is drawn."""

from collections.abc import Iterable
from typing import Generic, Literal, Protocol, TypeVar

from cluster.errors import UserError

Cell = tuple[Literal["zh", "en"], Literal["easy", "hard"]]
"""Language and difficulty."""


class Labelled(Protocol):
    """A question, a dialogue or an errand."""

    @property
    def language(self) -> str:
        """zh or en."""

    @property
    def difficulty(self) -> str:
        """easy or hard."""


T = TypeVar("T", bound=Labelled)


class Cells(Generic[T]):
    """Each cell that the plan draws has something to give."""

    def __init__(self, things: Iterable[T], wanted: Iterable[Cell], what: str) -> None:
        """Raises UserError naming the first cell that is empty."""
        self._things: dict[Cell, list[T]] = {cell: [] for cell in wanted}
        for thing in things:
            if (cell := (thing.language, thing.difficulty)) in self._things:
                self._things[cell].append(thing)
        for (language, difficulty), found in self._things.items():
            if not found:
                raise UserError(
                    f"{what} hold none that is {language} and {difficulty}; add some, or set that share of "
                    f"workload.languages or workload.difficulty to 0"
                )

    def pick(self, cell: Cell, ratio: float) -> T:
        """The thing of a cell that falls to `ratio`, 0 to 1; each is as likely as the others."""
        things = self._things[cell]
        return things[int(ratio * len(things))]
