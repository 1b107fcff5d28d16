"""What a start waits for: every engine that is started here, and one server of each pool whose servers run already."""

from collections import Counter

from cluster.directory import Endpoint, Table
from cluster.errors import Unavailable
from cluster.settings import ExternalPool, Settings

# What keeps one server away mostly keeps its neighbours away, too.
_MAX_NAMED = 5


class Awaited:
    """The endpoints that a configuration promises, held against those that there are."""

    def __init__(self, settings: Settings, now_s: float) -> None:
        self._engine_pools = settings.engine_pools
        self._external_pools = settings.external_pools
        self._began_s = now_s
        self._expected = sum(pool.engines for pool in self._engine_pools) + sum(
            len(pool.endpoints) for pool in self._external_pools
        )

    def is_enough(self, table: Table) -> bool:
        """Whether the stack may be called ready."""
        ready = _ready(table)
        return all(ready[pool.model] >= pool.engines for pool in self._engine_pools) and all(
            ready[pool.model] for pool in self._external_pools
        )

    def check_time(self, table: Table, now_s: float) -> None:
        """Raise Unavailable if a pool of servers that run already has had its time, and none has answered."""
        ready, passed_s = _ready(table), now_s - self._began_s
        late = [p for p in self._external_pools if not ready[p.model] and passed_s > p.first_answer_timeout_s]
        if late:
            pool = late[0]
            others = f"; none of {', '.join(p.model for p in late[1:])}, either" if late[1:] else ""
            raise Unavailable(
                f"no endpoint of pool {pool.model} has answered within {pool.first_answer_timeout_s:g} s "
                f"(first_answer_timeout_s): {'; '.join(_silent(pool, table))}{others}"
            )

    def message(self, table: Table) -> str:
        """How far it is."""
        ready = sum(_ready(table).values())
        what = "endpoints" if self._external_pools else "engines"
        if ready == self._expected:
            return f"every {what[:-1]} answers"
        return f"{ready} of {self._expected} {what} answer"


def _ready(table: Table) -> Counter[str]:
    return Counter(endpoint.model for endpoint in table.endpoints if endpoint.state == "ready")


def _silent(pool: ExternalPool, table: Table) -> list[str]:
    """Each endpoint of a pool of which none answers, with what is wrong with it."""
    known: dict[str, Endpoint] = {row.base_url: row for row in table.endpoints if row.model == pool.model}
    lines = [f"{url} {known[url].detail if url in known else 'has not answered yet'}" for url in pool.endpoints]
    more = [f"and {len(lines) - _MAX_NAMED} more"] if len(lines) > _MAX_NAMED else []
    return [*lines[:_MAX_NAMED], *more]
