from dataclasses import replace

import pytest

from cluster import machine_checks as checks
from cluster.finding import Finding, Verdict, worst
from cluster.machine import Gpu, Machine, Memory, Simd
from cluster.machine_checks import Build
from cluster.settings import ExternalPool, FolderSource, Model, Pool, Settings
from cluster.settings_file import profile

QWEN = profile("qwen")
MACHINE = Machine(
    python=(3, 11, 9), cores=4, memory=Memory(32 * 10**9, 20 * 10**9), simd="avx512", gpus=(), gpu_problem=None
)
H100 = Gpu("NVIDIA H100", 80 * 10**9, "580.65.06")
ALL = frozenset({"qwen2.5-0.5b", "qwen2.5-1.5b"})


def with_pools(**changes: object) -> Settings:
    pools = tuple(pool.model_copy(update=changes) for pool in QWEN.pools)
    return QWEN.model_copy(update={"pools": pools})


def test_the_gravest_finding_is_the_verdict() -> None:
    assert worst([]) == "ok"
    assert worst([Finding("a", "warn", ""), Finding("b", "ok", "")]) == "warn"
    assert worst([Finding("a", "warn", ""), Finding("b", "fail", ""), Finding("c", "ok", "")]) == "fail"


def test_another_python_is_refused() -> None:
    assert checks.python_version(MACHINE).verdict == "ok"
    assert checks.python_version(replace(MACHINE, python=(3, 12, 0))).verdict == "fail"


def test_a_locale_that_cannot_print_chinese_is_remarked() -> None:
    assert checks.text_encoding("utf-8", "UTF-8").verdict == "ok"
    assert "ANSI_X3.4-1968 instead of UTF-8" in checks.text_encoding("utf-8", "ANSI_X3.4-1968").fact


def test_few_open_files_are_remarked() -> None:
    assert checks.open_files(20_000, 4096).verdict == "ok"
    assert checks.open_files(-1, 4096).verdict == "ok"
    few = checks.open_files(4096, 4096)
    assert few.verdict == "warn"
    assert few.remedy is not None
    assert "8704" in few.remedy


@pytest.mark.parametrize(
    ("cores", "simd", "build", "verdict"),
    [
        (2, "avx512", "cpu", "ok"),
        (1.5, "avx512", "cpu", "warn"),
        (8, "none", "cpu", "fail"),
        (8, "unknown", "cpu", "ok"),
        (1, "none", "gpu", "ok"),
    ],
)
def test_each_engine_thread_wants_a_core_unless_a_gpu_does_the_work(
    cores: float, simd: Simd, build: Build, verdict: Verdict
) -> None:
    assert checks.cores(replace(MACHINE, cores=cores, simd=simd), QWEN, build).verdict == verdict


@pytest.mark.parametrize(
    ("total_gb", "available_gb", "is_running", "verdict"),
    [(32, 20, False, "ok"), (32, 13, False, "fail"), (13, 12, True, "fail"), (32, 5, True, "ok")],
)
def test_memory_must_hold_all_engines_and_the_house(
    total_gb: int, available_gb: int, is_running: bool, verdict: Verdict
) -> None:
    machine = replace(MACHINE, memory=Memory(total_gb * 10**9, available_gb * 10**9))
    finding = checks.memory(machine, QWEN, is_running)
    assert finding.verdict == verdict
    # 4.6 + 7.3 for the engines, 1.5 for the house.
    assert "13.4 GB needed" in finding.fact


def test_only_models_that_are_missing_need_disk() -> None:
    assert checks.disk(QWEN, frozenset(), 5 * 10**9).fact.startswith("5.7 GB still to fetch, only 5.0 GB free")
    assert checks.disk(QWEN, frozenset({"qwen2.5-1.5b"}), 5 * 10**9).fact.startswith("1.5 GB still to fetch, 5.0 GB")
    assert checks.disk(QWEN, ALL, 0).verdict == "ok"


def test_missing_models_are_a_remark_as_long_as_they_can_be_fetched() -> None:
    assert checks.model_files(QWEN, ALL).verdict == "ok"
    assert checks.model_files(QWEN, frozenset()).verdict == "warn"


def test_a_model_that_is_only_in_a_folder_must_be_there() -> None:
    source = FolderSource.model_validate({"kind": "folder", "path": "/srv/m", "sha256": "0" * 64})
    models = tuple(model.model_copy(update={"sources": (source,)}) for model in QWEN.models)
    finding = checks.model_files(QWEN.model_copy(update={"models": models}), frozenset())
    assert (finding.verdict, finding.fact) == ("fail", "qwen2.5-0.5b is not in /srv/m")


@pytest.mark.parametrize(
    ("gpus", "build", "settings", "verdict", "words"),
    [
        ((), "cpu", QWEN, "ok", "run on the CPU"),
        ((), None, QWEN, "ok", "run on the CPU"),
        ((H100,), "cpu", QWEN, "warn", "NVIDIA H100 80.0 GB stands idle"),
        ((), "gpu", QWEN, "fail", "there is no GPU"),
        ((H100, H100), "gpu", QWEN, "ok", "driver 580.65.06"),
        ((H100,), "gpu", QWEN, "fail", "2 wanted by the pools, 1 there"),
        ((H100, H100), "gpu", with_pools(device="cpu"), "fail", "wants the CPU"),
        ((H100,), "cpu", with_pools(device="gpu"), "fail", "wants a GPU"),
        ((replace(H100, driver="535.1"),) * 2, "gpu", QWEN, "warn", "CUDA 13 wants 580"),
    ],
)
def test_gpus_the_build_and_the_pools_must_agree(
    gpus: tuple[Gpu, ...], build: Build | None, settings: Settings, verdict: Verdict, words: str
) -> None:
    finding = checks.gpus(replace(MACHINE, gpus=gpus), settings, build)
    assert finding.verdict == verdict
    assert words in finding.fact


def test_a_broken_driver_is_quoted() -> None:
    broken = replace(MACHINE, gpu_problem="nvidia-smi gave no answer within 10 s")
    assert checks.gpus(broken, QWEN, "cpu").verdict == "warn"
    assert checks.gpus(broken, QWEN, "gpu").fact == "nvidia-smi gave no answer within 10 s"


def test_servers_that_run_already_want_nothing_of_this_machine_but_room_for_the_router() -> None:
    model = Model(name="small", languages=("en",), max_difficulty=1, context_tokens=1, parameters_b=1)
    pool = ExternalPool(model="small", endpoints=("http://10.0.0.7:8000",))
    settings = Settings(models=(model,), pools=(pool,))
    machine = replace(MACHINE, cores=1, simd="none", memory=Memory(4 * 10**9, 2 * 10**9), gpu_problem="broken")
    assert checks.cores(machine, settings, None).verdict == "ok"
    assert checks.memory(machine, settings, False).fact == "1.5 GB needed, 2.0 GB available"
    assert checks.disk(settings, frozenset(), 0).verdict == "ok"
    assert checks.model_files(settings, frozenset()).fact == "none needed: no engine is started here"
    assert checks.gpus(machine, settings, None).verdict == "ok"


def test_of_a_mixed_configuration_only_the_engines_count() -> None:
    external = ExternalPool(model="qwen2.5-1.5b", endpoints=("http://10.0.0.7:8000",))
    settings = QWEN.model_copy(update={"pools": (QWEN.engine_pools[0], external)})
    # 4.6 for the one engine, 1.5 for the house.
    assert checks.memory(MACHINE, settings, False).fact.startswith("6.1 GB needed")
    assert checks.disk(settings, frozenset(), 5 * 10**9).fact.startswith("1.5 GB still to fetch")
    assert checks.model_files(settings, frozenset()).fact == "not there yet: qwen2.5-0.5b"


def test_two_engines_of_two_gpus_want_four() -> None:
    pool = Pool(model="qwen2.5-0.5b", engines=2, gpus_per_engine=2, memory_bytes=1)
    settings = QWEN.model_copy(update={"pools": (pool,)})
    assert "4 wanted" in checks.gpus(replace(MACHINE, gpus=(H100,)), settings, "gpu").fact
