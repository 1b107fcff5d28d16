"""Controllers of rollouts killed everywhere: the rollout goes on, skips nothing, and all routers agree."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from registry.errands import with_files
from registry.rollout import Rollout
from registry.rollout_states import Canary, Plan, Promoted, Reloading
from tests.fakes.rollouts import NAME, prompt_rollout, registered
from tests.integration.rollout_ground import Ground, Nursery, is_alive
from tests.integration.rollout_ground import nursery as one_nursery

PLAN = Plan(steps=(0.25, 0.5), bake_s=0.0, shadow_s=0.0, shadow_ratio=0.5)
# The machine has few cores, and a controller mostly waits.
AT_ONCE = 6
SLOWER = {"tick_s": 0.02, "lease_s": 1.0, "retry_s": 0.1, "keep_s": 0.1}
# A whole rollout takes about a dozen turns, a way back fewer: there most later times are never reached.
MOST_TIMES = 14
MOST_TIMES_BACK = 8


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with one_nursery() as made:
        yield made


@dataclass(frozen=True)
class Case:
    """A way through the states, and how it must end."""

    answer: str | None
    begin: Callable[[Ground], Rollout]
    stages: list[str]
    ratios: list[float]
    aliases: dict[str, int]


def whole(ground: Ground) -> Rollout:
    return prompt_rollout(registered(ground.versions, ground.folder, "Be kind."), PLAN)


def second(ground: Ground) -> Rollout:
    """Version 2 over version 1, both at hand."""
    first = prompt_rollout(registered(ground.versions, ground.folder, "Be kind."), PLAN)
    later = prompt_rollout(registered(ground.versions, ground.folder, "Be brief."), PLAN, "r1")
    ground.versions.set_alias(NAME, "stable", 1)
    sides = []
    for rollout in (first, later):
        version = ground.versions.version(NAME, rollout.canary.side.version)
        sides.append(with_files(rollout.canary, ground.versions.fetch(version, ground.folder / "versions")))
    return replace(later, stable=sides[0], canary=sides[1])


CASES = {
    "to the end": Case(
        None,
        whole,
        ["loading", "shadow", "canary 1/2", "canary 2/2", "promoting", "promoted", "done"],
        [0.0, 0.25, 0.5, 1.0, -1.0],
        {"stable": 1},
    ),
    "rolled back from a step": Case(
        "roll_back",
        lambda ground: replace(second(ground), state=Canary(0.0, 1)),
        ["rolling back", "rolled back"],
        [0.5, -1.0],
        {"stable": 1},
    ),
    "rolled back after the promotion": Case(
        "roll_back",
        lambda ground: replace(second(ground), state=Promoted(0.0), plan=replace(PLAN, bake_s=60.0)),
        ["rolling back", "rolled back"],
        [1.0, -1.0],
        {"stable": 1},
    ),
    "taken back after the end": Case(
        None,
        lambda ground: replace(second(ground), state=Reloading(0.0, "by hand", "anna")),
        ["rolling back", "rolled back"],
        [-1.0],
        {"stable": 1},
    ),
}


@dataclass
class Findings:
    """What all lives of one case have shown."""

    deaths: int = 0
    stages: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    worst_s: float = 0.0


async def one_life(
    folder: Path, nursery: Nursery, case: Case, findings: Findings, place: str = "", number: int = 0
) -> list[str]:
    """One rollout whose first controller dies there, while a second one stands by. Returns what it noted down."""
    async with Ground(folder, nursery) as ground:
        await ground.begin(case.begin(ground))
        first = ground.fork(place=place, number=number, answer=case.answer)
        # The one that is to die is to lead.
        async with asyncio.timeout(20):
            while is_alive(first) and not (await asyncio.to_thread(ground.store.snapshot)).leader:
                await asyncio.sleep(0.005)
        ground.fork(answer=case.answer)
        stage = await ground.until_dead_or_over(first)
        over = await ground.until_over()
        async with asyncio.timeout(10):
            # The end may have been stored by one that died before it could tell the routers.
            while [router.ratios[-1:] for router in ground.routers] != [case.ratios[-1:]] * 2:
                await asyncio.sleep(0.01)
        noted = ground.log.read_text(encoding="utf-8").splitlines() if ground.log.exists() else []
        if noted == ["dead"]:
            findings.deaths += 1
            findings.stages.add(stage)
            findings.places.add(place)
        assert over.is_over
        assert [event for event in ground.stages() if event not in ("started", "files at hand")] == case.stages
        assert [router.ratios for router in ground.routers] == [case.ratios] * 2
        findings.worst_s = max(findings.worst_s, ground.longest_difference_s())
        assert ground.versions.aliases == {NAME: case.aliases}
        assert ground.store.verify()[0] == ""
    return noted


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
async def test_a_controller_killed_at_any_point_is_gone_on_from(name: str, nursery: Nursery, tmp_path: Path) -> None:
    case, findings = CASES[name], Findings()
    noted = await one_life(tmp_path / "noted", nursery, case, findings)
    # Every boundary of a call that a whole rollout comes to, each the first time, the second time...
    # Turns in which it only waits are alike: on a busy machine there are hundreds, of which some are enough.
    counted = sorted(Counter(noted).items())
    most = MOST_TIMES if "done" in case.stages else MOST_TIMES_BACK
    waiting = [(place, number) for place, times in counted for number in range(1, min(times, most) + 1)]
    lives = iter(enumerate(waiting))

    async def live() -> None:
        for index, (place, number) in lives:
            # Where a controller comes many times, the last time may not come again; the first time does, unless this
            # machine was so busy that the other one took over before.
            for attempt in range(5 if number == 1 else 1):
                folder = tmp_path / f"{index}-{attempt}"
                if await one_life(folder, nursery, case, findings, place, number) == ["dead"]:
                    break

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(live())
    calls = {"acquire", "snapshot", "watch", "advance", "keep", "read", "fetch", "direct", "require"}
    calls |= {"registry set_alias"} | ({"registry version", "registry fetch"} if name == "to the end" else set())
    assert findings.places >= {f"{side} {call}" for side in ("before", "after") for call in calls}
    assert findings.stages >= set(case.stages[:-1])
    assert findings.worst_s < 2.0
    print(f"\n{name}: {findings.deaths} of {len(waiting)} lives ended by a kill, at {len(findings.places)} kinds of "
          f"points; two routers differed for {findings.worst_s * 1000:.1f} ms at most")  # fmt: skip


async def test_a_paused_leader_that_wakes_up_changes_nothing(nursery: Nursery, tmp_path: Path) -> None:
    async with Ground(tmp_path / "g", nursery) as ground:
        plan = replace(PLAN, bake_s=0.7)
        await ground.begin(replace(whole(ground), plan=plan))
        first = ground.fork(pace=SLOWER)
        async with asyncio.timeout(40):
            while "canary 1/2" not in await asyncio.to_thread(ground.stages):
                await asyncio.sleep(0.01)
        leader = (await asyncio.to_thread(ground.store.snapshot)).leader
        assert leader == str(first)
        nursery.kill(first, signal.SIGSTOP)
        other = ground.fork(pace=SLOWER)
        async with asyncio.timeout(40):
            while "canary 2/2" not in await asyncio.to_thread(ground.stages):
                await asyncio.sleep(0.01)
        assert (await asyncio.to_thread(ground.store.snapshot)).leader == str(other)
        nursery.kill(first, signal.SIGCONT)
        await ground.until_over()
        assert (await asyncio.to_thread(ground.store.snapshot)).leader == str(other)
        stages = [stage for stage in ground.stages() if stage not in ("started", "files at hand")]
        assert stages == CASES["to the end"].stages
        async with asyncio.timeout(10):
            # Stored first, told then.
            while [router.ratios for router in ground.routers] != [CASES["to the end"].ratios] * 2:
                await asyncio.sleep(0.01)


async def test_the_next_controller_leads_within_the_lease_after_a_kill(nursery: Nursery, tmp_path: Path) -> None:
    async with Ground(tmp_path / "g", nursery) as ground:
        first = ground.fork(pace=SLOWER)
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(ground.store.snapshot)).leader != str(first):
                await asyncio.sleep(0.01)
        other = ground.fork(pace=SLOWER)
        await asyncio.sleep(0.5)
        assert (await asyncio.to_thread(ground.store.snapshot)).leader == str(first), "one leads, the other waits"
        nursery.kill(first)
        began_s = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            while (await asyncio.to_thread(ground.store.snapshot)).leader != str(other):
                await asyncio.sleep(0.01)
        took_s = asyncio.get_running_loop().time() - began_s
        assert took_s < 1.0 + 0.5
