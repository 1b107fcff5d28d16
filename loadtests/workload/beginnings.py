"""Of which kind the next person of a closed loop is: so that the plan's shares hold of requests, not of people."""

from collections.abc import Mapping
from typing import Final

from loadtests.plan import Kind
from loadtests.workload.shares import Draw

# What is expected beforehand counts as much as so many people seen.
_PRIOR_PEOPLE: Final = 20


class Beginnings:
    """A person with four turns begins four times less often; how many an agent has, only the model decides."""

    def __init__(self, shares: Mapping[Kind, float], expected_turns: Mapping[Kind, float]) -> None:
        """`expected_turns`: of the kinds that may have more than one."""
        self._shares = shares
        self._people = dict.fromkeys(expected_turns, _PRIOR_PEOPLE)
        self._turns = {kind: turns * _PRIOR_PEOPLE for kind, turns in expected_turns.items()}
        self._draw = self._weighed()

    def at(self, ratio: float) -> Kind:
        """What falls to `ratio`, 0 to 1."""
        return self._draw.at(ratio)

    def ended(self, kind: Kind, turns: int) -> None:
        """Somebody of one of these kinds is done, after so many turns."""
        self._people[kind] += 1
        self._turns[kind] += turns
        self._draw = self._weighed()

    def _weighed(self) -> Draw[Kind]:
        weights = (
            (kind, share * self._people[kind] / self._turns[kind] if kind in self._people else share)
            for kind, share in self._shares.items()
        )
        return Draw(weights, "workload.kinds")
