"""`fenzhen loadtest report`: make the reports of a run again, from what its folder holds."""

from pathlib import Path

import click

from cluster.errors import UserError
from fenzhen.loadtest_needs import require_packages
from fenzhen.loadtest_run import view_of
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from loadtests.records.run_folder import find_run
from registry.disk import write_durably


@click.command()
@config_options
@json_option
@click.argument("run_name", metavar="[RUN]", default="last")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Write the page there too, say to mail it. [default: report.html in the run's folder]",
)
def report(config: Path | None, profile_name: str | None, as_json: bool, run_name: str, output: Path | None) -> int:
    """Make report.json and report.html of RUN again: its name, the beginning of one, its folder, or `last`.

    A run that was killed gets a report on what it had written by then. --json prints report.json.
    """
    from loadtests.run import document_in
    from loadtests.run import report as made

    printed = Output(as_json)
    require_packages()
    settings, _ = load(config, profile_name)
    folder = find_run(settings.site.state_dir, run_name)
    run = made(folder)
    document = document_in(folder)
    page = folder.page
    if output is not None:
        page = output.expanduser().absolute()
        try:
            page.parent.mkdir(parents=True, exist_ok=True)
            write_durably(page, folder.page.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{page} cannot be written: {error.strerror}") from error
    printed.result(document, view_of(run, document))
    printed.say(f"report: {page}")
    return 0
