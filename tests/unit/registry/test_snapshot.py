import pytest

from registry.snapshot import is_wanted


@pytest.mark.parametrize(
    "path",
    ["model-00001-of-00002.safetensors", "config.json", "merges.txt", "chat_template.jinja", "1_Pooling/config.json"],
)
def test_what_vllm_loads_is_fetched(path: str) -> None:
    assert is_wanted(path)


@pytest.mark.parametrize(
    "path",
    ["pytorch_model.bin", "model.pt", "onnx/config.json", "original/params.json", "consolidated.safetensors", "a.py"],
)
def test_pickles_code_and_second_copies_are_not_fetched(path: str) -> None:
    assert not is_wanted(path)
