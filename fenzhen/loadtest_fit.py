"""`fenzhen loadtest fit`: the timing of a real engine, for its stand-in."""

import asyncio
import os
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.errors import UserError
from fenzhen.options import json_option
from fenzhen.output import Output
from loadtests.rehearsal.fitting import Wish, fit_engine
from loadtests.rehearsal.hearing import Engine
from loadtests.rehearsal.timing import Timing, write_timing


@click.command()
@json_option
@click.option("--url", required=True, help="The engine itself, not the router: http://host:port.")
@click.option("--model", required=True, help="The name under which it serves.")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The timing, JSON.")
@click.option("--name", help="Of the timing. [default: the file's]")
@click.option("--max-num-seqs", type=click.IntRange(min=1), help="As the engine was started. [default: by probing]")
@click.option("--max-num-batched-tokens", type=click.IntRange(min=1), help="As the engine was started. [default: 2048]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=600),
    default=20.0,
    show_default=True,
    help="Of each of three kinds of held-out traffic; 0: state no error.",
)
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True)
@click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the engine's key.")
def fit(
    as_json: bool,
    url: str,
    model: str,
    output: Path,
    name: str | None,
    max_num_seqs: int | None,
    max_num_batched_tokens: int | None,
    seconds: float,
    seed: int,
    api_key_env: str | None,
) -> int:
    """Measure a real engine, fit the stand-in's timing to it, and state the stand-in's error.

    Takes three to four minutes, in which nobody else may ask the engine or keep its machine busy.
    docs/load-rehearsal.md tells what is measured and what the error means.
    """
    if not url.startswith(("http://", "https://")):
        raise UserError(f"--url must be http://host:port, got {url!r}")
    key = os.environ.get(api_key_env) if api_key_env else None
    if api_key_env and not key:
        raise UserError(f"the environment variable {api_key_env} is not set, or empty")
    printed = Output(as_json)
    engine = Engine(url.rstrip("/").removesuffix("/v1"), model, key)
    wish = Wish(name or output.stem, max_num_seqs, max_num_batched_tokens, seconds, seed)
    timing = asyncio.run(fit_engine(engine, wish, printed.say))
    write_timing(timing, output)
    printed.result(timing.model_dump(mode="json"), view_of(timing))
    printed.say(f"written: {output}")
    return 0


def view_of(timing: Timing) -> RenderableType:
    """For a person."""
    provenance = timing.provenance
    parts = {
        "a request, before its first step": timing.request_overhead_s,
        "a step": timing.base_s,
        "a prompt token": timing.per_prefill_token_s,
        "a prompt token and one before it": timing.per_prefill_token_context_s,
        "an answer in the step": timing.per_sequence_s,
        f"more, beyond {timing.flat_sequences} answers": timing.per_sequence_beyond_s,
        "a token before an answer": timing.per_context_token_s,
    }
    costs = Table("takes", "seconds", box=None, pad_edge=False)
    for what, value in parts.items():
        costs.add_row(what, f"{value:.3g}")
    limits = timing.limits
    lines = [
        f"noise {timing.noise_sigma:.0%}; {limits.max_num_seqs} requests at once",
        f"tokens: {limits.max_num_batched_tokens:,} a step, {limits.max_model_len:,} a context, "
        f"{limits.kv_tokens:,} in the cache",
    ]
    if provenance.residual_ratio is not None:
        lines.append(f"half of what was measured is met within {provenance.residual_ratio:.1%}")
    lines += provenance.notes
    if not provenance.deviations:
        return Group(costs, Text("\n".join(lines)))
    errors = Table("held-out traffic", "figure", "engine", "stand-in", "error", box=None, pad_edge=False)
    for one in provenance.deviations:
        errors.add_row(
            one.load, one.figure, f"{one.real:.4g} {one.unit}", f"{one.stand_in:.4g} {one.unit}", f"{one.ratio:+.1%}"
        )
    return Group(costs, Text("\n".join([*lines, ""])), errors)
