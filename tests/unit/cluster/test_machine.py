from pathlib import Path

import pytest

from cluster.machine import Gpu, Memory, free_disk_bytes, gigabytes, read_cores, read_gpus, read_memory, read_simd

MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   12000000 kB\n"
V2 = "sys/fs/cgroup/app.slice"
V1 = "sys/fs/cgroup/memory"


def machine(root: Path, **files: str) -> Path:
    """A folder like `/` with these files; `__` in a name stands for `/`."""
    for name, text in {"proc__meminfo": MEMINFO, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_without_limits_the_whole_machine_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__self__cgroup="0::/app.slice\n")
    put(root, f"{V2}/memory.max", "max\n")
    put(root, f"{V2}/cpu.max", "max 100000\n")
    assert read_memory(root) == Memory(16_384_000_000, 12_288_000_000)
    assert read_cores(root, allowed=8) == 8


def test_a_container_has_what_its_group_leaves_it(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__self__cgroup="0::/app.slice/one\n")
    put(root, f"{V2}/memory.max", "4000000000\n")
    put(root, f"{V2}/memory.current", "3000000000\n")
    put(root, f"{V2}/memory.stat", "anon 5\ninactive_file 500000000\nactive_file 300000000\n")
    put(root, f"{V2}/cpu.max", "150000 100000\n")
    assert read_memory(root) == Memory(4_000_000_000, 1_800_000_000)
    assert read_cores(root, allowed=8) == 1.5


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__self__cgroup="0::/app.slice/one\n")
    put(root, f"{V2}/cpu.max", "100000 100000\n")
    put(root, f"{V2}/one/cpu.max", "400000 100000\n")
    assert read_cores(root, allowed=8) == 1


def test_a_group_of_version_1_limits_as_well(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__self__cgroup="4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    put(root, f"{V1}/memory.limit_in_bytes", "2000000000\n")
    put(root, f"{V1}/memory.usage_in_bytes", "1000000000\n")
    put(root, f"{V1}/memory.stat", "inactive_file 1\ntotal_inactive_file 100\ntotal_active_file 200\n")
    put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert read_memory(root) == Memory(2_000_000_000, 1_000_000_300)
    assert read_cores(root, allowed=8) == 0.5


def test_the_largest_number_of_version_1_is_no_limit(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__self__cgroup="4:memory:/\n3:cpu:/\n")
    put(root, f"{V1}/memory.limit_in_bytes", "9223372036854771712\n")
    put(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    put(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert read_memory(root).total_bytes == 16_384_000_000
    assert read_cores(root, allowed=4) == 4


def test_a_group_outside_of_the_container_leaves_its_mount(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__self__cgroup="0::/../../other\n")
    put(root, "sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert read_cores(root, allowed=8) == 2


@pytest.mark.parametrize(
    ("cpuinfo", "simd"),
    [
        ("flags\t\t: sse avx2 avx512f\n", "avx512"),
        ("flags\t\t: sse avx2\n", "avx2"),
        ("flags\t\t: sse\n", "none"),
        ("Features\t: asimd\n", "unknown"),
    ],
)
def test_the_widest_instructions_are_found(tmp_path: Path, cpuinfo: str, simd: str) -> None:
    assert read_simd(machine(tmp_path, proc__cpuinfo=cpuinfo)) == simd


def nvidia_smi(folder: Path, script: str) -> str:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return str(folder)


def test_gpus_are_read_from_the_drivers_tool(tmp_path: Path) -> None:
    lines = "NVIDIA H100 80GB HBM3, 81559 MiB, 580.65.06\\nNVIDIA A2, [N/A], 580.65.06"
    gpus, problem = read_gpus(nvidia_smi(tmp_path, f"printf '{lines}\\n'"))
    assert problem is None
    assert gpus == (
        Gpu("NVIDIA H100 80GB HBM3", 81559 * 1024 * 1024, "580.65.06"),
        Gpu("NVIDIA A2", None, "580.65.06"),
    )


def test_a_driver_that_is_broken_is_quoted(tmp_path: Path) -> None:
    gpus, problem = read_gpus(nvidia_smi(tmp_path, "echo 'could not talk to the driver'; exit 9"))
    assert gpus == ()
    assert problem == "nvidia-smi failed: could not talk to the driver"


def test_a_machine_without_the_tool_has_no_gpu_and_no_problem(tmp_path: Path) -> None:
    assert read_gpus(str(tmp_path)) == ((), None)


def test_free_disk_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert free_disk_bytes(tmp_path / "not" / "yet" / "there") > 0


def test_amounts_are_shown_in_powers_of_ten() -> None:
    assert gigabytes(13_400_000_000) == "13.4 GB"
