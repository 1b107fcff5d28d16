"""The file of a trained judge: one line of JSON that says what it is, then its numbers. Nothing in it is ever executed.

Numbers are 16-bit integers with one scale per head, 1 MB in all, and a bit for each run of characters that was seen, 64
KB. The digest covers them, so that a cut-off or altered file is noticed before it judges anything.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import UserError
from router import ngrams
from router.seen import SEEN_BYTES
from router.signs import SIGNS

DEFAULT: Final = Path(__file__).with_name("default.judge")
"""The judge that is shipped."""
LARGEST: Final = 32767
"""The largest 16-bit weight."""
HEADS: Final = 2
_MAGIC: Final = b"FENZHEN-JUDGE "
_MAX_HEADER_BYTES: Final = 1 << 16
_STORED: Final = np.dtype("<i2")


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainedOn(_Closed):
    """One set of rows that the judge has learned from."""

    name: str
    rows: int = Field(ge=1)
    licence: str
    source: str


class JudgeCard(_Closed):
    """What a judge is, for a person who has to answer for it."""

    name: str
    made_by: str
    """The command that makes this very file again."""
    trained_on: tuple[TrainedOn, ...]
    figures: dict[str, float]
    """What this way of training reached on rows that it had not seen; shares 0 to 1."""
    intended_use: str
    limits: str


_Pair = tuple[float, float]
_Row = tuple[float, ...]


class _Header(_Closed):
    format: Literal[1] = 1
    ngrams_version: int
    sign_names: tuple[str, ...]
    buckets: int
    ngram_most: _Pair
    signs: tuple[_Pair, ...]
    sign_means: _Row
    sign_spreads: _Row
    bias: _Pair
    strong_trust_ratio: float = Field(ge=0, le=1)
    border: float = Field(gt=0, lt=1)
    seen_bytes: int
    sha256: str
    card: JudgeCard


class Weights(NamedTuple):
    """The numbers of a judge; two heads, the small model's first."""

    ngrams: np.ndarray
    """(buckets, 2), 16-bit: shares of `ngram_most` in units of 1 / `LARGEST`."""
    ngram_most: _Pair
    """The largest weight of each head."""
    signs: np.ndarray
    """(signs, 2)"""
    sign_means: np.ndarray
    sign_spreads: np.ndarray
    bias: _Pair
    strong_trust_ratio: float
    """How far the large model's own failures are believed: 1 where the judge was trained on rows of the same kind."""
    card: JudgeCard
    border: float = 0.5
    """The raw difficulty that is told as 0.5: from there on the large model answers, unless somebody calibrates."""
    seen: np.ndarray = np.zeros(0, np.uint8)
    """What the judge knows, see `seen.seen_in`; empty if that is too little to call anything else strange."""


def save(weights: Weights, path: Path) -> str:
    """Write the judge in one stroke; what stood at `path` stays whole until then. Returns the digest."""
    numbers = weights.ngrams.astype(_STORED).tobytes() + weights.seen.tobytes()
    header = _Header(
        ngrams_version=ngrams.VERSION,
        sign_names=SIGNS,
        buckets=len(weights.ngrams),
        ngram_most=_pair(weights.ngram_most),
        signs=tuple(_pair(row) for row in weights.signs.tolist()),
        sign_means=_row(weights.sign_means),
        sign_spreads=_row(weights.sign_spreads),
        bias=_pair(weights.bias),
        strong_trust_ratio=weights.strong_trust_ratio,
        border=weights.border,
        seen_bytes=len(weights.seen),
        sha256=hashlib.sha256(numbers).hexdigest(),
        card=weights.card,
    )
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + header.model_dump_json().encode() + b"\n" + numbers)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return header.sha256


def load(path: Path) -> Weights:
    """Read a judge. Raises UserError, which says what to mend."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"The judge {path} cannot be read: {error.strerror}.") from error
    head, _, numbers = content.partition(b"\n")
    if not head.startswith(_MAGIC) or len(head) > _MAX_HEADER_BYTES:
        raise UserError(f"{path} is not a judge; `fenzhen router train` makes one.")
    try:
        header = _Header.model_validate_json(head[len(_MAGIC) :])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "header"
        raise UserError(f"The judge {path} cannot be used: {place}: {first['msg']}. Train it again.") from error
    if header.ngrams_version != ngrams.VERSION or header.sign_names != SIGNS or header.buckets != ngrams.BUCKETS:
        raise UserError(f"The judge {path} was trained for another version of the features. Train it again.")
    ngrams_bytes = header.buckets * HEADS * _STORED.itemsize
    if (
        not len(SIGNS) == len(header.signs) == len(header.sign_means) == len(header.sign_spreads)
        or min(header.sign_spreads) <= 0
        or header.seen_bytes not in (0, SEEN_BYTES)
        or len(numbers) != ngrams_bytes + header.seen_bytes
        or hashlib.sha256(numbers).hexdigest() != header.sha256
    ):
        raise UserError(f"The judge {path} is damaged: its numbers do not match its digest. Fetch or train it again.")
    return Weights(
        ngrams=np.frombuffer(numbers[:ngrams_bytes], _STORED).reshape(-1, HEADS).astype(np.int16),
        ngram_most=header.ngram_most,
        signs=np.array(header.signs),
        sign_means=np.array(header.sign_means),
        sign_spreads=np.array(header.sign_spreads),
        bias=header.bias,
        strong_trust_ratio=header.strong_trust_ratio,
        card=header.card,
        border=header.border,
        seen=np.frombuffer(numbers[ngrams_bytes:], np.uint8),
    )


def _row(numbers: np.ndarray) -> _Row:
    # Six digits are more than the training knows.
    return tuple(float(f"{number:.6g}") for number in numbers.tolist())


def _pair(numbers: _Pair) -> _Pair:
    small, large = (float(f"{number:.6g}") for number in numbers)
    return small, large
