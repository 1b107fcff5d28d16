"""Stand-in engines for the bench, in a process of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.settings import ExternalPool, Model, Settings
from cluster.settings_file import profile
from loadtests.rehearsal.stand_ins import started
from loadtests.rehearsal.timing import Timing, read_timing, write_timing


@contextmanager
def stand_ins(timing: Timing, model: str, count: int, folder: Path) -> Iterator[tuple[str, ...]]:
    """The addresses of so many engines. Raises OurFault if they do not start."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{model}.json"
    write_timing(timing, file)
    with started(["--timing", str(file), "--model", model], count) as engines:
        yield tuple(f"http://127.0.0.1:{port}" for port in engines.ports)


def brisk() -> Timing:
    """A small model on a GPU, by published figures, that takes as many at once as come."""
    timing = read_timing("small-gpu-assumed")
    limits = timing.limits.model_copy(update={"max_num_seqs": 4096})
    return timing.model_copy(update={"limits": limits})


def crowded() -> Timing:
    """The same with 250 people at once, slower than published, and four tokens to a piece: what two cores can carry."""
    timing = read_timing("small-gpu-assumed")
    limits = timing.limits.model_copy(update={"stream_interval": 4})
    return timing.model_copy(update={"base_s": 0.04, "per_sequence_s": 0.0001, "limits": limits})


def router_before(small: tuple[str, ...], large: tuple[str, ...]) -> Settings:
    """A router with one pool of each."""
    like = profile("tiny")
    cards = tuple(
        Model(
            name=name, languages=("zh", "en"), tools=True, max_difficulty=most, context_tokens=32768, parameters_b=size
        )
        for name, most, size in (("small", 0.5, 7.0), ("large", 1.0, 72.0))
    )
    pools = (ExternalPool(model="small", endpoints=small), ExternalPool(model="large", endpoints=large))
    router = like.router.model_copy(update={"max_in_flight": 4096})
    return like.model_copy(update={"models": cards, "pools": pools, "router": router})
