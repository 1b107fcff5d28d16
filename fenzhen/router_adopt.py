"""`fenzhen router adopt`: the candidate judge takes over, if fresh rows say that it is better."""

from pathlib import Path

import click

from cluster.errors import UserError
from cluster.settings import Settings
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from router.judge_folder import JudgeFolder, rows_dir
from router.learning import adoption
from router.learning.adoption import Verdict
from router.learning.rows_store import rows_files


@click.command()
@config_options
@json_option
@click.option(
    "--rows",
    "row_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Compare on these rows, may be given several times. [default: those stored while serving]",
)
@click.option("--check", is_flag=True, help="Only compare, change nothing.")
@click.option("--back", is_flag=True, help="Put the judge before in use again.")
def adopt(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    row_paths: tuple[Path, ...],
    check: bool,
    back: bool,
) -> int:
    """Compare the candidate judge with the one in use, and adopt it if it is better.

    Both rank rows that neither has learned from. The candidate is better if the whole 95 % interval of the difference
    says so; else nothing changes and the exit code is 1. A running router takes an adopted judge over within seconds.
    """
    if check and back:
        raise click.UsageError("--check and --back exclude each other", click.get_current_context())
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    folder = JudgeFolder(settings.site.state_dir)
    if settings.judging.judge is not None:
        raise UserError(
            f"judging.judge names {settings.judging.judge}, and that is what the router uses; take the key out of the "
            "configuration to have judges adopted."
        )
    if back:
        in_use = adoption.go_back(folder)
        output.result({"in_use": str(in_use)}, f"In use again: {in_use}.")
        return 0
    if not folder.candidate.exists():
        raise UserError(f"There is no candidate at {folder.candidate}; `fenzhen router train` makes one.")
    verdict = _compared(settings, folder, row_paths)
    is_adopted = verdict.is_better and not check
    if is_adopted:
        adoption.adopt(folder)
    document = {**verdict._asdict(), "is_better": verdict.is_better, "is_adopted": is_adopted}
    output.result(document, f"{_figures(verdict)}\n{_outcome(verdict, folder, is_adopted)}")
    return 0 if verdict.is_better else 1


def _compared(settings: Settings, folder: JudgeFolder, row_paths: tuple[Path, ...]) -> Verdict:
    in_use = folder.chosen(None)
    paths = row_paths or tuple(rows_files(rows_dir(settings.site.state_dir)))
    rows = adoption.fresh_rows(paths, adoption.known_until(folder, in_use))
    bar = next(card.max_difficulty for card in settings.served_models if card.task == "chat")
    return adoption.compare(adoption.read_judge(in_use), adoption.read_judge(folder.candidate), rows, bar)


def _figures(verdict: Verdict) -> str:
    return (
        f"On {verdict.rows} rows that neither has learned from:\n"
        f"                APGR   to the large model\n"
        f"  in use       {verdict.in_use_apgr:.3f}   {verdict.in_use_large_ratio:.1%}\n"
        f"  candidate    {verdict.candidate_apgr:.3f}   {verdict.candidate_large_ratio:.1%}\n"
        f"  difference  {verdict.gain:+.3f}, 95 % interval {verdict.ci_low:+.3f} to {verdict.ci_high:+.3f}"
    )


def _outcome(verdict: Verdict, folder: JudgeFolder, is_adopted: bool) -> str:
    if is_adopted:
        return (
            f"Adopted: {folder.in_use}. A running router takes it over within seconds; `fenzhen router calibrate` sets "
            "its bar, `fenzhen router adopt --back` takes it back."
        )
    if verdict.is_better:
        return "The candidate is better; without --check it is adopted."
    if verdict.ci_high < 0:
        return "Not adopted: the candidate is worse."
    return "Not adopted: the difference may be chance. More rows make the interval narrower."
