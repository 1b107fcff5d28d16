"""The files of a version: which may be kept, and their digests.

A version's digest is the one that `registry.digests` makes of a folder with these files, so that anyone can check it:
the SHA-256 of the text that `sha256sum` prints for the files in the order of their paths' bytes.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from cluster.errors import OurFault, UserError
from registry.adapter_files import read_adapter
from registry.digests import CHUNK_BYTES, Stamp, file_sha256, folder_files
from registry.versions import FileDigest, Kind

Content = tuple[tuple[str, Path], ...]
"""Path inside the version, and where the file lies now; in the order in which they are digested."""

PROMPT_FILE: Final = "prompt.txt"
JUDGE_FILE: Final = "auto.judge"
MAX_PROMPT_BYTES: Final = 64 * 1024
JUDGE_MAGIC: Final = b"FENZHEN-JUDGE {"
# Loading one of these runs whatever its maker put into it.
PICKLES: Final = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def content_of(kind: Kind, path: Path) -> Content:
    """The files of a folder, or one file, that are to be a version. Raises UserError with what to mend."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if kind in ("prompt", "judge"):
        file = _only_file(kind, path)
        if kind == "prompt":
            read_prompt(file)
            return ((PROMPT_FILE, file),)
        _require_judge(file)
        return ((JUDGE_FILE, file),)
    if not path.is_dir():
        raise UserError(f"{path} is a file; a version of kind {kind} is a folder")
    content = tuple(folder_files(path))
    if not content:
        raise UserError(f"{path} has no files")
    _require_inside(path, content)
    for relative, _ in content:
        if relative.lower().endswith(PICKLES):
            raise UserError(
                f"{path / relative} may be a pickle, which runs code when it is loaded: keep weights as *.safetensors "
                "and take other such files out"
            )
    if kind == "adapter":
        read_adapter(path)
    return content


def read_prompt(file: Path) -> str:
    """The text of a prompt. Raises UserError."""
    # One byte over the limit is enough to know.
    with file.open("rb") as opened:
        data = opened.read(MAX_PROMPT_BYTES + 1)
    if len(data) > MAX_PROMPT_BYTES:
        raise UserError(f"{file} is larger than {MAX_PROMPT_BYTES // 1024} KiB, the most that a prompt may be")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: byte {error.start + 1} cannot be read") from error
    if not text.strip() or "\0" in text:
        raise UserError(f"{file} {'holds a zero byte' if text.strip() else 'is empty'}: it is no prompt")
    return text


def digests_of(content: Content, on_bytes: Callable[[int], None] = lambda _: None) -> tuple[FileDigest, ...]:
    """Hash every file. `on_bytes` is called with the size of each chunk read."""
    return tuple(FileDigest(relative, file_sha256(path, on_bytes), path.stat().st_size) for relative, path in content)


def stamp_of(content: Content) -> Stamp:
    """Sizes and times of the files: if they are the same, nobody has written to them."""
    stats = [(relative, path.stat()) for relative, path in content]
    return {relative: (stat.st_size, stat.st_mtime_ns) for relative, stat in stats}


def whole_sha256(files: Iterable[FileDigest]) -> str:
    """The digest of all files together."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda one: os.fsencode(one.path)):
        digest.update(f"{file.sha256}  {file.path}\n".encode())
    return digest.hexdigest()


def is_safe_path(text: str) -> bool:
    """Whether a path from a registry stays below the folder that it is put into."""
    path = PurePosixPath(text)
    return bool(text) and not path.is_absolute() and ".." not in path.parts and text.isprintable() and "\\" not in text


def damage_of(folder: Path, files: tuple[FileDigest, ...]) -> str | None:
    """The first way in which a folder is not exactly these files; None if it is."""
    found = dict(folder_files(folder))
    for file in files:
        path = found.pop(file.path, None)
        if path is None:
            return f"{file.path} is missing"
        if path.stat().st_size != file.size_bytes:
            return f"{file.path} has {path.stat().st_size:,} bytes instead of {file.size_bytes:,}"
        if (sha256 := file_sha256(path)) != file.sha256:
            return f"{file.path} has sha256 {sha256[:8]}… instead of {file.sha256[:8]}…"
    return f"{min(found)} does not belong to it" if found else None


def require_whole(name: str, folder: Path, files: tuple[FileDigest, ...]) -> None:
    """Raise OurFault with the file's name unless a folder is exactly these files."""
    if damage := damage_of(folder, files):
        raise OurFault(f"{name} is not what was registered: {damage}; nothing of it is used")


def copy_file(source: Path, target: Path) -> None:
    """Copy one file's content, whatever its rights, making the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, CHUNK_BYTES)


def _only_file(kind: Kind, path: Path) -> Path:
    if path.is_file():
        return path
    content = folder_files(path)
    if len(content) != 1:
        raise UserError(f"{path} has {len(content)} files; a version of kind {kind} is one file")
    _require_inside(path, tuple(content))
    return content[0][1]


def _require_judge(file: Path) -> None:
    with file.open("rb") as opened:
        head = opened.read(len(JUDGE_MAGIC))
    if head != JUDGE_MAGIC:
        raise UserError(f"{file} is not a judge; `fenzhen router train` makes one")


def _require_inside(folder: Path, content: Content) -> None:
    inside = folder.resolve()
    for relative, path in content:
        if not path.resolve().is_relative_to(inside):
            raise UserError(
                f"{path} is a link out of the folder, so it may change after it was looked at; "
                f"`cp -rL {folder} COPY` makes a folder to register"
            )
        if not is_safe_path(relative):
            raise UserError(f"{folder} has a file with a name that not every store can keep: {relative!r}")
