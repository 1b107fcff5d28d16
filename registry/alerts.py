"""What Alertmanager tells, as orders: a firing alert rolls the running rollout of its name back, once."""

import json
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, Field

from registry.history import Note
from registry.rollout_states import Reloading, RollingBack
from registry.rollout_store import RolloutStore

NAME_LABEL: Final = "fenzhen_name"
_MAX_SHOWN: Final = 120


class Alert(BaseModel):
    """One alert of a notification; keys that we do not need are passed over."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    starts_at: str = Field(default="", alias="startsAt", max_length=64)
    fingerprint: str = Field(default="", max_length=64)

    @property
    def name(self) -> str:
        """Of what is rolled out; empty: it says none."""
        return self.labels.get(NAME_LABEL) or self.annotations.get(NAME_LABEL, "")

    @property
    def title(self) -> str:
        """The alert's own name, fit to be shown."""
        text = self.labels.get("alertname", "without a name")
        return "".join(each for each in text if each.isprintable())[:_MAX_SHOWN]


class Notification(BaseModel):
    """What Alertmanager posts, version 4."""

    version: Literal["4"]
    alerts: tuple[Alert, ...] = Field(max_length=10_000)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one alert."""

    alert: str
    name: str
    is_known: bool
    said: str


def take(store: RolloutStore, alert: Alert) -> Taken:
    """Obey one alert. Blocking; raises Unavailable when the database does not answer."""
    if alert.status == "resolved":
        return Taken(alert.title, alert.name, True, "it is resolved: nothing is done")
    if not alert.name:
        return Taken(alert.title, "", True, f"it has no label {NAME_LABEL}: it concerns no rollout")
    now = store.snapshot()
    running = {rollout.name: rollout for rollout in now.rollouts}.get(alert.name)
    if running is None:
        is_known = alert.name in now.duties or bool(store.latest(alert.name))
        return Taken(alert.title, alert.name, is_known, "no rollout of it runs" if is_known else "no such name")
    key = f"{alert.fingerprint} {alert.starts_at}"
    if isinstance(running.state, RollingBack | Reloading) or any(
        order.verb == "roll_back" for order in now.orders.get(running.rollout_id, ())
    ):
        return Taken(alert.title, alert.name, True, "it is being rolled back already")
    if key.strip() and _was_obeyed(store, alert.name, key):
        # It is sent again and again while it fires, and the next version must not pay for the last one.
        return Taken(alert.title, alert.name, True, "this same alert has rolled a version back already")
    by = f"alert {alert.title}"
    store.give(running, "roll_back", by=by, reason=f"{by} fires")
    said = f"version {running.canary.side.version} is to be rolled back from {running.stage}"
    document = json.dumps({"alert": alert.title, "key": key})
    store.note(Note(alert.name, running.rollout_id, "alert", by, said, document))
    return Taken(alert.title, alert.name, True, said)


def _was_obeyed(store: RolloutStore, name: str, key: str) -> bool:
    return any(
        entry.note.event == "alert" and json.loads(entry.note.document).get("key") == key
        for entry in store.history(name)
    )
