"""In whose name requests are sent: tenants, how urgent they are, and their keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cluster.errors import UserError
from loadtests.plan import Plan, Tenant
from loadtests.workload.shares import Draw


@dataclass(frozen=True, slots=True)
class Caller:
    """A department at one level of urgency."""

    tenant: str
    level: str
    # A key is in there.
    headers: tuple[tuple[str, str], ...] = field(repr=False)


def callers_of(plan: Plan, keys: Mapping[str, str]) -> Draw[Caller]:
    """All callers by their share of the people. Raises UserError, which never holds a key."""
    names = [tenant.name for tenant in plan.workload.tenants]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"workload.tenants names {doubled!r} twice; reports could not tell the two apart")
    return Draw(_shares(plan, keys), "workload.tenants")


def _shares(plan: Plan, keys: Mapping[str, str]) -> Iterator[tuple[Caller, float]]:
    for tenant in plan.workload.tenants:
        total = sum(tenant.levels.values())
        if not total:
            raise UserError(f"workload.tenants: {tenant.name!r} has no level with a share above 0")
        key = _key_of(plan, tenant, keys)
        for level, share in tenant.levels.items():
            headers = (*key, ("x-fenzhen-group", tenant.name), ("x-fenzhen-level", level))
            yield Caller(tenant.name, level, headers), tenant.share * share / total


def _key_of(plan: Plan, tenant: Tenant, keys: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    name = tenant.api_key_env or plan.target.api_key_env
    if name is None:
        return ()
    key = keys.get(name, "")
    if not key:
        raise UserError(f"the plan takes a key from the environment variable {name}, which is not set")
    # A line break would end the header, and others could be smuggled in after it.
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        raise UserError(f"the key in {name} has characters that no header can carry, such as a line break at its end")
    return (("authorization", f"Bearer {key}"),)
