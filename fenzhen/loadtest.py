"""`fenzhen loadtest`: how much can we take, and what happens beyond?"""

import click

from fenzhen.lazy_group import Entry, LazyGroup

COMMANDS = {
    "plan": Entry("fenzhen.loadtest_plan", "plan", "Print a plan to start from."),
    "run": Entry("fenzhen.loadtest_run", "run", "Put a plan's load on the running stack, and report."),
    "search": Entry("fenzhen.loadtest_search", "search", "Find the highest load at which the promise is kept."),
    "runs": Entry("fenzhen.loadtest_runs", "runs", "List the runs."),
    "report": Entry("fenzhen.loadtest_report", "report", "Make a run's report again."),
    "compare": Entry("fenzhen.loadtest_compare", "compare", "Say what differs between two runs beyond noise."),
    "worker": Entry("fenzhen.loadtest_worker", "worker", "Send a part of a run's load from another machine."),
    "engines": Entry("fenzhen.loadtest_engines", "engines", "Start stand-in engines to rehearse a big cluster."),
    "fit": Entry("fenzhen.loadtest_fit", "fit", "Fit the stand-in's timing to a real engine, and state its error."),
    "link": Entry("fenzhen.loadtest_link", "link", "Put a line before an engine that can be made slow."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def loadtest() -> None:
    """Test the stack under load before a peak day: docs/load-tests.md tells how."""
