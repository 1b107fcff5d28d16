"""`fenzhen registry verify`: are the kept files still those that were registered?"""

from pathlib import Path

import click

from fenzhen.options import config_options, json_option, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from fenzhen.registry_versions import find
from registry.stores import open_versions
from registry.versions import Version


@click.command()
@config_options
@json_option
@click.argument("name", required=False)
@click.argument("which", metavar="[VERSION|@ALIAS]", required=False)
def verify(config: Path | None, profile_name: str | None, as_json: bool, name: str | None, which: str | None) -> int:
    """Hash the files of one version, of all of NAME, or of all there are, and compare with what was registered.

    Each file is brought from where it is kept, one at a time. The exit code is 1 if one does not match.
    """
    settings, _ = load(config, profile_name)
    output = Output(as_json)
    found: dict[str, tuple[str, ...]] = {}
    with reporter(output.progress) as progress:
        store = open_versions(settings, progress)
        faults: tuple[str, ...] = ()
        if which is not None and name is not None:
            versions: tuple[Version, ...] = (find(store, name, which),)
        else:
            versions, faults = store.audit(name)
        for version in versions:
            found[f"{version.name} {version.version}"] = store.damage(version)
    problems = [*faults, *(problem for damage in found.values() for problem in damage)]
    document = {"verified": [label for label, damage in found.items() if not damage], "problems": problems}
    whole = f"{len(versions) - sum(bool(damage) for damage in found.values())} of {len(found)} versions are whole."
    output.result(document, "\n".join([*problems, whole]))
    return 1 if problems else 0
