"""A plan: one small YAML file that says what a load test sends, when, and what it must withstand. Closed and frozen."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from cluster.closed import Closed, Name

Kind = Literal["chat", "stream", "conversation", "agent"]
Urgency = Literal["red", "yellow", "blue"]
Shares = dict[str, Annotated[float, Field(ge=0)]]
"""Relative shares by name; they need not add up to 1."""


class Target(Closed):
    """Whom to ask."""

    url: str | None = Field(
        default=None, pattern=r"^https?://\S+$",
        description="The address, with or without /v1. [default: the router of the stack that runs here]",
    )  # fmt: skip
    model: str = Field(default="auto", description="The model asked for; `auto`: the router chooses.")
    api_key_env: Name | None = Field(
        default=None, description="Environment variable that holds the key, if one is needed."
    )
    engine_urls: tuple[str, ...] = Field(
        default=(),
        description="Engines whose /metrics are read while the test runs. [default: those of the stack here]",
    )


class Tenant(Closed):
    """A department that asks."""

    name: Name = Field(description="As reports call it; sent as `x-fenzhen-group`.")
    share: PositiveFloat = Field(default=1.0, description="Of the people, relative to the other tenants.")
    levels: dict[Urgency, Annotated[float, Field(ge=0)]] = Field(
        default={"blue": 1.0}, description="How urgent its requests are, relative shares; sent as `x-fenzhen-level`."
    )
    api_key_env: Name | None = Field(default=None, description="Environment variable with its own key.")


class Lengths(Closed):
    """Prompts and answers made to length, instead of questions."""

    prompt_tokens: PositiveInt | None = Field(default=None, description="Of each prompt. [default: as the trace says]")
    answer_tokens: PositiveInt | None = Field(default=None, description="Of each answer, enforced with `ignore_eos`.")
    prefix_ratio: float = Field(default=0.0, ge=0, le=1, description="Part of a prompt that it shares with others.")
    prefixes: PositiveInt = Field(default=8, description="So many different shared beginnings, used in turn.")


class Workload(Closed):
    """What is asked."""

    kinds: dict[Kind, Annotated[float, Field(ge=0)]] = Field(
        default={"stream": 7, "conversation": 2, "agent": 1},
        description="Shares: chat (answer at once), stream, conversation (several turns), agent (calls tools).",
    )
    difficulty: dict[Literal["easy", "hard"], Annotated[float, Field(ge=0)]] = Field(
        default={"easy": 7, "hard": 3}, description="Relative shares of easy and hard questions."
    )
    languages: dict[Literal["zh", "en"], Annotated[float, Field(ge=0)]] = Field(
        default={"zh": 6, "en": 4}, description="Relative shares."
    )
    questions: Path | None = Field(
        default=None, description="A file of labelled questions. [default: the 80 that come with us]"
    )
    in_order: bool = Field(default=False, description="Ask every question once, in the file's order, then end.")
    lengths: Lengths | None = Field(
        default=None, description="Made-up prompts to length; needs kinds chat or stream only."
    )
    max_tokens: PositiveInt = Field(default=128, description="Of one answer.")
    temperature: float = Field(default=0.0, ge=0, le=2, description="0: the likeliest token each time.")
    max_turns: int = Field(default=4, ge=1, le=32, description="Of a conversation; an agent may call tools so often.")
    think_s: tuple[float, float] = Field(
        default=(0.0, 0.0), description="People wait between two turns, from and to seconds, evenly drawn."
    )
    tenants: tuple[Tenant, ...] = Field(
        default=(Tenant(name="hotline"),), min_length=1, description="Departments that ask, each with its share."
    )


class Constant(Closed):
    """Evenly spaced."""

    kind: Literal["constant"] = "constant"
    rate_per_s: PositiveFloat = Field(description="Requests due a second.")


class Poisson(Closed):
    """Independent callers."""

    kind: Literal["poisson"] = "poisson"
    rate_per_s: PositiveFloat = Field(description="Requests due a second, on average.")


class Gamma(Closed):
    """Bursts: gaps drawn from a gamma distribution."""

    kind: Literal["gamma"] = "gamma"
    rate_per_s: PositiveFloat = Field(description="Requests due a second, on average.")
    burstiness: PositiveFloat = Field(
        description="Squared coefficient of variation of the gaps; 1: Poisson, 4: bursty."
    )


class Ramp(Closed):
    """Poisson whose rate grows or falls evenly."""

    kind: Literal["ramp"] = "ramp"
    from_per_s: float = Field(ge=0, description="Rate at the stage's begin.")
    to_per_s: float = Field(ge=0, description="Rate at its end.")


class Spike(Closed):
    """Poisson with one sudden peak in the middle."""

    kind: Literal["spike"] = "spike"
    rate_per_s: PositiveFloat = Field(description="Rate before and after the peak.")
    peak_per_s: PositiveFloat = Field(description="Rate while it lasts.")
    peak_ratio: float = Field(default=0.2, gt=0, lt=1, description="Part of the time that the peak lasts.")


class Day(Closed):
    """Poisson along an office day, 24 hours squeezed into the stage: two peaks, a lunch dip, a quiet night."""

    kind: Literal["day"] = "day"
    peak_per_s: PositiveFloat = Field(description="Rate at the busiest moment.")


class Trace(Closed):
    """Arrivals and lengths as they were recorded."""

    kind: Literal["trace"] = "trace"
    path: Path = Field(description="Azure 2023 CSV or Mooncake JSONL, may be gzipped.")
    time_scale: PositiveFloat = Field(default=1.0, description="2: twice as slow.")
    load_scale: PositiveFloat = Field(default=1.0, description="0.1: every tenth request, drawn; 2: each twice.")
    start_s: float = Field(default=0.0, ge=0, description="Where in the trace to begin, seconds of its own time.")
    max_prompt_tokens: PositiveInt | None = Field(default=None, description="Longer prompts are cut to this.")
    max_answer_tokens: PositiveInt | None = Field(default=None, description="Longer answers are cut to this.")


Arrivals = Annotated[Constant | Poisson | Gamma | Ramp | Spike | Day | Trace, Field(discriminator="kind")]


class People(Closed):
    """Closed loop: so many people, each asking again once answered and thought."""

    count: PositiveInt = Field(description="So many at once.")
    ramp_s: float = Field(default=0.0, ge=0, description="They arrive evenly over this time.")


class Stage(Closed):
    """A part of a test. Stages follow each other without a pause; answers in flight go on."""

    name: Name = Field(description="As reports call it.")
    seconds: PositiveFloat = Field(description="How long it lasts.")
    arrivals: Arrivals | None = Field(
        default=None, description="Open loop: sent when due, whatever is still unanswered."
    )
    people: People | None = Field(default=None, description="Closed loop.")
    is_warm_up: bool = Field(default=False, description="Its requests are kept but counted nowhere.")

    @model_validator(mode="after")
    def _one_loop(self) -> "Stage":
        if (self.arrivals is None) == (self.people is None):
            raise ValueError("a stage needs either arrivals (open loop) or people (closed loop)")
        return self


class Slo(Closed):
    """What callers were promised. A request meets it if it meets each limit that is set, and has no error."""

    ttft_s: PositiveFloat | None = Field(
        default=0.5, description="Due to first token; of unstreamed answers: to the whole."
    )
    tpot_s: PositiveFloat | None = Field(default=None, description="Per output token after the first; streams only.")
    e2e_s: PositiveFloat | None = Field(default=None, description="Due to the whole answer.")
    share_ratio: float = Field(default=0.99, gt=0, le=1, description="Part of the requests that must meet it.")


class Limits(Closed):
    """Where the test itself stops."""

    timeout_s: PositiveFloat = Field(default=120.0, description="To connect, and between two pieces of an answer.")
    max_in_flight: PositiveInt = Field(
        default=20_000, description="Of all workers; what is due beyond it is not sent and counts as an error."
    )
    drain_s: float = Field(
        default=60.0, ge=0, description="Answers may take so long after the last stage; then they are cut."
    )
    stop_when_saturated: bool = Field(default=False, description="End early once the queue only grows.")


class Plan(Closed):
    """A whole load test."""

    name: Name = Field(default="load", description="Of the plan; folders of runs begin with it.")
    target: Target = Field(default=Target(), description="Whom to ask.")
    seed: int = Field(default=7, ge=0, description="The same seed asks the same at the same moments.")
    workload: Workload = Field(default=Workload(), description="What is asked.")
    stages: tuple[Stage, ...] = Field(min_length=1, description="When it is asked: parts that follow each other.")
    slo: Slo = Field(default=Slo(), description="What callers were promised.")
    limits: Limits = Field(default=Limits(), description="Where the test itself stops.")
    faults: tuple[str, ...] = Field(default=(), description="What breaks when: `kill-engine:small@30s`; see docs.")

    @property
    def seconds(self) -> float:
        """Of all stages, without the drain."""
        return sum(stage.seconds for stage in self.stages)
