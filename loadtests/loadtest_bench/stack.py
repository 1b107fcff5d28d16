"""A stack of the bench's own: started and stopped with the command line, as anybody does it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cluster.errors import OurFault
from cluster.settings import Settings
from cluster.settings_file import as_yaml
from cluster.stack_state import read_state
from loadtests.place import Place, place_of
from loadtests.router_bench import ours
from loadtests.router_bench.child import free_ports, last_words

# Models may have to be fetched and converted first.
_UP_TIMEOUT_S: Final = 900.0


@contextmanager
def started(settings: Settings, folder: Path) -> Iterator[Place]:
    """The stack of these settings on a free port, with its state in `folder`. Raises OurFault, TimedOut."""
    (port,) = free_ports(1)
    state_dir = folder / "state"
    state_dir.mkdir(parents=True, exist_ok=True)
    settings = settings.model_copy(
        update={
            "router": settings.router.model_copy(update={"port": port}),
            "site": settings.site.model_copy(update={"state_dir": state_dir}),
        }
    )
    config, log = folder / "fenzhen.yaml", folder / "bench.log"
    config.write_text(as_yaml(settings), encoding="utf-8")
    # What a benchmark that was killed has left behind.
    ours.stop(config, state_dir, log)
    try:
        ours.fenzhen(("up", "--detach", "--config", str(config)), log, _UP_TIMEOUT_S)
        state = read_state(state_dir)
        if state is None or state.phase != "ready":
            raise OurFault(f"fenzhen up has ended, but the stack is not ready: {last_words(log)}")
        yield place_of(settings, None)
    finally:
        ours.stop(config, state_dir, log)
