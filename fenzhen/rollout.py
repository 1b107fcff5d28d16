"""`fenzhen rollout`: new versions let in step by step."""

import click

from fenzhen.lazy_group import Entry, LazyGroup

COMMANDS = {
    "start": Entry("fenzhen.rollout_start", "start", "Let a new version in, step by step."),
    "status": Entry("fenzhen.rollout_status", "status", "Show how far rollouts are, and what they wait for."),
    "promote": Entry("fenzhen.rollout_promote", "promote", "Go on one step, or past a review."),
    "hold": Entry("fenzhen.rollout_hold", "hold", "Stay in this step until it is resumed."),
    "resume": Entry("fenzhen.rollout_resume", "resume", "Let a held rollout go on."),
    "rollback": Entry("fenzhen.rollout_rollback", "rollback", "Send all traffic back to the version before, at once."),
    "history": Entry("fenzhen.rollout_history", "history", "Show who decided what and why, and check the record."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def rollout() -> None:
    """Let new versions in step by step, and take those that harm back: docs/rollouts.md tells how."""
