"""`fenzhen registry`: versions of models, adapters, judges and prompts."""

import click

from fenzhen.lazy_group import Entry, LazyGroup

COMMANDS = {
    "list": Entry("fenzhen.registry_list", "list_versions", "List the versions and who is on duty."),
    "show": Entry("fenzhen.registry_show", "show", "Show all that is known of one version."),
    "register": Entry("fenzhen.registry_register", "register", "Keep files as the next version of a name."),
    "diff": Entry("fenzhen.registry_diff", "diff", "Compare two versions of a name."),
    "verify": Entry("fenzhen.registry_verify", "verify", "Hash the kept files anew and compare."),
    "drift": Entry("fenzhen.registry_drift", "drift", "Show how questions and answers have changed."),
    "gc": Entry("fenzhen.registry_gc", "gc", "Remove what nobody needs any more."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def registry() -> None:
    """Versions of models, adapters, judges and prompts: what each is made of, where from, and how it did.

    docs/registry.md tells what is kept and where.
    """
