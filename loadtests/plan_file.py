"""Plans as files: YAML read into `Plan`, `--set` laid over it, and the plans that come with us."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cluster.closed_file import ClosedFile, always
from cluster.errors import NotFound, UserError
from loadtests.plan import Plan, Trace

_PLANS: Final = ClosedFile(
    model=Plan,
    noun="plan",
    first_key="stages",
    printed_by="fenzhen loadtest plan",
    example="stages.0.seconds=30",
    paths={("workload", "questions"): always, ("stages", "arrivals", "path"): always},
    package="loadtests",
    folder="plans",
)


def read_plan(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """The plan in a file, or the one of that name that comes with us. Raises UserError if it is wrong.

    A file of that name goes first. Paths in a file are relative to its folder, those in overrides to where we are.
    """
    name = str(path_or_name)
    # As it was given: Path("./smoke") has forgotten that a file was meant.
    if name in shipped_names() and not Path(name).is_file():
        return parse_plan(shipped_text(name).encode(), f"plan {name}", Path.cwd(), overrides)
    if "/" not in name and "." not in name and not Path(name).exists():
        near = difflib.get_close_matches(name, shipped_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shipped_names())}"
        raise NotFound(f"there is no file and no plan {name!r}; {hint}")
    return _PLANS.read(Path(path_or_name), overrides)


def parse_plan(data: bytes, label: str, folder: Path, overrides: Sequence[str] = ()) -> Plan:
    """The plan in YAML text that messages call `label`, whose paths are relative to `folder`. Raises UserError."""
    return _PLANS.parse(data, label, folder, overrides)


def plan_yaml(plan: Plan) -> str:
    """The plan, defaults written out, as YAML that `parse_plan` reads back to an equal value."""
    return _PLANS.yaml(plan)


def shipped_names() -> tuple[str, ...]:
    """The plans that come with us, sorted."""
    return _PLANS.shipped_names()


def shipped_text(name: str) -> str:
    """A shipped plan as it is written, with its remarks. Raises NotFound."""
    return _PLANS.shipped_text(name)


def require_files(plan: Plan) -> None:
    """Raises UserError if a file that the plan names is not there, with the key that says otherwise."""
    named = [
        (f"stages.{number}.arrivals.path", stage.arrivals.path)
        for number, stage in enumerate(plan.stages)
        if isinstance(stage.arrivals, Trace)
    ]
    if plan.workload.questions is not None:
        named.append(("workload.questions", plan.workload.questions))
    missing = [f"{path} does not exist; say where it is: --set {key}=FILE" for key, path in named if not path.is_file()]
    if missing:
        raise UserError("\n".join(missing))
