"""`fenzhen train check`: is everything right with rows, before an hour of training?"""

from pathlib import Path

import click

from cluster.errors import UserError
from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output

# No recipe says what is made of these rows.
_NAME = "check"


@click.command()
@config_options
@json_option
@click.argument("files", nargs=-1, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--recipe", "recipe_file", type=click.Path(path_type=Path), metavar="RECIPE", help="Check by its `data`.")
@click.option("--base", metavar="MODEL|FOLDER", help="Count tokens as this model does. [default: the recipe's]")
@click.option("--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Write report and histograms there.")
def check(
    config: Path | None,
    profile_name: str | None,
    as_json: bool,
    files: tuple[Path, ...],
    recipe_file: Path | None,
    base: str | None,
    output: Path | None,
) -> int:
    """Check files of rows, JSONL or Parquet, and report what is in them. Nothing is trained, and no model loaded.

    A row is {"messages": [{"role", "content"}, ...]} or {"prompt", "answer"}, and may have a "group"; for DPO
    {"prompt", "chosen", "rejected"}. Without FILE the recipe's own are checked. The exit code is 1 if there is
    something to mend.
    """
    if not files and recipe_file is None:
        raise click.UsageError("give files of rows, or --recipe", click.get_current_context(silent=True))
    printed = Output(as_json)
    # Imported late: pydantic and numpy take their time, and a wrong option should be told at once.
    from training.base_choice import base_of, lazy_token_counter
    from training.data_report import document_of, text_of
    from training.data_tokens import ESTIMATE, TokenCounter, estimated_tokens
    from training.preparing import COUNTED, write
    from training.preparing import check as checked
    from training.recipe import DataRecipe, Recipe
    from training.recipe_file import is_folder, read_recipe
    from training.rows_reading import objective_of

    if recipe_file is not None:
        recipe = read_recipe(recipe_file)
        if files:
            recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"rows": files})})
    else:
        recipe = Recipe(name=_NAME, base=base or "-", objective=objective_of(files), data=DataRecipe(rows=files))
    tokens: TokenCounter = estimated_tokens
    tokens_by = ESTIMATE
    if base is not None or recipe_file is not None:
        if base is not None:
            recipe = recipe.model_copy(update={"base": base})
        folder = Path(recipe.base).expanduser()
        if not is_folder(recipe.base):
            settings, _ = load(config, profile_name)
            folder = base_of(recipe, settings).folder
        tokens, tokens_by = lazy_token_counter(folder), COUNTED
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file; name a folder")
    report = checked(recipe, tokens, tokens_by, printed.say)
    if output is not None:
        write(report, output, None)
    printed.result(document_of(report), text_of(report))
    if output is not None:
        printed.say(f"{output} has report.json, report.txt and tokens.png.")
    return 1 if report.errors else 0
