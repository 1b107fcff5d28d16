"""What one engine takes for its work, and how far that can be trusted. The shape of the JSON files in `timings/`."""

import importlib.resources
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, PositiveInt, ValidationError, model_validator

from cluster.closed import Closed, Name
from cluster.errors import UserError

Seconds = Annotated[float, Field(ge=0)]
_PACKAGE: Final = "loadtests.rehearsal"


class Deviation(Closed):
    """One figure of the same traffic at the real engine and at its stand-in."""

    load: str
    """`40 % of capacity`, …"""
    figure: str
    """`TTFT p50`, …"""
    unit: str
    """s, tokens/s."""
    real: float
    stand_in: float

    @property
    def ratio(self) -> float:
        """(stand-in - real) / real; 0.1: the stand-in is 10 % above."""
        return (self.stand_in - self.real) / self.real if self.real else 0.0


class Provenance(Closed):
    """Where the figures come from."""

    kind: Literal["measured", "assumed"]
    text: str
    """What was measured where, in one or two sentences; or what was assumed."""
    measured_at: str | None = None
    """UTC, ISO 8601."""
    machine: dict[str, str] = Field(default_factory=dict)
    engine: str = ""
    """Name and version."""
    sources: tuple[str, ...] = ()
    """Of assumed figures: title and address."""
    notes: tuple[str, ...] = ()
    """What was not measured but taken for granted, and what disturbed."""
    residual_ratio: float | None = None
    """Median of |fitted - measured| / measured over what was fitted to."""
    deviations: tuple[Deviation, ...] = ()
    """Held-out traffic: nothing of it was fitted to."""

    @model_validator(mode="after")
    def _says_where_from(self) -> "Provenance":
        if self.kind == "assumed" and not self.sources:
            raise ValueError("assumed figures need sources")
        return self


class Limits(Closed):
    """What an engine's scheduler allows. Names as vLLM's."""

    max_num_seqs: PositiveInt = Field(description="Requests that it works on at once; others wait.")
    max_num_batched_tokens: PositiveInt = Field(description="Of one step; longer prompts take several.")
    kv_tokens: PositiveInt = Field(description="Tokens that the KV cache holds.")
    block_tokens: PositiveInt = Field(default=16, description="Of one block of the KV cache.")
    max_model_len: PositiveInt = Field(description="Prompt and answer together.")
    has_prefix_cache: bool = True
    stream_interval: PositiveInt = Field(
        default=1, description="Tokens that are sent together; the first one goes alone. vLLM's --stream-interval."
    )
    schedules_ahead: bool = Field(
        default=False,
        description="Each step is planned while the one before it runs, so that whoever comes meanwhile waits for one "
        "more: vLLM's `async_scheduling`, which it uses on GPUs and never on CPUs.",
    )

    @property
    def blocks(self) -> int:
        """Of the KV cache."""
        return self.kv_tokens // self.block_tokens

    @model_validator(mode="after")
    def _one_request_fits(self) -> "Limits":
        if -(-self.max_model_len // self.block_tokens) > self.blocks:
            raise ValueError("kv_tokens must hold max_model_len, or the longest request could never be worked on")
        return self


class Timing(Closed):
    """The time of one step, in seconds:

        base_s + per_prefill_token_s x (prompt tokens in it) + per_prefill_token_context_s x (pairs of a prompt token in
        it and a token before that one) + per_sequence_s x (answers that it gives one token) + per_sequence_beyond_s x
        (those beyond flat_sequences) + per_context_token_s x (tokens before them)

    That is: weights are read once a step, matrices grow with tokens, attention with tokens times those before them. The
    form is that of the roofline of a transformer; Vidur (https://arxiv.org/abs/2405.05465) fits the parts one by one.
    """

    name: Name
    request_overhead_s: Seconds = Field(
        description="Per request, before its first step: HTTP, tokenising. What comes after the last step is in it, "
        "too: from outside only the sum shows."
    )
    base_s: Seconds
    per_prefill_token_s: Seconds
    per_prefill_token_context_s: Seconds = 0.0
    per_sequence_s: Seconds
    per_context_token_s: Seconds
    per_sequence_beyond_s: Seconds = Field(
        default=0.0,
        description="Added for each answer beyond `flat_sequences`: up to there reading weights takes longer.",
    )
    flat_sequences: int = Field(default=0, ge=0)
    noise_sigma: float = Field(default=0.0, ge=0, le=1, description="Each step is multiplied by a lognormal, mean 1.")
    limits: Limits
    provenance: Provenance

    @model_validator(mode="after")
    def _takes_time(self) -> "Timing":
        if self.base_s + self.per_sequence_s <= 0:
            raise ValueError("base_s and per_sequence_s cannot both be 0: a step takes time")
        return self

    def step_s(self, prefill_tokens: int, prefill_pairs: int, sequences: int, context_tokens: int) -> float:
        """One step, without noise, seconds."""
        return (
            self.base_s
            + self.per_prefill_token_s * prefill_tokens
            + self.per_prefill_token_context_s * prefill_pairs
            + self.per_sequence_s * sequences
            + self.per_sequence_beyond_s * max(0, sequences - self.flat_sequences)
            + self.per_context_token_s * context_tokens
        )


def shipped_timings() -> tuple[str, ...]:
    """Names of those that come with us, sorted."""
    folder = importlib.resources.files(_PACKAGE) / "timings"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".json")))


def read_timing(name_or_path: str) -> Timing:
    """A timing that comes with us, by its name, or one from a file. Raises UserError."""
    if name_or_path in shipped_timings():
        text = (importlib.resources.files(_PACKAGE) / "timings" / f"{name_or_path}.json").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_path).expanduser().read_text(encoding="utf-8")
        except FileNotFoundError as error:
            known = ", ".join(shipped_timings())
            raise UserError(f"there is no timing {name_or_path!r}; give a file or one of {known}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name_or_path} cannot be read: {error}") from error
    try:
        return Timing.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{name_or_path}: {where}: {first['msg']}") from error


def write_timing(timing: Timing, path: Path) -> None:
    """As JSON that people can read. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(timing.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
