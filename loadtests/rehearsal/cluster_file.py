"""A cluster to rehearse, as a YAML file: its models, how many engines each has, and how long those take."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, PositiveInt, model_validator

from cluster.closed import Closed, Name
from cluster.closed_file import ClosedFile
from cluster.closed_keys import key_lines
from cluster.errors import UserError
from cluster.settings import ExternalPool, Model, Router, Settings, Site
from loadtests.rehearsal.timing import Timing, read_timing, shipped_timings


class Rehearsed(Closed):
    """One model of the cluster. What it is trusted with is as on a model's card in a configuration."""

    name: Name = Field(description="As callers and answers name it.")
    timing: str = Field(min_length=1, description="The name of one that comes with us, or a file.")
    engines: int = Field(ge=1, le=1024, description="Each a port of its own, as a vLLM server.")
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...] = Field(
        default=("zh", "en"), min_length=1, description="As on a model's card."
    )
    max_difficulty: float = Field(ge=0, le=1, description="As on a model's card.")
    tools: bool = Field(default=True, description="As on a model's card.")
    parameters_b: float = Field(gt=0, description="As on a model's card.")
    answer_tokens: PositiveInt = Field(default=120, description="Median of answers that end by themselves.")
    tool_ratio: float = Field(default=1.0, ge=0, le=1, description="How often a tool that is offered is called.")
    max_waiting: int | None = Field(
        default=None, ge=0, description="Of one engine; more are refused with 503. [default: all wait, as in vLLM]"
    )


class RehearsedCluster(Closed):
    """All of them."""

    name: Name = Field(description="Of the cluster, for people.")
    models: tuple[Rehearsed, ...] = Field(min_length=1)
    seed: int = Field(default=7, ge=0, description="Of noise and of what is answered.")

    @model_validator(mode="after")
    def _once_each(self) -> "RehearsedCluster":
        twice = [name for name, count in Counter(model.name for model in self.models).items() if count > 1]
        if twice:
            raise ValueError(f"models: {twice[0]} stands there twice; set its engines instead")
        return self


_CLUSTERS: Final = ClosedFile(
    model=RehearsedCluster,
    noun="cluster",
    first_key="models",
    printed_by="fenzhen loadtest engines --print",
    example="models.0.engines=8",
    paths={("models", "timing"): lambda text: text not in shipped_timings()},
    package="loadtests.rehearsal",
    folder="clusters",
)


def read_cluster(path_or_name: str, overrides: Sequence[str] = ()) -> RehearsedCluster:
    """The cluster in a file, or the one of that name that comes with us. Raises UserError if it is wrong."""
    if path_or_name in shipped_clusters() and not Path(path_or_name).is_file():
        text = cluster_text(path_or_name)
        return _CLUSTERS.parse(text.encode(), f"cluster {path_or_name}", Path.cwd(), overrides)
    return _CLUSTERS.read(Path(path_or_name), overrides)


def shipped_clusters() -> tuple[str, ...]:
    """Those that come with us, sorted."""
    return _CLUSTERS.shipped_names()


def cluster_text(name: str) -> str:
    """One that comes with us as it is written. Raises NotFound."""
    return _CLUSTERS.shipped_text(name)


def keys_text() -> str:
    """All keys of such a file, for a terminal."""
    return "\n".join([*key_lines("", RehearsedCluster), *key_lines("models.0.", Rehearsed)]) + "\n"


def timings_of(cluster: RehearsedCluster) -> dict[str, Timing]:
    """By model. Raises UserError with the model whose timing cannot be read."""
    found = {}
    for model in cluster.models:
        try:
            found[model.name] = read_timing(model.timing)
        except UserError as error:
            raise UserError(f"model {model.name}: {error}") from error
    return found


def server_words(model: Rehearsed, seed: int) -> list[str]:
    """The options of `loadtests.rehearsal.server` for engines of one model."""
    words = ["--timing", model.timing, "--model", model.name, "--seed", str(seed)]
    words += ["--answer-tokens", str(model.answer_tokens), "--tool-ratio", str(model.tool_ratio)]
    return words if model.max_waiting is None else [*words, "--max-waiting", str(model.max_waiting)]


def settings_of(
    cluster: RehearsedCluster, timings: Mapping[str, Timing], ports: Mapping[str, Sequence[int]], state_dir: Path,
    router: Mapping[str, Any],
) -> Settings:  # fmt: skip
    """A configuration for `fenzhen up` with these engines as external endpoints on this machine."""
    return Settings(
        models=tuple(
            Model(
                name=model.name,
                languages=model.languages,
                max_difficulty=model.max_difficulty,
                tools=model.tools,
                context_tokens=timings[model.name].limits.max_model_len,
                parameters_b=model.parameters_b,
            )
            for model in cluster.models
        ),
        pools=tuple(
            ExternalPool(
                model=model.name,
                endpoints=tuple(f"http://127.0.0.1:{port}" for port in ports[model.name]),
                busy_in_flight=timings[model.name].limits.max_num_seqs,
            )
            for model in cluster.models
        ),
        router=Router.model_validate(dict(router)),
        site=Site(state_dir=state_dir, models_dir=state_dir / "models"),
    )
