import re
from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.settings import EngineArg, FolderSource, Model, Pool
from serving.engine_args import (
    Build,
    busy_in_flight,
    device_of,
    engine_arguments,
    engine_command,
    engine_environment,
    option_words,
)

MODEL = Model(
    name="small",
    sources=(FolderSource(kind="folder", path=Path("/models/small"), sha256="0" * 64),),
    languages=("en",),
    max_difficulty=0.5,
    context_tokens=2048,
    parameters_b=0.1,
    disk_bytes=1,
)


def pool(**engine_args: EngineArg) -> Pool:
    named = {name.replace("_", "-"): value for name, value in engine_args.items()}
    return Pool(model="small", memory_bytes=1, engine_args=named)


def words(device: Build, **engine_args: EngineArg) -> tuple[str, ...]:
    return engine_arguments(MODEL, pool(**engine_args), Path("/models/small"), device, "127.0.0.1", 8001)


def test_the_model_s_card_becomes_options() -> None:
    assert words("cpu")[:5] == (
        "--model=/models/small",
        "--served-model-name=small",
        "--host=127.0.0.1",
        "--port=8001",
        "--max-model-len=2048",
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (16, ("--x=16",)),
        ("-1", ("--x=-1",)),
        (True, ("--x",)),
        (False, ("--no-x",)),
        (["a", "b"], ("--x", "a", "b")),
    ],
)
def test_values_are_written_as_vllm_reads_them(value: EngineArg, expected: tuple[str, ...]) -> None:
    assert option_words("x", value) == expected


def test_lists_that_vllm_reads_as_json_or_by_repetition_are_written_so() -> None:
    assert option_words("allowed-origins", ["a", "b"]) == ("--allowed-origins", '["a", "b"]')
    assert option_words("middleware", ["a", "b"]) == ("--middleware=a", "--middleware=b")


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("max-model-len", "context_tokens"),
        ("tensor-parallel-size", "gpus_per_engine"),
        ("port", "free port"),
        ("api-key", "in front of the router"),
        ("served-model-name", "models: name"),
    ],
)
def test_an_option_that_we_set_is_refused_with_the_place_to_set_it(name: str, where: str) -> None:
    with pytest.raises(UserError, match=rf"pool small: engine_args: {name} .*{re.escape(where)}"):
        words("cpu", **{name: "1"})


def test_an_option_that_we_set_is_refused_with_underscores_and_in_its_negative_form_too() -> None:
    for name in ("max_model_len", "no-headless", "api_key"):
        with pytest.raises(UserError, match=f"engine_args: {name} "):
            engine_arguments(
                MODEL, Pool(model="small", memory_bytes=1, engine_args={name: "1"}), Path("/m"), "cpu", "::1", 1
            )


def test_dashes_in_front_are_refused() -> None:
    with pytest.raises(UserError, match="write 'max-num-seqs' without dashes"):
        words("cpu", **{"--max-num-seqs": 16})


def test_a_pool_may_choose_another_value_than_our_default() -> None:
    assert "--distributed-executor-backend=uni" in words("cpu")
    assert [w for w in words("cpu", distributed_executor_backend="mp") if "executor" in w] == [
        "--distributed-executor-backend=mp"
    ]


def test_an_engine_that_is_to_use_our_parser_of_tool_calls_is_told_where_it_is() -> None:
    assert "--tool-parser-plugin=serving.tool_parser" in words("gpu", tool_call_parser="qwen_json")
    assert not [word for word in words("gpu", tool_call_parser="hermes") if "plugin" in word]


def test_a_plugin_of_the_pool_s_own_stays() -> None:
    chosen = words("cpu", tool_call_parser="qwen_json", tool_parser_plugin="/mine.py")
    assert [word for word in chosen if "plugin" in word] == ["--tool-parser-plugin=/mine.py"]


def test_on_gpus_one_engine_spans_those_of_its_pool() -> None:
    assert "--tensor-parallel-size=1" in words("gpu")
    assert not [word for word in words("gpu") if "executor" in word]


def test_an_engine_on_a_cpu_gets_its_threads_and_its_cache_from_the_pool() -> None:
    environment = engine_environment(pool(), "cpu", {"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1"})
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment["PATH"] == "/bin"
    assert "PYTHONDONTWRITEBYTECODE" not in environment


def test_an_engine_on_a_gpu_gets_no_setting_of_the_cpu() -> None:
    assert not [name for name in engine_environment(pool(), "gpu", {}) if name.startswith(("OMP", "VLLM_CPU", "TORCH"))]


def test_the_engine_finds_our_modules_and_those_the_caller_added() -> None:
    root, *others = engine_environment(pool(), "cpu", {"PYTHONPATH": "/mine"})["PYTHONPATH"].split(":")
    assert (Path(root) / "serving" / "vllm_main.py").is_file()
    assert others == ["/mine"]


def test_a_device_that_the_installed_build_cannot_use_is_refused() -> None:
    with pytest.raises(UserError, match=r"pool small: device is gpu, but fenzhen\[cpu\] is installed"):
        device_of(Pool(model="small", memory_bytes=1, device="gpu"), "cpu")
    assert device_of(Pool(model="small", memory_bytes=1), "gpu") == "gpu"


@pytest.mark.parametrize(
    ("engine_args", "build", "full"),
    [
        ({}, "gpu", 256),
        ({}, "cpu", 16),
        ({"max_num_seqs": 12}, "gpu", 12),
        ({"max_num_seqs": "12"}, "cpu", 12),
        ({"max_num_seqs": "many"}, "cpu", 16),
    ],
)
def test_an_engine_is_full_where_vllm_begins_to_queue(
    engine_args: dict[str, EngineArg], build: Build, full: int
) -> None:
    assert busy_in_flight(pool(**engine_args), build) == full
    underscored = Pool(model="small", memory_bytes=1, engine_args=engine_args)
    assert busy_in_flight(underscored, build) == full


def test_when_an_engine_is_full_may_be_stated_and_grows_with_its_cache_on_a_cpu() -> None:
    assert busy_in_flight(pool(max_num_seqs=12).model_copy(update={"busy_in_flight": 5}), "gpu") == 5
    assert busy_in_flight(Pool(model="small", memory_bytes=1, cpu_kv_cache_gib=4), "cpu") == 64


def test_a_command_runs_our_own_start_of_vllm() -> None:
    command = engine_command(MODEL, pool(), Path("/models/small"), "cpu", "127.0.0.1", 8001, {})
    assert command.arguments[1:4] == ("-m", "serving.vllm_main", "serve")


def test_a_pool_without_adapters_is_started_as_before() -> None:
    assert not [word for word in words("cpu") if "lora" in word]
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in engine_environment(pool(), "cpu", {})


def test_adapters_take_room_for_the_names_a_few_of_which_compute_at_once() -> None:
    many = pool().model_copy(update={"max_adapters": 20, "max_adapter_rank": 32})
    options = engine_arguments(MODEL, many, Path("/models/small"), "cpu", "127.0.0.1", 8001)
    assert {"--enable-lora", "--max-loras=8", "--max-cpu-loras=22", "--max-lora-rank=32"} <= set(options)
    assert engine_environment(many, "cpu", {})["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    more = many.model_copy(update={"engine_args": {"max_loras": 12}})
    assert "--max-loras=12" in engine_arguments(MODEL, more, Path("/models/small"), "cpu", "127.0.0.1", 8001)


@pytest.mark.parametrize("name", ["enable-lora", "max_cpu_loras", "max-lora-rank", "lora-modules"])
def test_what_the_pool_says_of_adapters_cannot_be_said_twice(name: str) -> None:
    with pytest.raises(UserError, match="max_adapter"):
        words("cpu", **{name: 1})
