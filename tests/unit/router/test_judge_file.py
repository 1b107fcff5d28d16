"""The judge's file: what is written is read, and what is damaged is refused with one sentence."""

import os
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import UserError
from router import ngrams
from router.judge_file import load, save
from router.seen import SEEN_BYTES
from tests.fakes.judges import weights


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.judge"
    save(weights(), path)
    loaded = load(path)
    assert (loaded.ngrams == weights().ngrams).all()
    assert loaded.ngram_most == weights().ngram_most
    np.testing.assert_allclose(loaded.signs, weights().signs, rtol=1e-5)
    assert loaded.card == weights().card
    assert loaded.border == 0.5
    assert len(loaded.seen) == 0
    seen = np.random.default_rng(0).integers(0, 256, SEEN_BYTES).astype(np.uint8)
    save(weights()._replace(border=0.61, seen=seen), path)
    assert load(path).border == 0.61
    assert (load(path).seen == seen).all()
    assert (load(path).ngrams == weights().ngrams).all()


@pytest.mark.parametrize("border", [b"0.0", b"1.0", b"2.5", b"null"])
def test_a_border_outside_of_the_scale_is_refused(tmp_path: Path, border: bytes) -> None:
    path = tmp_path / "a.judge"
    save(weights(), path)
    path.write_bytes(path.read_bytes().replace(b'"border":0.5', b'"border":' + border, 1))
    with pytest.raises(UserError, match="border"):
        load(path)


def test_bits_of_another_size_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.judge"
    save(weights()._replace(seen=np.ones(SEEN_BYTES - 1, np.uint8)), path)
    with pytest.raises(UserError, match="damaged"):
        load(path)


def test_the_same_judge_makes_the_same_bytes_and_stays_below_2_mb(tmp_path: Path) -> None:
    first, second = tmp_path / "a.judge", tmp_path / "b.judge"
    assert save(weights(), first) == save(weights(), second)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 2_000_000
    again = tmp_path / "c.judge"
    save(load(first), again)
    assert again.read_bytes() == first.read_bytes()


def test_a_flipped_bit_and_a_cut_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.judge"
    save(weights(), path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="damaged"):
        load(path)
    path.write_bytes(content[:-100])
    with pytest.raises(UserError, match="damaged"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04", b"\x80\x04\x95" * 100])
def test_any_other_file_is_not_a_judge(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.judge"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a judge"):
        load(path)


def test_a_field_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.judge"
    save(weights(), path)
    path.write_bytes(path.read_bytes().replace(b'"card":', b'"code":"import os","card":', 1))
    with pytest.raises(UserError, match="code"):
        load(path)


def test_a_judge_for_other_features_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.judge"
    save(weights(), path)
    monkeypatch.setattr(ngrams, "VERSION", ngrams.VERSION + 1)
    with pytest.raises(UserError, match="another version"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.judge cannot be read"):
        load(tmp_path / "nowhere.judge")


def test_a_failed_save_leaves_the_old_judge_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.judge"
    save(weights(), path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(weights(1), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.judge"]
