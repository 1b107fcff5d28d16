"""How a request's cost grows with the length of its prompt, in Chinese and in English."""

from collections.abc import Callable, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from loadtests.router_bench.costs import Cost, Costs, Delay
from loadtests.router_bench.made_up import Language, of_length

LENGTHS: Final = (100, 1_000, 10_000, 100_000)
LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")
# Long bodies take the client longer than the router: more of them in flight only wait.
_CONNECTIONS: Final = 16


class Prompt(BaseModel):
    """One length in one language, asked of `auto` or of a named model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chars: int
    language: str
    model: str
    cost: Cost
    delay: Delay


def prompt_lengths(
    costs: Costs,
    engine: int,
    named: str,
    seconds: float,
    per_s: float,
    say: Callable[[str], None],
    lengths: Sequence[int] = LENGTHS,
) -> list[Prompt]:
    """Measure all of them."""
    rows = []
    for chars in lengths:
        for language in LANGUAGES:
            models = (named, "auto")
            port = costs.stack.port
            targets = tuple(of_length(model, port, model, language, chars) for model in models)
            direct = of_length("direct", engine, named, language, chars)
            delays = costs.delays(direct, targets, seconds, per_s)
            for model, target, delay in zip(models, targets, delays, strict=True):
                cost = costs.saturate(target, seconds, _CONNECTIONS)
                row = Prompt(chars=chars, language=language, model=model, cost=cost, delay=delay)
                rows.append(row)
                say(
                    f"prompts of {chars:,} characters, {language}, {model}: {cost.cpu_us:,.0f} µs a request, "
                    f"{delay.added_p50_ms} ms added"
                )
    return rows
