"""Puts the rivals into folders of their own under build/bench/env; nothing else on the machine changes."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.errors import OurFault, UserError

PINS: Final = Path(__file__).with_name("pins")
_INSTALL_TIMEOUT_S: Final = 900.0
_MARK: Final = ".installed"


@dataclass(frozen=True, slots=True)
class Installed:
    """A rival on this machine."""

    folder: Path
    version: str


@dataclass(frozen=True, slots=True)
class PythonRival:
    """A rival from PyPI, in a virtual environment of its own, every distribution by version and hash."""

    name: str

    def at(self, root: Path) -> Installed:
        """Where it is, or will be."""
        return Installed(root / self.name, self._version())

    def install(self, root: Path) -> bool:
        """Install it unless it is there as pinned; True if there was something to do. Raises OurFault."""
        pins = PINS / f"{self.name}.txt"
        digest = hashlib.sha256(pins.read_bytes()).hexdigest()
        folder = root / self.name
        if _mark_of(folder) == digest:
            return False
        _clear(folder)
        _call([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        _call([*pip, "--no-deps", "--require-hashes", "-r", str(pins)])
        (folder / _MARK).write_text(digest, encoding="ascii")
        return True

    def _version(self) -> str:
        for line in (PINS / f"{self.name}.txt").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{self.name}=="):
                return line.removeprefix(f"{self.name}==").split()[0]
        raise OurFault(f"{PINS / self.name}.txt does not pin {self.name} itself")


@dataclass(frozen=True, slots=True)
class DebianRival:
    """A rival from Debian's packages, unpacked and not installed, which needs no root."""

    name: str
    packages: tuple[tuple[str, str], ...]
    """Name and version; the rival itself comes first, then its libraries that are not on every machine."""

    def at(self, root: Path) -> Installed:
        """Where it is, or will be."""
        folder = root / self.name
        return Installed(folder, _mark_of(folder) or self.packages[0][1])

    def install(self, root: Path) -> bool:
        """Install it unless it is there; True if there was something to do. Raises UserError, OurFault."""
        folder = root / self.name
        if _mark_of(folder):
            return False
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise UserError(
                f"{self.name} comes from Debian's packages, and apt-get is not here: leave it out by --only"
            )
        _clear(folder)
        folder.mkdir(parents=True)
        versions = []
        for package, version in self.packages:
            _download(package, version, folder)
            (archive,) = folder.glob(f"{package}_*.deb")
            _call(["dpkg-deb", "--extract", str(archive), str(folder)])
            versions.append(archive.name.split("_")[1])
            archive.unlink()
        (folder / _MARK).write_text(versions[0], encoding="ascii")
        return True


HAPROXY: Final = DebianRival(
    "haproxy",
    (
        ("haproxy", "2.6.12-1+deb12u4"),
        ("liblua5.3-0", "5.3.6-2"),
        ("libopentracing-c-wrapper0", "1.1.3-3+b1"),
        ("libopentracing1", "1.6.0-4"),
    ),
)
VLLM: Final = PythonRival("vllm-router")
SGLANG: Final = PythonRival("sglang-router")
LITELLM: Final = PythonRival("litellm")
ALL: Final = (HAPROXY, VLLM, SGLANG, LITELLM)


def _download(package: str, version: str, folder: Path) -> None:
    """Fetch the pinned version, or the one that Debian has put in its place: it keeps no older ones."""
    pinned = _try(["apt-get", "download", "-q", f"{package}={version}"], folder)
    if pinned and (why := _try(["apt-get", "download", "-q", package], folder)):
        raise UserError(f"Debian's package {package} cannot be had (is `apt-get update` needed?): {why}")


def _mark_of(folder: Path) -> str:
    mark = folder / _MARK
    return mark.read_text(encoding="ascii") if mark.is_file() else ""


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _try(command: list[str], folder: Path | None = None) -> str:
    """Run it; empty, or what went wrong."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()[-1000:] or "no reason given"


def _call(command: list[str]) -> None:
    if why := _try(command):
        raise OurFault(f"{' '.join(command[:6])} ... failed: {why}")
