"""The whole way, as an ML engineer goes it: rows, an adapter, proof that it is better, a canary, and people's word."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.settings import Pool
from cluster.settings_file import profile
from tests.e2e.conftest import DOWN_TIMEOUT_S, REPOSITORY, RunningStack, start_stack
from tests.e2e.small_model import SMALL

# Training takes two to three minutes on two idle cores.
pytestmark = pytest.mark.timeout(1500)

NAME = "hotline"
RECIPE = REPOSITORY / "training" / "recipes" / "hotline.yaml"
TRAINED_S = 900
LOADED_S = 180
ROWS_ASKED = 6


@pytest.fixture
def adapting(tmp_path: Path) -> Iterator[RunningStack]:
    """One engine that takes adapters, and a router that keeps what may be judged by people."""
    like = profile("tiny")
    (model,) = (each for each in like.models if each.name == SMALL)
    (pool,) = (each for each in like.pools if isinstance(each, Pool) and each.model == SMALL)
    settings = like.model_copy(
        update={
            "models": (model.model_copy(update={"max_difficulty": 1.0, "languages": ("en", "zh")}),),
            "pools": (pool.model_copy(update={"max_adapters": 2}),),
            "feedback": like.feedback.model_copy(update={"keep_ratio": 1.0}),
        }
    )
    running = start_stack(tmp_path, settings)
    yield running
    stopped = running.run("down", timeout_s=DOWN_TIMEOUT_S)
    assert stopped.returncode == 0, stopped.stderr


def test_rows_become_an_adapter_that_is_better_is_on_canary_and_answers_otherwise(
    adapting: RunningStack, tmp_path: Path
) -> None:
    run = trained(adapting, tmp_path / "run")
    rows = learnt(run)
    served = on_canary_and_promoted(adapting, run)
    before, after = [], []
    for row in rows[:ROWS_ASKED]:
        before.append(asked(adapting, SMALL, row).json()["choices"][0]["message"]["content"])
        after.append(asked(adapting, NAME, row).json()["choices"][0]["message"]["content"])
    wanted = [row["messages"][-1]["content"] for row in rows[:ROWS_ASKED]]
    # Same questions through the same router: the base has never heard of the form, the adapter keeps to it.
    assert not any(said == right for said, right in zip(before, wanted, strict=True))
    # vLLM rounds otherwise than transformers: one in a while falls to the other side.
    assert sum(said == right for said, right in zip(after, wanted, strict=True)) >= ROWS_ASKED // 2, after
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert served["name"] == NAME
    becomes_a_row(adapting, rows[0], tmp_path / "more.jsonl")


def trained(stack: RunningStack, run: Path) -> Path:
    """Train by the recipe that comes with us, and see that it has helped beyond chance."""
    words = ("train", "run", str(RECIPE), "--set", f"base={SMALL}", "--output", str(run), "--json")
    done = stack.run(*words, timeout_s=TRAINED_S)
    assert done.returncode == 0, done.stderr
    before, after = (json.loads((run / "evaluation" / f"{side}.json").read_text()) for side in ("before", "after"))
    metric = "exact_match"
    was, now = (document["figures"][metric] for document in (before, after))
    assert now["ci_low"] > was["ci_high"] + 0.1, (was, now)
    assert after["figures"]["loss"]["ci_high"] < before["figures"]["loss"]["ci_low"]
    assert (run / "evaluation" / "answers.html").is_file()
    return run


def learnt(run: Path) -> list[dict[str, Any]]:
    """Held-out rows, never trained on, that were answered rightly after training: other code must do so as well."""
    rows = [json.loads(line) for line in (run / "data" / "test.jsonl").read_text("utf-8").splitlines()]
    after = json.loads((run / "evaluation" / "after.json").read_text("utf-8"))
    said = zip(after["answered"], after["answers"], strict=True)
    return [rows[number] for number, answer in said if answer == rows[number]["messages"][-1]["content"]]


def on_canary_and_promoted(stack: RunningStack, run: Path) -> dict[str, Any]:
    """Publish with a canary, wait until the running engine has the adapter, and put it on duty by hand."""
    plan = ("--shadow", "0", "--steps", "50", "--bake", "1s")
    published = stack.run("train", "publish", str(run), "--canary", *plan, "--json", timeout_s=120)
    assert published.returncode == 0, published.stderr
    document = json.loads(published.stdout)
    assert isinstance(document, dict)
    until_stage(stack, "canary")
    promoted = stack.run("rollout", "promote", NAME, "--reason", "measured before")
    assert promoted.returncode == 0, promoted.stderr
    until_stage(stack, "done")
    return document


def until_stage(stack: RunningStack, stage: str) -> None:
    """Wait until the rollout has come so far."""
    ends_s = time.monotonic() + LOADED_S
    seen = ""
    while time.monotonic() < ends_s:
        (last,) = json.loads(stack.run("rollout", "status", NAME, "--json").stdout)["rollouts"]
        seen = last["stage"]
        if seen.startswith(stage):
            return
        time.sleep(0.5)
    pytest.fail(f"not {stage} within {LOADED_S} s: {seen}")


def asked(stack: RunningStack, model: str, row: dict[str, Any]) -> httpx.Response:
    """The row's question, put to a model or a name through the router."""
    body = {"model": model, "messages": row["messages"][:-1], "temperature": 0, "max_tokens": 48}
    answer = httpx.post(f"{stack.base_url}/v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer


def becomes_a_row(stack: RunningStack, row: dict[str, Any], rows: Path) -> None:
    """A person corrects an answer and consents: the next set has it."""
    answer = asked(stack, NAME, row)
    corrected = '{"事项":"社保卡","部门":"人社局"}'
    given = {"request_id": answer.headers["x-request-id"], "rating": 1, "corrected_answer": corrected, "consent": True}
    said = httpx.post(f"{stack.base_url}/v1/feedback", json=given, timeout=30)
    assert said.is_success, said.text
    made = stack.run("train", "from-feedback", "--output", str(rows))
    assert made.returncode == 0, made.stderr
    (found,) = (json.loads(line) for line in rows.read_text("utf-8").splitlines())
    assert found["messages"][-1]["content"] == corrected
