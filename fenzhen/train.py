"""`fenzhen train`: rows become an adapter with proof that it is better."""

import click

from fenzhen.lazy_group import Entry, LazyGroup

COMMANDS = {
    "recipe": Entry("fenzhen.train_recipe", "recipe", "Print a recipe to start from."),
    "check": Entry("fenzhen.train_check", "check", "Check files of rows, and report what is in them."),
    "run": Entry("fenzhen.train_run", "run", "Train an adapter by a recipe, and measure it before and after."),
    "runs": Entry("fenzhen.train_runs", "runs", "List the runs, or show one."),
    "evaluate": Entry("fenzhen.train_evaluate", "evaluate", "Measure a run's adapter again, or any other."),
    "publish": Entry("fenzhen.train_publish", "publish", "Register what a run has made, and start its canary."),
    "from-feedback": Entry("fenzhen.train_from_feedback", "from_feedback", "Make rows of what people said of answers."),
    "scheduled": Entry("fenzhen.train_scheduled", "scheduled", "Train again each month, or when questions drift."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def train() -> None:
    """Teach a model from rows of examples: docs/training.md tells how."""
