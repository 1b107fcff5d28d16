"""One run from plan to report: the generator is started, faults and the engines' metrics run beside it, all is kept."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cluster.errors import UserError
from loadtests.arrivals.schedule import check_arrivals
from loadtests.engines_watch import EnginesWatch
from loadtests.faults.breaking import Breaking
from loadtests.faults.fault import Fault, parse_fault
from loadtests.generator import Generated, generate
from loadtests.judging.document import document_of
from loadtests.keys import keys_of
from loadtests.page.page import write_page
from loadtests.place import Place
from loadtests.plan import Plan
from loadtests.plan_file import require_files
from loadtests.records.run import About, Run
from loadtests.records.run_folder import RunFolder, read_run
from loadtests.records.tick import Tick
from loadtests.surroundings import machine_words, version_words
from registry.disk import write_durably

MOST_PROCESSES: Final = 64


@dataclass(frozen=True, slots=True)
class Workers:
    """Who sends."""

    processes: int = 1
    """On this machine."""
    expected: int = 0
    """Workers on other machines that are waited for; 0: all is sent from here."""
    bind_host: str = "127.0.0.1"
    bind_port: int = 5557


def run_plan(
    plan: Plan,
    place: Place,
    folder: RunFolder,
    workers: Workers = Workers(),
    on_ticks: Callable[[Sequence[Tick]], None] = lambda _: None,
    *,
    on_workers: Callable[[int], None] = lambda _: None,
    may_fill_disk: bool = False,
) -> Run:
    """Put a plan's load on a place and keep everything in a folder. Raises UserError, Unavailable, OurFault.

    An interrupt ends the load in order: what there is by then is kept and told.
    """
    # Workers elsewhere have keys of their own.
    keys = {} if workers.expected else keys_of(plan, os.environ)
    faults = faults_of(plan, workers)
    require_files(plan)
    check_arrivals(plan)
    started_unix_s = time.time()

    left: list[Tick] = []

    def take(ticks: Sequence[Tick]) -> None:
        left.extend(ticks)
        # A disk that is full now may have room in a second, and the load shall not end for it.
        with suppress(OSError):
            folder.keep_ticks(left)
            left.clear()
        on_ticks(ticks)

    breaking = Breaking(
        faults, place.state, place.state_dir, place.url, confirm_shared_disk=may_fill_disk, run_folder=folder.path
    )
    watch = EnginesWatch(place.engines, place.url)
    folder.begin(plan)
    with breaking, watch:

        def begin(unix_s: float) -> None:
            watch.begin(unix_s)
            breaking.begin(unix_s)

        done = generate(
            plan,
            breaking.url,
            folder,
            keys=keys,
            processes=workers.processes,
            expect_workers=workers.expected,
            bind=(workers.bind_host, workers.bind_port),
            on_ticks=take,
            on_begin=begin,
            on_workers=on_workers,
        )
    folder.keep(about_of(place, started_unix_s, done), breaking.marks, watch.seen(), done.gaps)
    return report(folder)


def faults_of(plan: Plan, workers: Workers) -> list[Fault]:
    """What the plan breaks. Raises UserError for what cannot happen in it."""
    faults = [parse_fault(text) for text in plan.faults]
    for text, fault in zip(plan.faults, faults, strict=True):
        if fault.at_s >= plan.seconds:
            raise UserError(f"{text!r} would come after the end: the plan's stages last {plan.seconds:g} s")
        if fault.kind == "slow-link" and fault.target is None and workers.expected:
            raise UserError(
                "a slow line between callers and router lies on this machine, and workers elsewhere would not use it; "
                "put `fenzhen loadtest link` before an engine and name its address"
            )
    return faults


def report(folder: RunFolder) -> Run:
    """Make the two reports of a run out of what its folder holds. Raises UserError."""
    run = read_run(folder)
    document = document_of(run)
    write_durably(folder.figures, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    write_page(folder, run, document)
    return run


def document_in(folder: RunFolder) -> dict[str, Any]:
    """The report of a run for programs. Raises UserError."""
    try:
        document = orjson.loads(folder.figures.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UserError(f"{folder.figures} cannot be read; `fenzhen loadtest report` makes it again") from error
    assert isinstance(document, dict)
    return document


def about_of(place: Place, started_unix_s: float, done: Generated) -> About:
    """Where and with what a run was made."""
    return About(
        started_unix_s=started_unix_s,
        ended_unix_s=time.time(),
        outcome=done.outcome,
        message=done.message,
        saturated_at_s=done.saturated_at_s,
        target_url=place.url,
        tested=place.tested,
        machine=machine_words(),
        versions=version_words(),
        processes=done.workers,
    )
