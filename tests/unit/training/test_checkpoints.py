import json
from pathlib import Path

import pytest

from cluster.errors import UserError
from tests.fakes.training import prepared_of, recipe_of
from training.checkpoints import Checkpoints, Identity, Progress, identity_of

OURS = Identity("recipe", "rows")


@pytest.fixture
def notes() -> list[str]:
    return []


def checkpoints(folder: Path, identity: Identity = OURS, keep: int = 2) -> Checkpoints:
    return Checkpoints(folder, identity, keep)


def save(folder: Path, step: int) -> Path:
    """One checkpoint with a file and a folder in it."""
    them = checkpoints(folder)
    partial = them.partial(step)
    (partial / "weights").write_text(f"of step {step}")
    (partial / "best").mkdir()
    (partial / "best" / "weights").write_text("the best")
    return them.commit(partial, Progress(step=step, loss=1 / step, seconds=2.5, best_loss=0.5, misses=1))


def test_what_was_saved_is_found_again(tmp_path: Path, notes: list[str]) -> None:
    folder = save(tmp_path, 20)
    assert folder.name == "step-00000020"
    found = checkpoints(tmp_path).newest(notes.append)
    assert found == (folder, Progress(step=20, loss=0.05, seconds=2.5, best_loss=0.5, misses=1))
    assert notes == []


def test_where_nothing_was_saved_nothing_is_found(tmp_path: Path, notes: list[str]) -> None:
    assert checkpoints(tmp_path / "none").newest(notes.append) is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (20, 40, 100, 120):
        save(tmp_path, step)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["step-00000100", "step-00000120"]


def test_a_checkpoint_that_was_begun_is_not_one(tmp_path: Path, notes: list[str]) -> None:
    save(tmp_path, 20)
    begun = checkpoints(tmp_path).partial(40)
    (begun / "weights").write_text("half of")
    found = checkpoints(tmp_path).newest(notes.append)
    assert found is not None
    assert found[1].step == 20
    checkpoints(tmp_path).partial(60)
    assert not begun.exists()


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "no facts", "half of the facts", "facts of another kind"])
def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path: Path, notes: list[str], harm: str) -> None:
    save(tmp_path, 20)
    newest = save(tmp_path, 40)
    file = newest / "best" / "weights"
    facts = newest / "checkpoint.json"
    match harm:
        case "cut":
            file.write_text("the b")
        case "changed":
            file.write_text("the bEst")
        case "gone":
            file.unlink()
        case "no facts":
            facts.unlink()
        case "half of the facts":
            facts.write_text(facts.read_text()[:-30])
        case _:
            facts.write_text(json.dumps({"files": {}}))
    found = checkpoints(tmp_path).newest(notes.append)
    assert found is not None
    assert found[1].step == 20
    assert notes == ["checkpoint step-00000040 is damaged and passed over"]
    assert save(tmp_path, 40).is_dir()


@pytest.mark.parametrize(
    ("other", "what"), [(Identity("other", "rows"), "recipe"), (Identity("recipe", "other"), "set of rows")]
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, notes: list[str], other: Identity, what: str) -> None:
    save(tmp_path, 20)
    with pytest.raises(UserError, match=f"checkpoint of another {what}: go on with the one it was begun with"):
        checkpoints(tmp_path, other).newest(notes.append)


def test_a_run_is_the_same_while_what_is_learnt_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    here = identity_of(recipe_of(), prepared_of(), tmp_path)
    for harmless in ({"micro_batch_size": 2}, {"gradient_checkpointing": True}, {"keep_checkpoints": 5}):
        assert identity_of(recipe_of(harmless), prepared_of(), tmp_path) == here
    assert identity_of(recipe_of(evaluation={"max_rows": 7}), prepared_of(), tmp_path) == here
    for harmful in ({"seed": 2}, {"learning_rate": 1e-4}, {"batch_size": 8}):
        assert identity_of(recipe_of(harmful), prepared_of(), tmp_path).recipe_sha256 != here.recipe_sha256
    assert identity_of(recipe_of(), prepared_of(9), tmp_path).data_sha256 != here.data_sha256
    (tmp_path / "config.json").write_text('{"other": 1}')
    assert identity_of(recipe_of(), prepared_of(), tmp_path).recipe_sha256 != here.recipe_sha256
