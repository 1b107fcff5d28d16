"""Asks vLLM's own parser about every pool's options before anything is started.

Importing vLLM takes 8 to 20 s, so it is asked once for all pools in a process of its own, and what it found good is
remembered by digest: a second start with the same options costs nothing.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import OurFault, TimedOut, UserError
from cluster.settings import Settings
from serving.engine_args import device_of, engine_arguments, engine_environment, installed_build
from serving.log import telling_line

# Enough for a cold import on a machine that starts other things, too.
CHECK_TIMEOUT_S = 120.0
# Older digests are dropped: nobody goes back to the hundredth edit of a file.
_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Question:
    """The options of one pool."""

    pool: str
    """The model's name, for the error's sentence."""
    arguments: tuple[str, ...]


async def check_pools(settings: Settings) -> None:
    """Raise UserError if the engines of a pool could not be started as the configuration file has them."""
    if not settings.engine_pools:
        return
    build, version = installed_build()
    environment = engine_environment(settings.engine_pools[0], build, os.environ)
    questions = []
    for pool in settings.engine_pools:
        model, device = settings.model(pool.model), device_of(pool, build)
        # Neither the folder nor the port is looked at here.
        arguments = engine_arguments(model, pool, Path(pool.model), device, "127.0.0.1", 8000)
        questions.append(Question(pool.model, arguments))
    await check(questions, f"{build} {version}", settings.site.state_dir, environment)


async def check(questions: Sequence[Question], version: str, state_dir: Path, environment: Mapping[str, str]) -> None:
    """Raise UserError if vLLM's parser would refuse a pool's options; it names the pool and the option.

    `environment` is that of an engine. Raises TimedOut if vLLM does not answer, OurFault if it cannot be asked.
    """
    memory = state_dir / "checked_engine_args.json"
    known = _read(memory)
    new = [question for question in questions if digest(question, version) not in known]
    if not new:
        return
    complaints = await _ask([question.arguments for question in new], environment)
    found = [sentence(q.pool, words) for q, words in zip(new, complaints, strict=True) if words]
    if found:
        raise UserError("; ".join(found))
    good = [*known, *(digest(question, version) for question in new)]
    _write(memory, good[-_REMEMBERED:])


def digest(question: Question, version: str) -> str:
    """Names one list of options for one version of vLLM. The port is left out: it is another each time."""
    kept = [word for word in question.arguments if not word.startswith("--port=")]
    return hashlib.sha256(json.dumps([version, kept]).encode()).hexdigest()


def sentence(pool: str, complaint: str) -> str:
    """vLLM's complaint in the words of the configuration file."""
    start = f"pool {pool}: engine_args: "
    unknown = re.match(r"unrecognized arguments: --(.*)", complaint)
    if unknown:
        name = re.split(r"[=\s]", unknown[1], maxsplit=1)[0]
        if name.startswith("no-"):
            return f"{start}{name.removeprefix('no-')} cannot be false in vLLM; leave it out"
        return f"{start}vLLM has no option {name}"
    wrong = re.match(r"argument --([\w.-]+)[^:]*: (.*)", complaint)
    if wrong:
        return f"{start}{wrong[1]}: {wrong[2]}"
    return start + complaint.removeprefix("Error: ").replace("--", "")


async def _ask(lists: Sequence[tuple[str, ...]], environment: Mapping[str, str]) -> list[str | None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "serving.vllm_main",
        "check",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            answer, noise = await process.communicate(json.dumps(lists).encode())
    except TimeoutError:
        raise TimedOut(f"vLLM's argument parser did not answer within {CHECK_TIMEOUT_S:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode != 0:
        raise OurFault(f"vLLM cannot be loaded: {telling_line(noise.decode('utf-8', 'replace').splitlines())}")
    complaints: list[str | None] = json.loads(answer)
    return complaints


def _read(memory: Path) -> list[str]:
    try:
        kept = json.loads(memory.read_text())
    except (OSError, ValueError):
        # Not there yet, or cut off by a crash: then vLLM is asked once more.
        return []
    return kept if isinstance(kept, list) else []


def _write(memory: Path, digests: Sequence[str]) -> None:
    """Replace the file whole, so that another process never reads half of it."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=memory.parent, prefix=memory.name, delete=False) as file:
        json.dump(list(digests), file)
    os.replace(file.name, memory)
