"""A start that cannot succeed: it must end by itself, say why in the engine's own words, and leave nothing."""

from pathlib import Path

import pytest

from cluster.settings_file import as_yaml, profile
from cluster.stack_state import read_state
from tests.e2e.conftest import RunningStack, free_port

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def test_an_engine_that_cannot_start_is_given_up_with_its_own_words(tmp_path: Path) -> None:
    settings = profile("tiny")
    pool = settings.engine_pools[0]
    # vLLM's parser takes each of the two, and only the engine sees that they do not fit together.
    hopeless = pool.model_copy(update={"engine_args": {**pool.engine_args, "max-num-batched-tokens": 4}})
    port = free_port()
    settings = settings.model_copy(
        update={
            "pools": (hopeless,),
            "router": settings.router.model_copy(update={"port": port}),
            "site": settings.site.model_copy(update={"state_dir": tmp_path / "state"}),
        }
    )
    config = tmp_path / "fenzhen.yaml"
    config.write_text(as_yaml(settings), encoding="utf-8")
    stack = RunningStack(config, f"http://127.0.0.1:{port}", tmp_path / "state")
    failed = stack.run("up", "--detach", timeout_s=600)
    assert failed.returncode == 3
    assert "max_num_batched_tokens (4) must be greater than or equal to max_num_seqs (16)" in failed.stderr
    assert "Traceback" not in failed.stderr
    state = read_state(stack.state_dir)
    assert state is not None
    assert state.phase == "failed"
    assert not state.is_alive
    assert [note for note in state.processes if note.is_alive] == []
