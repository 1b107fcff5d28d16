"""The keys that a plan names, out of the environment: never from files, never on a command line."""

from collections.abc import Mapping

from cluster.errors import UserError
from loadtests.plan import Plan


def keys_of(plan: Plan, environment: Mapping[str, str]) -> dict[str, str]:
    """By the variables' names. Raises UserError for one that is not set."""
    names = {plan.target.api_key_env, *(tenant.api_key_env for tenant in plan.workload.tenants)} - {None}
    wanted = sorted(str(name) for name in names)
    missing = [name for name in wanted if not environment.get(name)]
    if missing:
        raise UserError(f"the plan takes a key from the environment variable {missing[0]}, which is not set")
    return {name: environment[name] for name in wanted}
