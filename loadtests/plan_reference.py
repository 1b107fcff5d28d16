"""All keys of a plan, made from the plan itself: `docs/load-plan.md`, and `fenzhen loadtest plan --keys`."""

from typing import Final

from pydantic import BaseModel

from cluster.closed_keys import key_lines
from cluster.settings_reference import section_of
from loadtests.plan import (
    Constant,
    Day,
    Gamma,
    Lengths,
    Limits,
    People,
    Plan,
    Poisson,
    Ramp,
    Slo,
    Spike,
    Stage,
    Target,
    Tenant,
    Trace,
    Workload,
)

_ARRIVALS: Final = (Constant, Poisson, Gamma, Ramp, Spike, Day, Trace)
# What each is called on the page, and what stands before its keys after --set.
_SECTIONS: Final[tuple[tuple[str, str, type[BaseModel]], ...]] = (
    ("target", "target.", Target),
    ("workload", "workload.", Workload),
    ("workload, tenants: one tenant", "workload.tenants.0.", Tenant),
    ("workload, lengths", "workload.lengths.", Lengths),
    ("stages: one stage", "stages.0.", Stage),
    *(
        (f"stages, arrivals: {one.model_fields['kind'].default}", "stages.0.arrivals.", one)
        for one in _ARRIVALS
    ),
    ("stages, people", "stages.0.people.", People),
    ("slo", "slo.", Slo),
    ("limits", "limits.", Limits),
)  # fmt: skip
_HEAD = """# The keys of a plan

`fenzhen loadtest plan` prints a plan to start from, with `--list` the names of all that come with us. Every key is
checked before anything is sent: one that does not exist is refused with its line and the nearest right one. Paths are
relative to the plan. `--set slo.ttft_s=1` says otherwise for one run, `--set stages.0.seconds=30` for the first stage;
a path in it is relative to where you are.

This page is made from the plan itself by `make docs`.
"""


def reference() -> str:
    """The page in the docs."""
    sections = [section_of("The file", Plan), *(section_of(title, section) for title, _, section in _SECTIONS)]
    return "\n".join([_HEAD, *sections])


def keys_text() -> str:
    """The same for a terminal."""
    lines = key_lines("", Plan)
    for _, above, section in _SECTIONS:
        lines += ["", *([f"# {section.__doc__}"] if section in _ARRIVALS else []), *key_lines(above, section)]
    return "\n".join(lines) + "\n"
