"""Which version of a name takes which share of its requests: the controller of rollouts says, routers and engines read.

A name is what callers ask for: a served model, an adapter of one, `auto` for the judge of questions. Requests to a name
without a split go to the model of that name, as it is configured.
"""

from dataclasses import dataclass

AS_CONFIGURED = 0
"""The version number of a model without any version: its weights as the settings name them."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA weights that some engines of a base model shall have loaded."""

    served_name: str
    """Its name in the engine, `NAME@VERSION-DIGEST`: never used again for other weights."""
    base: str
    """The model whose engines carry it."""
    folder: str
    """Where its files lie; the engine's machine sees the same path."""
    sha256: str
    """Of the folder (`registry.digests`). Other contents are not loaded."""
    endpoint_ids: tuple[str, ...]
    """The engines that shall carry it."""


@dataclass(frozen=True, slots=True)
class Side:
    """One version, and how a request to it is written."""

    version: int
    """MLflow's number, or `AS_CONFIGURED`."""
    pool: str
    """The model whose endpoints answer; empty for a judge."""
    served_name: str
    """What they are asked for: the pool's model, or an adapter."""
    prompt: str = ""
    """Put before the chat as a system message."""
    judge: str = ""
    """Path of a judge file, for the name `auto`; empty: the judge in use."""


@dataclass(frozen=True, slots=True)
class Split:
    """Where the requests to one name go."""

    name: str
    stable: Side
    canary: Side | None = None
    canary_ratio: float = 0.0
    """Share of conversations whose answers come from the canary."""
    shadow_ratio: float = 0.0
    """Share of the requests to stable that are copied to the canary; nobody sees those answers."""
    rollout_id: str = ""
    """Of the rollout that is watched; mixed into the draw, so that not always the same people go first."""

    @property
    def is_watched(self) -> bool:
        """Whether what becomes of requests is wanted."""
        return self.canary is not None


@dataclass(frozen=True, slots=True)
class Traffic:
    """All splits and adapters in force. A higher `generation` is a later decision."""

    generation: int
    splits: tuple[Split, ...]
    adapters: tuple[Adapter, ...]
