"""Whether a public tool sees the same: our generator and `vllm bench serve`, in turn, on one real engine."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cluster.errors import OurFault
from cluster.settings import Model, Pool, Settings
from cluster.settings_file import profile
from loadtests.loadtest_bench import stack
from loadtests.loadtest_bench.public_tool import Measured, measure
from loadtests.place import Place
from loadtests.plan import Constant, Lengths, Plan, Slo, Stage, Target, Workload
from loadtests.records.run_folder import RunFolder
from loadtests.run import document_in, run_plan
from registry.progress import Silent
from registry.store import ModelStore

_MODEL: Final = "smollm2-135m"
_PROMPT_TOKENS: Final = 96
_ANSWER_TOKENS: Final = 48
# About half of what the engine can do on one core.
_RATE_PER_S: Final = 1.0
_SETTLE_S: Final = 8.0


@dataclass(frozen=True, slots=True)
class Round:
    """Both tools, one after the other."""

    ours: Measured
    theirs: Measured

    def difference(self, name: str) -> float:
        """Signed, relative to theirs."""
        theirs: float = getattr(self.theirs, name)
        ours: float = getattr(self.ours, name)
        return (ours - theirs) / theirs


NAMES: Final = {"ttft": "ttft_s", "tpot": "tpot_s", "throughput": "tokens_per_s"}


def compare(folder: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Start one engine and measure it with both tools, interleaved."""
    settings = one_engine()
    with stack.started(settings, folder) as place:
        tokenizer = folder_of(settings)
        (url,) = place.engines
        direct = Place(url, place.tested, {}, None, place.state_dir)
        # The first requests meet a cold engine: neither tool shall be the one that has them.
        ours(_plan(0, _SETTLE_S), direct, folder / "settle")
        found = []
        for number in range(1, rounds + 1):
            found.append(
                one_round(_plan(number, seconds), direct, tokenizer, folder / f"round-{number}", number % 2 == 0)
            )
            say(
                f"round {number}: "
                + ", ".join(f"{key} {found[-1].difference(name):+.1%}" for key, name in NAMES.items())
            )
    return as_document(found)


def one_round(plan: Plan, place: Place, tokenizer: Path, folder: Path, theirs_first: bool) -> Round:
    """Both tools send the same prompts at the same pace."""
    if theirs_first:
        theirs = measure(plan, place.url, tokenizer, folder / "theirs")
        return Round(ours(plan, place, folder / "ours"), theirs)
    mine = ours(plan, place, folder / "ours")
    return Round(mine, measure(plan, place.url, tokenizer, folder / "theirs"))


def ours(plan: Plan, place: Place, folder: Path) -> Measured:
    """The same figures by our own tool."""
    run_folder = RunFolder(folder)
    run_plan(plan, place, run_folder)
    figures = document_in(run_folder)["figures"]
    return Measured(
        ttft_s=figures["ttft"]["p50_s"],
        tpot_s=figures["tpot"]["p50_s"],
        requests_per_s=figures["completed_rps"],
        tokens_per_s=figures["output_tokens_per_s"],
        completed=figures["answered"],
        failed=sum(figures["errors"].values()),
    )


def as_document(rounds: list[Round]) -> dict[str, Any]:
    """Medians over the rounds, with the lowest and the highest."""
    document: dict[str, Any] = {
        key: statistics.median(one.difference(name) for one in rounds) for key, name in NAMES.items()
    }
    document["range"] = {
        key: [min(one.difference(name) for one in rounds), max(one.difference(name) for one in rounds)]
        for key, name in NAMES.items()
    }
    document["rounds"] = [asdict(one) for one in rounds]
    return document


def one_engine() -> Settings:
    """The smallest model on one real engine, its prefix cache off: the second tool would find what the first left."""
    tiny = profile("tiny")
    model = next(one for one in tiny.models if one.name == _MODEL)
    pool = next(one for one in tiny.pools if isinstance(one, Pool) and one.model == _MODEL)
    args = {**pool.engine_args, "no-enable-prefix-caching": True}
    alone: Model = model.model_copy(update={"max_difficulty": 1.0})
    return tiny.model_copy(update={"models": (alone,), "pools": (pool.model_copy(update={"engine_args": args}),)})


def folder_of(settings: Settings) -> Path:
    """Where the one model lies, its tokenizer beside it. Raises OurFault."""
    stored = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, Silent()).find(settings.models[0])
    if stored is None:
        raise OurFault(f"{_MODEL} runs, but it is not in {settings.site.models_dir}")
    return stored.folder


def _plan(seed: int, seconds: float) -> Plan:
    return Plan(
        name="agreement",
        target=Target(model=_MODEL),
        seed=seed,
        workload=Workload(
            kinds={"stream": 1},
            lengths=Lengths(prompt_tokens=_PROMPT_TOKENS, answer_tokens=_ANSWER_TOKENS),
            max_tokens=_ANSWER_TOKENS,
        ),
        stages=(Stage(name="even", seconds=seconds, arrivals=Constant(rate_per_s=_RATE_PER_S)),),
        slo=Slo(ttft_s=60.0),
    )
