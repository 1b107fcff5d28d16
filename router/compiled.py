"""Where compiled functions are kept between starts. Imported before any module that compiles.

numba looks at a function's own file only to see whether what it has kept is still right; but a function holds others
and tables from other files. So each state of this folder's sources has a place of its own.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import numba
from numba import njit
from numba.core import config, types

CACHE_DIR = Path("~/.cache/fenzhen/compiled").expanduser()
# What no start has used for so long belongs to sources that are gone.
_KEPT_S = 30 * 86400


def keep_compiled() -> Path:
    """Set the place for this state of the sources, and give it."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    place = CACHE_DIR / digest.hexdigest()[:16]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
        os.utime(place)
        _remove_old(place.parent)
    except OSError:
        # A start that takes some seconds longer beats none.
        place = Path(tempfile.mkdtemp(prefix="fenzhen-compiled-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
    config.CACHE_DIR = str(place)
    return place


def _remove_old(folder: Path) -> None:
    oldest_s = time.time() - _KEPT_S
    for place in folder.iterdir():
        if place.stat().st_mtime < oldest_s:
            shutil.rmtree(place, ignore_errors=True)


keep_compiled()
BYTES = types.Bytes(types.uint8, 1, "C")
"""The type of an argument that is `bytes`: to be given as it is, which costs half of what an array around it does."""
__all__ = ["BYTES", "keep_compiled", "njit", "types"]
