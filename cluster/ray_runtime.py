"""Ray and Ray Serve on this machine: started, given applications, stopped. No other module of ours knows them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.directory import Directory
from cluster.ray_tls import ray_tls_environment
from cluster.settings import Site

# Read when Ray is imported, so it must be set before that.
_ENVIRONMENT: Final = {
    # Nothing is reported to Ray's makers.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray replaces 127.0.0.1 by the machine's address and then listens on all interfaces, unless it believes to be on a
    # kind of machine on which it makes no clusters. One machine is all that is asked for here.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Its logs stay small.
    "RAY_ROTATION_MAX_BYTES": str(16 * 1024 * 1024),
    "RAY_ROTATION_BACKUP_COUNT": "2",
    # By default Ray makes its workers, and so the router and the engines, yield to everything else on the machine.
    "RAY_worker_niceness": "0",
    # Its watch over memory would kill a replica while an engine loads a model.
    "RAY_memory_monitor_refresh_ms": "0",
}
# Replicas are asked this often whether they are well, and replaced when they do not answer. Seconds.
_HEALTH_PERIOD_S: Final = 2.0
_HEALTH_TIMEOUT_S: Final = 30.0
# Beyond a part's own drain time, for its last words.
_STOP_MARGIN_S: Final = 20.0
NAMESPACE: Final = "fenzhen"


@dataclass(frozen=True, slots=True)
class Part:
    """One Ray Serve application of one deployment."""

    name: str
    replica: type
    """Built by Ray in a process of its own with `arguments`."""
    arguments: dict[str, Any] = field(default_factory=dict)
    replicas: int = 1
    gpus: int = 0
    """Per replica."""
    drain_s: float = 30.0


class RayRuntime:
    """The one Ray that this process has started."""

    def start(self, site: Site) -> None:
        """Start Ray and Serve on the loopback address. Takes about 8 s."""
        os.environ.update(_ENVIRONMENT)
        os.environ.update(ray_tls_environment(site.state_dir / "tls"))
        import ray
        from ray import serve

        ray.init(
            address="local",
            namespace=NAMESPACE,
            # Nothing reserves CPUs: engines take their threads from their own settings.
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            object_store_memory=site.ray_object_store_bytes,
            log_to_driver=False,
            logging_level="warning",
            _node_ip_address="127.0.0.1",
        )
        # The router's replicas listen by themselves: Ray's own HTTP proxy is not on a request's way.
        serve.start(proxy_location="Disabled")

    def start_directory(self) -> Directory:
        """Start the table of endpoints. It lives as long as this process, and is born again if it is killed."""
        from cluster.ray_directory import start_directory

        return start_directory()

    def deploy(self, parts: Sequence[Part]) -> None:
        """Begin to start the parts; returns before they are ready."""
        from ray import serve

        serve.run_many(
            [serve.RunTarget(_application(part), name=part.name, route_prefix=None) for part in parts],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )

    def problems(self) -> dict[str, str]:
        """What Serve says of the parts that have failed for good, by name."""
        from ray import serve
        from ray.serve.schema import ApplicationStatus

        bad = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)
        return {name: part.message for name, part in serve.status().applications.items() if part.status in bad}

    def stop_part(self, name: str) -> None:
        """Drain and stop one part; returns when it is gone."""
        from ray import serve

        serve.delete(name)

    def stop(self) -> None:
        """Stop Serve and Ray."""
        import ray
        from ray import serve

        serve.shutdown()
        ray.shutdown()


def _application(part: Part) -> Any:
    from ray import serve

    deployment = serve.deployment(part.replica).options(
        name=part.name,
        num_replicas=part.replicas,
        ray_actor_options={"num_cpus": 0, "num_gpus": part.gpus},
        # An engine has failed several starts by itself before its replica gives up: more of the same is no help.
        max_constructor_retry_count=1,
        health_check_period_s=_HEALTH_PERIOD_S,
        health_check_timeout_s=_HEALTH_TIMEOUT_S,
        graceful_shutdown_timeout_s=part.drain_s + _STOP_MARGIN_S,
        # No request comes through Ray, so there is none to wait for before the replica's own drain.
        graceful_shutdown_wait_loop_s=0.1,
    )
    return deployment.bind(**part.arguments)
