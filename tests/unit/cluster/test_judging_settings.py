"""The section `judging` of the configuration."""

from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.settings import Judging
from cluster.settings_file import parse_settings

TWO = b"""\
models:
  - {name: small, languages: [en], max_difficulty: 0.5, context_tokens: 2048, parameters_b: 0.1}
  - {name: vectors, task: embed, languages: [en], max_difficulty: 1, context_tokens: 512, parameters_b: 0.2}
pools:
  - {model: small, endpoints: ["http://127.0.0.1:1"]}
  - {model: vectors, endpoints: ["http://127.0.0.1:2"]}
judging:
"""


def test_nothing_is_learnt_unless_somebody_asks_for_it() -> None:
    assert Judging().learn_ratio == 0
    assert Judging(judge=Path("~/a.judge")).judge == Path.home() / "a.judge"


@pytest.mark.parametrize("name", ["large", "vectors"])
def test_a_judge_model_must_be_served_and_chat(name: str) -> None:
    assert parse_settings(TWO + b"  judge_model: small\n", "f").judging.judge_model == "small"
    with pytest.raises(UserError) as error:
        parse_settings(TWO + f"  judge_model: {name}\n".encode(), "f")
    assert str(error.value) == (
        f"f line 8: judging.judge_model: {name!r} is not served as a chat model; there are small"
    )


@pytest.mark.parametrize("line", ["learn_ratio: 1.1", "learn_below_ratio: 0", "learn_max_queue: 0", "lern_ratio: 0.1"])
def test_what_cannot_be_is_refused(line: str) -> None:
    with pytest.raises(UserError, match="judging"):
        parse_settings(TWO + f"  {line}\n".encode(), "f")
