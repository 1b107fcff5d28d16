import pytest

from cluster.errors import UserError
from loadtests.generator import Generated
from loadtests.place import Place
from loadtests.plan import Plan, Poisson, Stage
from loadtests.run import Workers, about_of, faults_of

STAGES = (Stage(name="a", seconds=30, arrivals=Poisson(rate_per_s=2)),)


def test_a_fault_after_the_end_is_refused() -> None:
    plan = Plan(stages=STAGES, faults=("kill-engine@10s", "kill-router@31s"))
    with pytest.raises(UserError, match="'kill-router@31s' would come after the end"):
        faults_of(plan, Workers())


def test_a_slow_line_that_workers_elsewhere_would_not_use_is_refused() -> None:
    plan = Plan(stages=STAGES, faults=("slow-link=200ms@10s",))
    assert len(faults_of(plan, Workers())) == 1
    with pytest.raises(UserError, match="workers elsewhere would not use it"):
        faults_of(plan, Workers(expected=2))


def test_what_is_kept_of_a_run_says_how_it_ended(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Place("http://127.0.0.1:1", "two engines", {}, None, tmp_path_factory.getbasetemp())
    done = Generated(outcome="saturated", message="", saturated_at_s=12.0, gaps={}, workers=2)
    about = about_of(place, 5.0, done)
    assert (about.outcome, about.saturated_at_s, about.processes) == ("saturated", 12.0, 2)
    assert (about.tested, about.started_unix_s) == ("two engines", 5.0)
    assert about.versions["locust"]
