"""`fenzhen loadtest plan`: a plan to start from."""

import click

from loadtests.plan_file import shipped_names, shipped_text
from loadtests.plan_reference import keys_text


@click.command()
@click.argument("name", default="mixed")
@click.option("--keys", "wants_keys", is_flag=True, help="Print all keys that a plan may have instead.")
@click.option("--list", "wants_names", is_flag=True, help="Print the names of the plans instead.")
def plan(name: str, wants_keys: bool, wants_names: bool) -> None:
    """Print a plan to start from: mixed (without NAME), smoke, peak, or another that --list shows.

    `fenzhen loadtest plan > plan.yaml` makes a file to change; `fenzhen loadtest run plan.yaml` runs it, and
    `fenzhen loadtest run mixed` runs one that comes with us as it is.
    """
    if wants_names:
        for one in shipped_names():
            # "# Name: what it is for"
            click.echo(f"{one:<14} {shipped_text(one).partition(chr(10))[0].partition(': ')[2]}")
    else:
        click.echo(keys_text() if wants_keys else shipped_text(name), nl=False)
