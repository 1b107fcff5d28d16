import pytest

from cluster.errors import UserError
from registry.version_gates import gate_of, result_of
from registry.version_tags import gate_verdict
from registry.versions import Gate


@pytest.mark.parametrize(
    ("text", "value", "is_passed"),
    [
        ("accuracy >= 0.9", 0.9, True),
        ("accuracy>=0.9", 0.899, False),
        ("accuracy > 0.9", 0.9, False),
        (" accuracy <= 1e-3 ", 0.001, True),
        ("accuracy < -1", -2.0, True),
    ],
)
def test_a_gate_looks_at_the_result(text: str, value: float, is_passed: bool) -> None:
    gate = gate_of(text, {"accuracy": value, "other": 0.0})
    assert (gate.metric, gate.value, gate.is_passed) == ("accuracy", value, is_passed)


def test_a_result_that_is_missing_passes_no_gate() -> None:
    assert gate_of("recall >= 0", {"accuracy": 1.0}) == Gate("recall", ">= 0", None, False)


def test_a_gate_is_written_down_exactly() -> None:
    assert gate_of("a >= 0.123456789", {}).required == ">= 0.123456789"


@pytest.mark.parametrize(
    "text", ["", "accuracy", "accuracy = 0.9", "accuracy >= high", "a >= nan", "a >= 1 or 2", ">= 1"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write a result's name, >=, <=, > or <, and a number"):
        gate_of(text, {})


def test_a_result_is_a_name_and_a_number() -> None:
    assert result_of("accuracy=0.93") == ("accuracy", 0.93)
    for text in ("accuracy", "=1", "accuracy=high", "accuracy=inf"):
        with pytest.raises(UserError, match="write its name, = and a number"):
            result_of(text)


def test_the_verdict_names_the_gates_that_failed() -> None:
    passed, failed = Gate("a", "> 0", 1.0, True), Gate("b", "> 0", None, False)
    assert [gate_verdict(gates) for gates in ((), (passed,), (passed, failed))] == ["", "passed", "failed: b"]
