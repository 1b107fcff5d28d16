"""Rollouts to test with: versions, judges that say what they are told, engines that load what they are asked to."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.directory import Directory, Endpoint
from cluster.errors import OurFault
from cluster.outcomes import Batch, Outcome
from cluster.traffic import Adapter, Side
from registry.errands import release_of
from registry.history import Note
from registry.rollout import Rollout
from registry.rollout_states import Duty, Pending, Plan, Release, State, as_configured
from registry.stage_watch import Judge
from registry.verdict import Answer, Verdict
from registry.versions import Draft, Version, VersionStore

BASE = "small"
NAME = "hotline"
STARTED = Note(NAME, "r1", "started", "anna", "the new forms")


def verdict(answer: Answer, requests: int = 1000, reason: str = "") -> Verdict:
    return Verdict(answer, reason or f"scripted: {answer}", (), (), requests, requests, 1.0)


def outcome(rollout_id: str, *, is_canary: bool, name: str = NAME) -> Outcome:
    return Outcome(
        name=name,
        rollout_id=rollout_id,
        version=1,
        is_canary=is_canary,
        is_shadow=False,
        stratum="short/chat",
        group="",
        fault="",
        is_empty=False,
        is_truncated=False,
        is_refused=False,
        is_malformed=None,
        ttft_s=0.1,
        tpot_s=0.01,
        output_tokens=10,
        has_escalated=False,
        cost=1.0,
    )


def batch(outcomes: Iterable[Outcome], demand: tuple[tuple[str, int], ...] = ()) -> Batch:
    return Batch("r0", tuple(outcomes), (), demand, 0, 0)


@dataclass
class ScriptedJudge:
    """Says what its script says, else `promote`, once a step has brought enough outcomes."""

    judges: "ScriptedJudges"
    in_step: int = 0
    in_all: int = 0
    steps: int = 0

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Count them."""
        count = len(list(outcomes))
        self.in_step += count
        self.in_all += count

    def begin_step(self) -> None:
        """Promotion needs new ones."""
        self.in_step = 0
        self.steps += 1

    def verdict(self, now_s: float) -> Verdict:
        """What the script says, else what was counted."""
        answer: Answer = "hold"
        if self.in_step >= self.judges.needed:
            answer = self.judges.answer or "promote"
        return verdict(answer, self.in_step)

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps([self.in_step, self.in_all, self.steps]).encode()


@dataclass
class ScriptedJudges:
    """Makes judges who share one script."""

    needed: int = 1
    answer: Answer | None = None
    made: list[ScriptedJudge] = field(default_factory=list)

    def fresh(self) -> Judge:
        """One that knows nothing."""
        self.made.append(ScriptedJudge(self))
        return self.made[-1]

    def load(self, data: bytes) -> Judge:
        """One that goes on."""
        try:
            self.made.append(ScriptedJudge(self, *json.loads(data)))
        except ValueError as error:
            raise OurFault("the stored evidence cannot be read") from error
        return self.made[-1]


class ScriptedEngines:
    """Engines of one base that do what the traffic in force says of adapters."""

    def __init__(self, directory: Directory, count: int = 2, base: str = BASE, max_adapters: int = 4) -> None:
        self._directory = directory
        self.endpoints = [
            Endpoint(
                endpoint_id=f"{base}-{number}",
                model=base,
                base_url=f"http://127.0.0.1:{9000 + number}",
                state="ready",
                detail="",
                restarts=0,
                pid=None,
                pid_started_s=None,
                retry_after_s=1,
                max_adapters=max_adapters,
            )
            for number in range(count)
        ]
        self.faults: dict[str, str] = {}
        """Adapters that cannot be loaded, and why."""
        self.is_up = True

    async def run(self) -> None:
        """Report twice a second, and load at once."""
        while True:
            await self.turn()
            await asyncio.sleep(0.02)

    async def turn(self) -> None:
        """One look at the table, one report."""
        if not self.is_up:
            await self._directory.forget(*(each.endpoint_id for each in self.endpoints))
            return
        traffic = (await self._directory.read(-1, 0.0)).traffic
        if traffic is not None:
            self.endpoints = [self._obeying(each, traffic.adapters) for each in self.endpoints]
        await self._directory.report(*self.endpoints)

    def _obeying(self, endpoint: Endpoint, adapters: Iterable[Adapter]) -> Endpoint:
        names = sorted(each.served_name for each in adapters if endpoint.endpoint_id in each.endpoint_ids)
        return replace(
            endpoint,
            adapters=tuple(name for name in names if name not in self.faults),
            adapter_faults=tuple((name, self.faults[name]) for name in names if name in self.faults),
        )


def adapter_release(version: int, name: str = NAME, base: str = BASE) -> Release:
    """An adapter with its files at hand."""
    digest = f"{version:064x}"
    return Release(Side(version, base, f"{name}@{version}-{digest[:8]}"), "adapter", digest, f"/versions/{digest}")


def rollout(
    state: State | None = None,
    *,
    plan: Plan | None = None,
    stable: Release | None = None,
    canary: Release | None = None,
    rollout_id: str = "r1",
    name: str = NAME,
) -> Rollout:
    """Of the second version over the first."""
    return Rollout(
        rollout_id=rollout_id,
        name=name,
        plan=plan or Plan(steps=(0.05, 0.25, 0.5), bake_s=1800.0, shadow_s=600.0, shadow_ratio=0.1),
        stable=stable or adapter_release(1, name),
        canary=canary or adapter_release(2, name),
        state=state or Pending(0.0),
        started_s=0.0,
    )


def registered(versions: VersionStore, folder: Path, text: str, name: str = NAME) -> Version:
    """A prompt, which is the smallest version there is."""
    file = folder / "prompt.txt"
    file.write_text(text, encoding="utf-8")
    return versions.register(Draft(name, "prompt", BASE), file)


def prompt_rollout(version: Version, plan: Plan, rollout_id: str = "r1", duty: Duty | None = None) -> Rollout:
    """Of a registered version over what is on duty."""
    stable = duty.stable if duty is not None else as_configured(BASE, name=version.name)
    return Rollout(
        rollout_id=rollout_id,
        name=version.name,
        plan=plan,
        stable=stable,
        canary=release_of(version),
        state=Pending(0.0),
        started_s=0.0,
        previous=duty.previous if duty is not None else None,
    )
