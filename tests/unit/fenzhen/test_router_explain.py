"""`fenzhen router explain`: offline, by the judge in use, with the models of the configuration."""

import json

from router.estimate import Judge
from router.judge_file import load, save
from router.query import Query
from tests.fakes.judges import weights
from tests.unit.fenzhen.router_commands import Desk

HARD = "Compare both plans for the new bridge and justify which one is better over ten years."


def test_it_tells_what_the_judge_estimates(desk: Desk) -> None:
    assert desk.run("explain", HARD, "--judge", desk.judge, "--json") == 0
    told = json.loads(desk.out)
    judge = Judge(load(desk.judge))
    estimate = judge.estimate(Query(HARD))
    assert told["difficulty"] == round(estimate.difficulty, 4)
    assert told["kind"] == estimate.task
    assert told["small_chance"] == round(estimate.chance(0), 4)
    assert [model["name"] for model in told["models"]] == ["small", "large"]
    assert told["models"][1]["chance"] == told["large_chance"]
    assert [one["what"] for one in told["reasons"]] == [one.what for one in judge.reasons(Query(HARD))]


def test_the_model_is_the_one_that_the_bar_says(desk: Desk) -> None:
    text = desk.config.read_text()
    for bar, model in (("0.0001", "large"), ("0.9999", "small")):
        desk.config.write_text(text.replace("max_difficulty: 0.5", f"max_difficulty: {bar}"))
        assert desk.run("explain", HARD, "--judge", desk.judge, "--json") == 0
        assert json.loads(desk.out)["model"] == model


def test_people_get_it_in_words(desk: Desk) -> None:
    assert desk.run("explain", "办居住证要多少钱？") == 0
    for words in ("would answer", "difficulty", "a small model answers well in", "what weighed most", "judge: "):
        assert words in desk.out


def test_the_adopted_judge_is_the_one_in_use(desk: Desk) -> None:
    place = desk.state_dir / "judges" / "in_use.judge"
    place.parent.mkdir(parents=True)
    save(weights(seed=5), place)
    assert desk.run("explain", HARD, "--json") == 0
    assert json.loads(desk.out)["judge_file"] == str(place)
    desk.config.write_text(desk.config.read_text() + f"judging: {{judge: {desk.judge}}}\n")
    assert desk.run("explain", HARD, "--json") == 0
    assert json.loads(desk.out)["judge_file"] == str(desk.judge)


def test_an_empty_question_and_a_broken_judge_are_refused(desk: Desk) -> None:
    assert desk.run("explain", "  ") == 2
    assert desk.err == "fenzhen: the question is empty\n"
    desk.judge.write_bytes(desk.judge.read_bytes()[:-10])
    assert desk.run("explain", HARD, "--judge", desk.judge) == 2
    assert "is damaged" in desk.err
