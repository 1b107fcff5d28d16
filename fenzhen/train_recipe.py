"""`fenzhen train recipe`: a recipe to start from."""

import click

from fenzhen.output import Output
from training.recipe_file import shipped_names, shipped_text
from training.recipe_reference import keys_text


@click.command()
@click.argument("name", default="lora")
@click.option("--keys", "wants_keys", is_flag=True, help="Print all keys that a recipe may have instead.")
@click.option("--list", "wants_names", is_flag=True, help="Print the names of the recipes instead.")
def recipe(name: str, wants_keys: bool, wants_names: bool) -> None:
    """Print a recipe to start from: lora (without NAME), qlora, dpo, or another that --list shows.

    `fenzhen train recipe > recipe.yaml` makes a file to change; `fenzhen train run recipe.yaml` runs it.
    """
    if wants_names:
        output = Output()
        for one in shipped_names():
            output.result(None, f"{one:<10} {shipped_text(one).partition(chr(10))[0].lstrip('# ')}")
    else:
        click.echo(keys_text() if wants_keys else shipped_text(name), nl=False)
