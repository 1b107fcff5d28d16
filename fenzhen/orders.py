"""How `fenzhen update` and the supervisor speak: two files in the state folder, each replaced whole.

    update --order.json--> supervisor --outcome.json--> update

An order names the supervisor that it is for, so that one which was left behind by a crash is obeyed by nobody.
"""

import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.settings import Settings

# `refused`: what was asked for needs a restart; nothing was done. `failed`: it was tried; what ran before runs on.
Phase = Literal["unchanged", "refused", "replacing", "done", "failed"]


class Order(BaseModel):
    """Run with these settings instead."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    pid: int
    """The supervisor's."""
    pid_started_s: float
    settings: Settings
    settings_from: str
    is_forced: bool = False
    """Replace the router's replicas even if nothing has changed."""


class Outcome(BaseModel):
    """What has become of an order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order_id: str
    pid: int
    pid_started_s: float
    phase: Phase
    message: str
    """For people; may have several lines."""
    ends_within_s: float = 0
    """While replacing: when it must have ended, well or not, from when it began."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be said of this order."""
        return self.phase != "replacing"


def write_order(state_dir: Path, order: Order) -> None:
    """Replace the file."""
    _write(state_dir / "order.json", order)


def read_order(state_dir: Path) -> Order | None:
    """The last order, or None if there is none that can be read."""
    try:
        return Order.model_validate_json((state_dir / "order.json").read_bytes())
    except (OSError, ValidationError):
        return None


def write_outcome(state_dir: Path, outcome: Outcome) -> None:
    """Replace the file."""
    _write(state_dir / "outcome.json", outcome)


def read_outcome(state_dir: Path) -> Outcome | None:
    """What was last said of an order, or None if nothing can be read."""
    try:
        return Outcome.model_validate_json((state_dir / "outcome.json").read_bytes())
    except (OSError, ValidationError):
        return None


def _write(path: Path, document: BaseModel) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(document.model_dump_json(indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
