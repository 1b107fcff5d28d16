"""`fenzhen router`: the judge that tells hard questions from easy ones."""

import click

from fenzhen.lazy_group import Entry, LazyGroup

COMMANDS = {
    "explain": Entry("fenzhen.router_explain", "explain", "Say what the judge thinks of a question, and why."),
    "calibrate": Entry("fenzhen.router_calibrate", "calibrate", "Find the bar for a share of questions or a quality."),
    "evaluate": Entry("fenzhen.router_evaluate", "evaluate", "Measure a judge on labelled rows."),
    "label": Entry("fenzhen.router_label", "label", "Ask both models of a running stack and write rows."),
    "train": Entry("fenzhen.router_train", "train", "Make a judge out of labelled rows."),
    "adopt": Entry("fenzhen.router_adopt", "adopt", "Replace the judge in use if a candidate does better."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def router() -> None:
    """The judge that tells hard questions from easy ones: see what it thinks, tune it, measure it, train it.

    docs/judge.md tells what it is.
    """
