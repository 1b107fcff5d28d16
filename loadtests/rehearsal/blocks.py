"""The KV cache of one engine: blocks, who holds them, and what they are remembered for."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class Blocks:
    """So many blocks. A free one keeps what it held until it is needed: the one that was freed first goes first.

    As vLLM does it (`vllm/v1/core/block_pool.py`, 0.32): a whole block is known by a hash of all tokens up to its end.
    """

    def __init__(self, count: int) -> None:
        self._holders = [0] * count
        self._hash_of: list[int | None] = [None] * count
        self._by_hash: dict[int, int] = {}
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(count))
        self.count = count

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def used_ratio(self) -> float:
        """Part of the blocks that somebody holds."""
        return 1 - len(self._free) / self.count

    def known(self, hashes: Sequence[int], at_most: int) -> list[int]:
        """The blocks that are remembered for the beginning of these hashes, without taking them."""
        found = []
        for one in hashes[:at_most]:
            block = self._by_hash.get(one)
            if block is None:
                break
            found.append(block)
        return found

    def free_among(self, blocks: Iterable[int]) -> int:
        """How many of these are free, so that holding them would make fewer free ones."""
        return sum(not self._holders[block] for block in blocks)

    def hold(self, blocks: Iterable[int]) -> None:
        """Hold blocks that are remembered, together with whoever else does."""
        for block in blocks:
            if not self._holders[block]:
                del self._free[block]
            self._holders[block] += 1

    def take(self, count: int) -> list[int]:
        """Take free blocks, and forget what they were remembered for. There must be so many."""
        taken = []
        for _ in range(count):
            block, _ = self._free.popitem(last=False)
            old = self._hash_of[block]
            if old is not None:
                del self._by_hash[old]
                self._hash_of[block] = None
            self._holders[block] = 1
            taken.append(block)
        return taken

    def remember(self, block: int, known_as: int) -> None:
        """What a held block that is full can be found by. If another one is found by it already, this one is not."""
        if known_as not in self._by_hash and self._hash_of[block] is None:
            self._by_hash[known_as] = block
            self._hash_of[block] = known_as

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of blocks; the last of a sequence are reused first, for its beginning is what others may share."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free[block] = None
