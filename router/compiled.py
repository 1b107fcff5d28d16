"""Where compiled functions are kept between starts. Imported before any module that compiles.

numba looks at a function's own file only to see whether what it has kept is still right; but a function holds others
and tables from other files. So each state of this folder's sources has a place of its own.
"""

import hashlib
import tempfile
from pathlib import Path

import numba
from numba import njit
from numba.core import config, types

CACHE_DIR = Path("~/.cache/fenzhen/compiled").expanduser()


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
    except OSError:
        # A start that takes some seconds longer beats none.
        place = Path(tempfile.mkdtemp(prefix="fenzhen-compiled-"))
    config.CACHE_DIR = str(place)
    return place


keep_compiled()
BYTES = types.Bytes(types.uint8, 1, "C")
"""The type of an argument that is `bytes`: to be given as it is, which costs half of what an array around it does."""
__all__ = ["BYTES", "keep_compiled", "njit", "types"]
