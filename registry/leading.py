"""What a controller of rollouts knows while it holds the lease; nothing of it outlives that."""

from dataclasses import dataclass

from cluster.traffic import Traffic
from registry.demand import Demand
from registry.lease import Lease
from registry.stage_watch import StageWatch


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a controller turns. Seconds."""

    tick_s: float = 0.5
    lease_s: float = 5.0
    retry_s: float = 2.0
    """Before the registry is asked again after it has not answered."""
    keep_s: float = 2.0
    """How much of the evidence may be lost with a controller."""


class Lead:
    """Begins with taking the lease."""

    def __init__(self, lease: Lease, renewed_s: float, generation: int) -> None:
        self.lease = lease
        self.renewed_s = renewed_s
        self.fresh_generation = generation
        """A number that no traffic has had yet; 0: there is none."""
        self.traffic: Traffic | None = None
        """What was put in force last."""
        self.directed_s = 0.0
        self.in_force: dict[str, str] = {}
        """The stage of each rollout that routers were told of."""
        self.kept_s: float | None = None
        self.is_table_known = False
        self.demand = Demand()
        self.generations: dict[str, int] = {}
        """Of the traffic that each router replica acts by."""
        self.watches: dict[str, StageWatch] = {}
        self.waits: dict[str, str] = {}
        """What each rollout waits for."""
