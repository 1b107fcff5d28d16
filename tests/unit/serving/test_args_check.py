import json
from pathlib import Path

import pytest

from cluster.errors import OurFault
from serving.args_check import Question, check, digest, sentence

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        ("unrecognized arguments: --max-num-seq=16 --x", "pool small: engine_args: vLLM has no option max-num-seq"),
        (
            "unrecognized arguments: --no-disable-log-stats",
            "pool small: engine_args: disable-log-stats cannot be false in vLLM; leave it out",
        ),
        (
            "argument --gpu-memory-utilization/--device-memory-utilization: invalid float value: 'x'",
            "pool small: engine_args: gpu-memory-utilization: invalid float value: 'x'",
        ),
        (
            "Error: --enable-auto-tool-choice requires --tool-call-parser",
            "pool small: engine_args: enable-auto-tool-choice requires tool-call-parser",
        ),
    ],
)
def test_a_complaint_of_vllm_names_the_pool_and_the_option_as_written_in_the_file(
    complaint: str, expected: str
) -> None:
    assert sentence("small", complaint) == expected


def test_the_port_does_not_change_what_is_remembered() -> None:
    first, second = (Question("small", ("--model=m", f"--port={port}")) for port in (1, 2))
    assert digest(first, "0.32.0") == digest(second, "0.32.0")


def test_another_version_of_vllm_is_asked_anew() -> None:
    question = Question("small", ("--model=m",))
    assert digest(question, "0.32.0") != digest(question, "0.33.0")


async def test_options_found_good_before_start_no_process(tmp_path: Path) -> None:
    question = Question("small", ("--model=m",))
    (tmp_path / "checked_engine_args.json").write_text(json.dumps([digest(question, "0.32.0")]))
    # With an empty environment a process could not even find our modules.
    await check([question], "0.32.0", tmp_path, {})


async def test_a_vllm_that_cannot_be_loaded_is_our_fault_and_is_quoted(tmp_path: Path) -> None:
    broken = tmp_path / "vllm"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libcudnn.so.9 is missing')")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with pytest.raises(OurFault, match=r"vLLM cannot be loaded: ImportError: libcudnn.so.9 is missing"):
        await check([Question("small", ("--model=m",))], "0.32.0", tmp_path, environment)
