"""Work that several processes do together under Ray Train: placed, told to stop, replaced when one is lost.

The processes are one group of torch.distributed. What they do is a function of ours, given by name and with plain
arguments; what they say meanwhile comes back through one small actor, by which they are also told to stop.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cluster.errors import FenzhenError, OurFault, Unavailable
from cluster.ray_link import EXCHANGE_S, LAST_WORDS_S, Link, Post
from cluster.ray_place import LOOPBACK, Workers, connected, no_room, wait_for_room

_LOOPBACK_ENVIRONMENT: Final = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
# Where Ray Train keeps its own notes, beside what we keep.
_RAY_FOLDER: Final = "ray"

Work = Callable[[Mapping[str, str], Link], Any]
"""Done by each worker. A FenzhenError ends all; whatever else is raised is a failure, after which all begin anew."""


def run_together(
    work: Work,
    arguments: Mapping[str, str],
    workers: Workers,
    storage: Path,
    told: Callable[[Any], None],
    stop: Callable[[], bool],
) -> Any:
    """Do `work` in all workers and give what the first of them returned.

    `storage` is a folder that all see. Raises the FenzhenError that a worker raised, Unavailable if there is no room
    for the workers, and OurFault if they failed more than `max_failures` times. `told` gets the messages of all, in
    the order of each, and lines of text about lost workers.
    """
    with connected() as is_ours:
        wait_for_room(workers, stop, is_ours=is_ours)
        return _Run(work, arguments, workers, storage, told, stop).result()


class _Run:
    def __init__(
        self,
        work: Work,
        arguments: Mapping[str, str],
        workers: Workers,
        storage: Path,
        told: Callable[[Any], None],
        stop: Callable[[], bool],
    ) -> None:
        import ray

        self._workers = workers
        self._told = told
        self._stop = stop
        node = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        # Beside the driver: it is as long there as anybody listens.
        self._post: Any = ray.remote(Post).options(num_cpus=0, label_selector=node).remote()
        self._trainer = _trainer(work, arguments, workers, storage, self._post)
        self._outcome: Any = None
        self._error: Exception | None = None

    def result(self) -> Any:
        import ray
        from ray.exceptions import RayError

        # In a thread, so that Ray leaves SIGINT to us, and that word can go to and fro meanwhile.
        thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                self._exchange(self._stop())
                thread.join(EXCHANGE_S)
            self._exchange(False)
        except RayError as error:
            raise Unavailable(f"the cluster does not answer any more ({type(error).__name__})") from error
        finally:
            # Workers that still run, since we were interrupted, hear it from the silence: they save and end.
            with contextlib.suppress(RayError):
                ray.kill(self._post)
        if self._error is not None:
            raise _sentence(self._error, self._workers) from self._error
        return self._outcome

    def _fit(self) -> None:
        try:
            self._outcome = self._trainer.fit().return_value
        except Exception as error:
            self._error = error

    def _exchange(self, is_stopping: bool) -> None:
        import ray

        for message in ray.get(self._post.from_driver.remote(is_stopping), timeout=LAST_WORDS_S):
            self._told(message)


def _work_of_one(config: dict[str, Any]) -> Any:
    link = Link(config["post"])
    try:
        return config["work"](config["arguments"], link)
    finally:
        link.close()


def _trainer(work: Work, arguments: Mapping[str, str], workers: Workers, storage: Path, post: Any) -> Any:
    import ray
    from ray.data import DataContext
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    with warnings.catch_warnings():
        # Train asks Ray Data for its defaults, and some that it sets there it calls deprecated itself (2.60).
        warnings.simplefilter("ignore", DeprecationWarning)
        DataContext.get_current()
    is_loopback = ray.get_runtime_context().gcs_address.startswith(LOOPBACK)
    # NCCL takes one process a GPU; what lies in main memory goes by gloo anyway.
    backend = "cpu:gloo,cuda:nccl" if workers.gpus_each == 1 else "gloo"
    environment = dict(_LOOPBACK_ENVIRONMENT) if is_loopback else {}
    if not workers.gpus_each:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return TorchTrainer(
        _work_of_one,
        train_loop_config={"work": work, "arguments": dict(arguments), "post": post},
        torch_config=_torch_config(backend, is_loopback),
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=bool(workers.gpus_each), resources_per_worker=workers.resources_each
        ),
        run_config=RunConfig(
            name=_RAY_FOLDER,
            storage_path=str(storage),
            failure_config=FailureConfig(
                max_failures=workers.max_failures, controller_failure_limit=workers.max_failures
            ),
            callbacks=[_failures(post)],
            worker_runtime_env={"env_vars": environment},
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )


def _torch_config(backend: str, is_loopback: bool) -> Any:
    """How the workers find each other: on one machine by a file, since torch's own meeting place listens everywhere."""
    import ray
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

    class FileBackend(_TorchBackend):  # type: ignore[misc]
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            worker_group.execute(_set_torch_distributed_env_vars)
            self._place = tempfile.mkdtemp(prefix="fenzhen-train-")
            worker_group.execute(_say_that_all_is_here)
            ray.get(
                [
                    worker_group.execute_single_async(
                        rank,
                        _setup_torch_process_group,
                        backend=backend_config.backend,
                        world_rank=rank,
                        world_size=len(worker_group),
                        init_method=f"file://{self._place}/meeting",
                        timeout_s=backend_config.timeout_s,
                    )
                    for rank in range(len(worker_group))
                ]
            )

        def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
            try:
                super().on_shutdown(worker_group, backend_config)
            finally:
                shutil.rmtree(self._place, ignore_errors=True)

    class FileConfig(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type:
            return FileBackend

    return FileConfig(backend=backend) if is_loopback else TorchConfig(backend=backend)


def _say_that_all_is_here() -> None:
    """Accelerate asks for these variables; nobody goes there."""
    os.environ.update(MASTER_ADDR=LOOPBACK, MASTER_PORT="0")


def _failures(post: Any) -> Any:
    """Told by Ray Train, in its controller, what workers raised, before it decides whether to begin anew."""
    from ray.train import UserCallback

    class Failures(UserCallback):  # type: ignore[misc]
        def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
            for error in worker_exceptions.values():
                if isinstance(_cause(error), FenzhenError):
                    # Beginning anew would not mend it; an error from here ends the run.
                    raise _cause(error)
            post.from_worker.remote([_words(worker_exceptions)])

    return Failures()


def _cause(error: BaseException) -> BaseException:
    """What was raised, without Ray's wrappings."""
    for name in ("_base_exc", "controller_failure", "health_check_failure"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return _cause(inner)
    return error


def _words(failures: Mapping[int, BaseException]) -> str:
    """Who failed, and how: kinds only, since texts of errors may hold what stands in rows."""
    from ray.exceptions import RayActorError

    causes = {rank: _cause(error) for rank, error in failures.items()}
    # When one is lost the others fail as well, in talking to it.
    lost = [rank for rank, cause in causes.items() if isinstance(cause, RayActorError)]
    if lost:
        return f"worker {', '.join(map(str, lost))} was lost: its process or its machine is gone"
    return "; ".join(f"worker {rank} failed ({type(cause).__name__})" for rank, cause in causes.items())


def _sentence(error: Exception, workers: Workers) -> Exception:
    """What to tell of a run that has ended badly."""
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import InsufficientClusterResourcesError, WorkerGroupStartupTimeoutError

    cause = _cause(error)
    if isinstance(cause, FenzhenError):
        return cause
    if isinstance(cause, WorkerGroupStartupTimeoutError | InsufficientClusterResourcesError):
        return Unavailable(no_room(workers))
    if isinstance(error, WorkerGroupError):
        return OurFault(
            f"training failed {workers.max_failures + 1} times, the last time so: {_words(error.worker_failures)}; "
            "Ray's logs of the workers say more"
        )
    return OurFault(f"Ray Train has given up ({type(cause).__name__}): its logs say more")
