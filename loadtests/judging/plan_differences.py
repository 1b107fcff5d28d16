"""What two plans ask differently, as far as it decides what their figures mean."""

from collections.abc import Iterator
from typing import Any, Final

from loadtests.plan import Plan

# The name and the address may differ, and so may the model asked for: that is what two runs are compared for.
_COMPARED: Final = ("workload", "stages", "slo", "limits", "faults")
_NO_MATTER: Final = {"limits": {"stop_when_saturated"}, "stages": {"__all__": {"name"}}}


def differences(a: Plan, b: Plan) -> list[str]:
    """Each difference in load, workload, SLO, limits and faults, such as `stages.1.seconds: 60 against 120`."""
    return [difference for part in _COMPARED for difference in _differing(part, _plain(a, part), _plain(b, part))]


def _plain(plan: Plan, part: str) -> Any:
    exclude: Any = {part: _NO_MATTER[part]} if part in _NO_MATTER else {}
    if part == "workload":
        exclude = {"workload": {"tenants": {"__all__": {"api_key_env"}}}}
    return plan.model_dump(mode="json", include={part}, exclude=exclude)[part]


def _differing(path: str, a: Any, b: Any) -> Iterator[str]:
    match a, b:
        case dict(), dict():
            for key in [*a, *(key for key in b if key not in a)]:
                yield from _differing(f"{path}.{key}", a.get(key), b.get(key))
        case list(), list() if len(a) == len(b):
            for place, (one, other) in enumerate(zip(a, b, strict=True)):
                yield from _differing(f"{path}.{place}", one, other)
        case list(), list():
            yield f"{path}: {len(a)} against {len(b)} of them"
        case _:
            if a != b:
                yield f"{path}: {_shown(a)} against {_shown(b)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
