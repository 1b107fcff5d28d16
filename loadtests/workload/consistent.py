"""What a plan may not ask for at once."""

from typing import Final

from cluster.errors import UserError
from loadtests.plan import Kind, Plan, Trace

_SINGLE: Final[tuple[Kind, ...]] = ("chat", "stream")


def single_shares(plan: Plan) -> dict[Kind, float]:
    """The shares of the kinds that are over with one answer."""
    return {kind: share for kind, share in plan.workload.kinds.items() if share and kind in _SINGLE}


def has_only_made_up(plan: Plan) -> bool:
    """Whether all prompts are made to length, so that no question is needed."""
    return plan.workload.lengths is not None or all(isinstance(stage.arrivals, Trace) for stage in plan.stages)


def check_consistent(plan: Plan) -> None:
    """Raises UserError with what to mend."""
    work = plan.workload
    several = sorted(kind for kind, share in work.kinds.items() if share and kind not in _SINGLE)
    traced = next((stage.name for stage in plan.stages if isinstance(stage.arrivals, Trace)), None)
    if several and (work.in_order or work.lengths):
        what = "in_order asks each question once" if work.in_order else "lengths makes up single prompts"
        raise UserError(f"workload.{what}, so workload.kinds may be chat and stream only, not {' and '.join(several)}")
    if work.in_order and (work.lengths or traced):
        other = "workload.lengths" if work.lengths else f"the trace of stage {traced!r}"
        raise UserError(f"workload.in_order asks questions, and {other} makes up prompts: leave one of the two out")
    if traced and not single_shares(plan):
        raise UserError(f"stage {traced!r} replays a trace: workload.kinds needs a share of chat or stream for it")
    untraced = next((stage.name for stage in plan.stages if not isinstance(stage.arrivals, Trace)), None)
    if work.lengths and work.lengths.prompt_tokens is None and untraced:
        raise UserError(f"workload.lengths.prompt_tokens is needed: stage {untraced!r} replays no trace that says it")
    if work.think_s[0] > work.think_s[1] or work.think_s[0] < 0:
        raise UserError(
            f"workload.think_s is from and to, in seconds: {work.think_s[0]:g} to {work.think_s[1]:g} is no such time"
        )
