"""Ray and Ray Serve on this machine: started, given applications, stopped."""

import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.directory import Directory
from cluster.errors import TimedOut, Unavailable
from cluster.ray_tls import ray_tls_environment
from cluster.settings import Site

# Read when Ray is imported, so it must be set before that.
RAY_ENVIRONMENT: Final = {
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
# While replicas are replaced, so many more of them may run: at least one, so that none leaves before another has come.
_SURGE_PERCENT: Final = 25
# From asking for a replica to its answering, on a busy machine; alone on one it takes 3 s.
_REPLICA_START_S: Final = 60.0
_LOOK_S: Final = 0.5
# A replica's own load is reported so often, and judged by its mean over the second.
_LOAD_PERIOD_S: Final = 1.0
_LOAD_WINDOW_S: Final = 5.0
NAMESPACE: Final = "fenzhen"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a part grows from `Part.replicas` and shrinks back, by what its replicas say of themselves."""

    max_replicas: int
    policy: type
    """Built by Serve's controller with `policy_arguments`; called with its context, gives the replicas wanted."""
    policy_arguments: dict[str, float]
    up_after_s: float
    down_after_s: float


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
    scaling: Scaling | None = None
    """None: always `replicas`."""
    route_prefix: str | None = None
    """The path under which Ray's own ingress serves it; None: not at all."""
    max_ongoing_requests: int = 5
    """That Ray's own ingress may pass on to one replica at a time; the others wait there."""


class RayRuntime:
    """The one Ray that this process has started."""

    def __init__(self) -> None:
        self._is_stopping = threading.Event()

    def start(self, site: Site, ingress: tuple[str, int] | None = None) -> None:
        """Start Ray and Serve on the loopback address; takes about 8 s. `ingress`: where Ray's HTTP proxy listens."""
        os.environ.update(RAY_ENVIRONMENT)
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
        if ingress is None:
            # The router's replicas listen by themselves: Ray's own HTTP proxy is not on a request's way.
            serve.start(proxy_location="Disabled")
        else:
            serve.start(proxy_location="HeadOnly", http_options={"host": ingress[0], "port": ingress[1]})

    def start_directory(self) -> Directory:
        """Start the table of endpoints. It lives as long as this process, and is born again if it is killed."""
        from cluster.ray_directory import start_directory

        return start_directory()

    def deploy(self, parts: Sequence[Part]) -> None:
        """Begin to start the parts; returns before they are ready."""
        from ray import serve

        serve.run_many(
            [serve.RunTarget(_application(part), name=part.name, route_prefix=part.route_prefix) for part in parts],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )

    def replace(self, part: Part) -> None:
        """Replace the replicas of a part that runs by new ones, each old one leaving after a new one has come.

        Returns when the last old one has left. Raises Unavailable if the new ones do not come to be, or if the stack is
        stopped meanwhile. The old ones go on then, but Serve would not replace one that dies: replace them by the old
        part once more.
        """
        from ray.exceptions import RayError

        until_s = time.monotonic() + replacement_timeout_s(part)
        try:
            self.deploy([part])
        except RayError as error:
            raise Unavailable(f"Ray Serve does not take the new replicas ({type(error).__name__})") from error
        while not self._is_stopping.wait(_LOOK_S):
            try:
                if _is_replaced(part):
                    return
            except RayError as error:
                # Its controller is started again by itself, and goes on where it was.
                _log.warning("Serve does not say how far it is: %s", error)
            if time.monotonic() > until_s:
                raise TimedOut(f"its new replicas are not there after {replacement_timeout_s(part):g} s")
        raise Unavailable("the stack is being stopped")

    def stop_waiting(self) -> None:
        """End a `replace` that another thread waits in: the parts are about to be stopped."""
        self._is_stopping.set()

    def problems(self) -> dict[str, str]:
        """What Serve says of the parts that have failed for good, by name."""
        from ray import serve
        from ray.serve.schema import ApplicationStatus

        bad = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)
        return {name: part.message for name, part in serve.status().applications.items() if part.status in bad}

    def is_running(self, name: str) -> bool:
        """Whether all replicas of a part are there."""
        from ray import serve
        from ray.serve.schema import ApplicationStatus

        part = serve.status().applications.get(name)
        return part is not None and bool(part.status == ApplicationStatus.RUNNING)

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


def _is_replaced(part: Part) -> bool:
    """Whether all replicas are new and well, and the old ones gone. Raises Unavailable if they never will be."""
    from ray import serve
    from ray.serve.schema import ApplicationStatus

    application = serve.status().applications.get(part.name)
    if application is None:
        raise Unavailable("it is being stopped")
    if application.status == ApplicationStatus.DEPLOY_FAILED:
        words = [deployment.message for deployment in application.deployments.values()] or [application.message]
        _log.error("%s: the new replicas do not start: %s", part.name, "\n".join(words))
        raise Unavailable(f"its new replicas do not start: {_last_line(words[0])}")
    return bool(application.status == ApplicationStatus.RUNNING)


def replacement_timeout_s(part: Part) -> float:
    """The longest that `replace` takes."""
    most = part.scaling.max_replicas if part.scaling else part.replicas
    waves = math.ceil(most / math.ceil(most * _SURGE_PERCENT / 100))
    return waves * _REPLICA_START_S + part.drain_s + _STOP_MARGIN_S


def _application(part: Part) -> Any:
    from ray import serve

    number = {"num_replicas": part.replicas} if part.scaling is None else {"autoscaling_config": _scaled(part)}
    deployment = serve.deployment(part.replica).options(
        name=part.name,
        **number,
        max_ongoing_requests=part.max_ongoing_requests,
        # By default Serve stops an old replica before it starts the new one, which leaves nobody where there is one.
        max_surge_percent=_SURGE_PERCENT,
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


def _scaled(part: Part) -> Any:
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

    scaling = part.scaling
    assert scaling is not None
    with warnings.catch_warnings():
        # The variable that shall replace this field one day is not read for replicas yet (2.60).
        warnings.filterwarnings("ignore", message="The `metrics_interval_s` field", category=DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=part.replicas,
            max_replicas=scaling.max_replicas,
            metrics_interval_s=_LOAD_PERIOD_S,
            look_back_period_s=_LOAD_WINDOW_S,
            upscale_delay_s=scaling.up_after_s,
            downscale_delay_s=scaling.down_after_s,
            policy=AutoscalingPolicy(policy_function=scaling.policy, policy_kwargs=scaling.policy_arguments),
        )


def _last_line(message: str) -> str:
    """Serve's messages hold whole tracebacks; what people need to know stands in their last line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "Serve does not say why"
