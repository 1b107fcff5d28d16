"""The options of our profiles and some wrong ones, put to vLLM's own parser in one process."""

import os
import time
from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.settings import Pool
from serving.args_check import Question, check
from serving.engine_args import engine_environment, installed_build, option_words

POOL = Pool(model="small", memory_bytes=1)
GOOD = {
    "dtype": "bfloat16",
    "max-num-seqs": 16,
    "enforce-eager": True,
    "enable-prefix-caching": False,
    "enable-auto-tool-choice": True,
    "tool-call-parser": "hermes",
    "allowed-origins": ["https://a.example"],
    "lora-modules": ["a=/a", "b=/b"],
    "compilation-config.mode": 0,
}


def question(pool: str, **changes: object) -> Question:
    options = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    words = [word for name, value in options.items() for word in option_words(name, value)]  # type: ignore[arg-type]
    return Question(pool, ("--model=/models/small", *words))


async def test_vllm_s_parser_judges_each_pool_and_what_it_found_good_is_remembered(tmp_path: Path) -> None:
    _, version = installed_build()
    environment = engine_environment(POOL, "cpu", os.environ)
    wrong = [
        question("abbreviated", max_num_seq=16),
        question("mistyped", max_num_seqs="many"),
        question("unknown-parser", tool_call_parser="hermez"),
        question("no-parser", tool_call_parser="", dtype="auto"),
        question("half", dtype="float15"),
    ]
    with pytest.raises(UserError) as refusal:
        await check([question("good"), *wrong], version, tmp_path, environment)
    sentences = str(refusal.value).split("; pool ")
    assert len(sentences) == len(wrong)
    assert "pool abbreviated: engine_args: vLLM has no option max-num-seq" in str(refusal.value)
    assert "mistyped: engine_args: max-num-seqs: invalid" in str(refusal.value)
    assert "hermez" in str(refusal.value)
    assert "half: engine_args: dtype: invalid choice: 'float15'" in str(refusal.value)

    await check([question("good")], version, tmp_path, environment)
    begun_s = time.monotonic()
    await check([question("good")], version, tmp_path, environment)
    assert time.monotonic() - begun_s < 1
