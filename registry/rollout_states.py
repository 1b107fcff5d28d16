"""The values that a rollout is made of: versions as they run, the plan, the states."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cluster.traffic import AS_CONFIGURED, Side
from registry.versions import Kind


@dataclass(frozen=True, slots=True)
class Release:
    """One version as routers and engines run it."""

    side: Side
    kind: Kind | Literal["configured"]
    """`configured`: no version, the model as the settings have it."""
    sha256: str = ""
    folder: str = ""
    """Its verified files on this machine; empty until they are fetched, and where there are none to fetch."""

    @property
    def needs_files(self) -> bool:
        """Whether files must be at hand before it can be used. A model's weights lie with its engines."""
        return self.kind in ("adapter", "prompt", "judge")

    @property
    def is_at_hand(self) -> bool:
        """Whether nothing needs to be fetched any more."""
        return not self.needs_files or self.folder != ""


@dataclass(frozen=True, slots=True)
class Duty:
    """What a name's requests go to while no rollout runs."""

    stable: Release
    previous: Release | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    steps: tuple[float, ...]
    """Shares of the conversations, ascending, above 0 and below 1."""
    bake_s: float
    """Each step, and the watch after the promotion, lasts at least so long."""
    shadow_s: float = 0.0
    shadow_ratio: float = 0.0
    """Share of the requests that is copied to the canary in the shadow."""
    loading_s: float = 900.0
    """What is not loaded and warm by then is given up."""
    started_by: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted(set(self.steps)) or not 0 < self.steps[0] <= self.steps[-1] < 1:
            raise ValueError("steps must ascend and lie above 0 and below 1")


@dataclass(frozen=True, slots=True)
class Pending:
    """Written down; no controller has looked at it yet."""

    since_s: float
    word: Literal["pending"] = "pending"


@dataclass(frozen=True, slots=True)
class Loading:
    """Files are fetched and verified, engines load and warm up."""

    since_s: float
    word: Literal["loading"] = "loading"


@dataclass(frozen=True, slots=True)
class Shadow:
    """Copies of requests go to the canary; nobody sees its answers."""

    since_s: float
    word: Literal["shadow"] = "shadow"


@dataclass(frozen=True, slots=True)
class Canary:
    """A share of the conversations is the canary's."""

    since_s: float
    number: int
    """Index into the plan's steps."""
    word: Literal["canary"] = "canary"


@dataclass(frozen=True, slots=True)
class Promoting:
    """The registry's aliases are moved; the traffic stays as in the last step until they are."""

    since_s: float
    word: Literal["promoting"] = "promoting"


@dataclass(frozen=True, slots=True)
class Promoted:
    """All traffic is the new version's; the one before stays loaded."""

    since_s: float
    word: Literal["promoted"] = "promoted"


@dataclass(frozen=True, slots=True)
class Done:
    """The end, with the canary in force."""

    since_s: float
    reason: str = ""
    word: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class Reloading:
    """Taken back after the end: the version before is loaded again, and until then the traffic stays where it is."""

    since_s: float
    reason: str
    by: str
    word: Literal["reloading"] = "reloading"


@dataclass(frozen=True, slots=True)
class RollingBack:
    """All traffic is the stable version's again; the aliases follow as soon as the registry answers."""

    since_s: float
    reason: str
    by: str
    word: Literal["rolling_back"] = "rolling_back"


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The end, with the stable version in force."""

    since_s: float
    reason: str
    by: str
    word: Literal["rolled_back"] = "rolled_back"


State = Annotated[
    Pending | Loading | Shadow | Canary | Promoting | Promoted | Done | Reloading | RollingBack | RolledBack,
    Field(discriminator="word"),
]


def as_configured(pool: str, *, name: str) -> Release:
    """The model itself, without any version; for `auto` the judge in use."""
    return Release(Side(AS_CONFIGURED, "", "") if name == "auto" else Side(AS_CONFIGURED, pool, pool), "configured")
