"""The checks before a start, in one list: `fenzhen doctor` shows it, `fenzhen up` stops at its failures."""

import locale
import resource
import sys

from cluster import machine_checks, packages_check, port_check
from cluster.finding import Finding
from cluster.machine import free_disk_bytes, read_machine
from cluster.settings import Settings
from cluster.stack_state import processes_below, read_state


def doctor(settings: Settings, present: frozenset[str]) -> tuple[Finding, ...]:
    """Read this machine once and check it against the settings, cheap checks first; changes nothing.

    `present` holds the names of the models whose files are there whole.
    """
    machine = read_machine()
    state = read_state(settings.site.state_dir)
    is_running = state is not None and state.is_alive
    own_pids = {note.pid for note in processes_below(state.pid)} if state is not None and is_running else set()
    address = port_check.read_address(settings.router.host, settings.router.port, own_pids)
    distributions = packages_check.read_distributions()
    build = packages_check.build_of(distributions)
    # Ray and the router raise their soft limit up to the hard one.
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        machine_checks.python_version(machine),
        machine_checks.text_encoding(sys.stdout.encoding, locale.getencoding()),
        machine_checks.open_files(open_files, settings.router.max_in_flight),
        machine_checks.cores(machine, settings, build),
        machine_checks.memory(machine, settings, is_running),
        machine_checks.disk(settings, present, free_disk_bytes(settings.site.models_dir)),
        machine_checks.model_files(settings, present),
        port_check.reach(settings.router),
        port_check.port(settings.router, address),
        packages_check.engine(distributions, is_needed=bool(settings.engine_pools)),
        machine_checks.gpus(machine, settings, build),
        packages_check.packages(
            distributions, packages_check.read_lock(build), build, needs_engine=bool(settings.engine_pools)
        ),
        packages_check.import_names(distributions),
    )
