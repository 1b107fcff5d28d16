"""Who gets which version: the splits in force, and the draw that decides for one conversation or user.

A draw is a number in [0, 1) from a hash of the rollout and of whoever asks, so that every replica draws the same:

    0 ......... canary_ratio ..................... 1 - canary_ratio ......... 1
    | canary    | stable, not recorded            | stable, the control slice |

As the ratio grows the canary keeps those it had and gets more. The control slice is as large as the canary and asked at
the same time; beyond one half it is what is left. While nothing but copies goes to the canary, those whose requests are
copied are the control. Pure but for the random draw of those of whom nothing is known.
"""

from collections.abc import Collection, Mapping
from hashlib import blake2b
from random import random
from types import MappingProxyType
from typing import Final, NamedTuple

from cluster.errors import BadRequest
from cluster.traffic import AS_CONFIGURED, Side, Split, Traffic

VERSION: Final = b"x-fenzhen-version"
"""A caller's header that names a side, for testing by hand; and the answer's that says which version it came from."""
_UNIT: Final = 2.0**-64
_EVERYBODY: Final = 1.0


class Drawn(NamedTuple):
    """The side of one request."""

    split: Split
    side: Side
    is_canary: bool
    is_recorded: bool
    """Whether it counts in the comparison: the canary, and as large a slice of stable."""
    is_shadowed: bool
    """Whether stable answers and the canary gets a copy."""


class Splits:
    """The splits in force, replaced all at once. Lives on one event loop."""

    __slots__ = ("_lots", "generation", "is_any_watched")

    def __init__(self) -> None:
        self._lots: Mapping[str, _Lot] = MappingProxyType({})
        self.generation = -1
        """Of the traffic in force; -1: none yet."""
        self.is_any_watched = False
        """Whether any of them needs to know who asks."""

    def __contains__(self, name: str) -> bool:
        return name in self._lots

    def __bool__(self) -> bool:
        return bool(self._lots)

    @property
    def all(self) -> Collection[Split]:
        """Those in force."""
        return [lot.plain.split for lot in self._lots.values()]

    def update(self, traffic: Traffic) -> bool:
        """Take over a later decision; whether it was one."""
        if traffic.generation <= self.generation:
            return False
        self.generation = traffic.generation
        self._lots = {split.name: _Lot(split) for split in traffic.splits}
        self.is_any_watched = any(split.is_watched for split in traffic.splits)
        return True

    def is_watched(self, name: str) -> bool:
        """Whether the draw for this name depends on who asks."""
        lot = self._lots.get(name)
        return lot is not None and lot.canary is not None

    def draw(self, name: str, key: int | None) -> Drawn | None:
        """The side for whoever `key` stands for, by chance without one; None: the name has no split."""
        lot = self._lots.get(name)
        return None if lot is None else lot.draw(key)

    def stable(self, name: str) -> Drawn | None:
        """The stable side, for a request that counts in no comparison; None: the name has no split."""
        lot = self._lots.get(name)
        return None if lot is None else lot.plain

    def pinned(self, name: str, asked: bytes) -> Drawn | None:
        """The side that the caller names: `stable`, `canary` or a version's number; None: as configured.

        Raises BadRequest, naming those that there are.
        """
        lot = self._lots.get(name)
        word = asked.decode("latin-1").strip().lower()
        if lot is None:
            if word in ("stable", str(AS_CONFIGURED)):
                return None
            there_are = f"stable and {AS_CONFIGURED}"
        else:
            for side, drawn in (("stable", lot.plain), ("canary", lot.canary)):
                if drawn is not None and word in (side, str(drawn.side.version)):
                    return drawn._replace(is_recorded=False)
            there_are = f"stable ({lot.plain.side.version})"
            if lot.canary is not None:
                there_are += f" and canary ({lot.canary.side.version})"
        header = VERSION.decode()
        raise BadRequest(f"{header} names no version of {name} that is in force. There are: {there_are}.", header)


class _Lot:
    """One split, with all that can be drawn of it made beforehand."""

    __slots__ = ("_canary_below", "_control_from", "_hash_key", "_is_plain", "_shadowed_below", "_stable", "canary",
                 "plain")  # fmt: skip

    def __init__(self, split: Split) -> None:
        canary = split.canary
        ratio = split.canary_ratio if canary is not None else 0.0
        copied = split.shadow_ratio if canary is not None else 0.0
        self._hash_key = blake2b(split.rollout_id.encode(), digest_size=32).digest()
        self._is_plain = not ratio and not copied
        self._canary_below = ratio
        self._shadowed_below = ratio + copied * (1 - ratio)
        # Without a canary that answers, the control is whoever is copied; see `draw`.
        self._control_from = max(ratio, 1 - ratio) if ratio else 0.0 if copied else _EVERYBODY
        self.canary = None if canary is None else Drawn(split, canary, True, True, False)
        self.plain = Drawn(split, split.stable, False, False, False)
        # By whether it is copied, and whether it is recorded.
        self._stable = tuple(
            tuple(Drawn(split, split.stable, False, is_recorded, is_shadowed) for is_recorded in (False, True))
            for is_shadowed in (False, True)
        )

    def draw(self, key: int | None) -> Drawn:
        if self._is_plain:
            return self.plain
        at = random() if key is None else self._place(key)  # noqa: S311  Nobody gains by guessing it.
        if at < self._canary_below:
            assert self.canary is not None
            return self.canary
        is_shadowed = at < self._shadowed_below
        is_recorded = at >= self._control_from if self._canary_below else is_shadowed
        return self._stable[is_shadowed][is_recorded]

    def _place(self, key: int) -> float:
        word = blake2b(key.to_bytes(8, "big"), digest_size=8, key=self._hash_key).digest()
        # 53 bits, as many as a float holds: rounded up, the largest number would be 1.
        return (int.from_bytes(word, "big") >> 11 << 11) * _UNIT
