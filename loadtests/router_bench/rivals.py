"""The rivals, each with the settings that a careful person would give it for speed on one core.

All: round robin (it has one engine, and their other policies cost them more), health checks and metrics as they come,
connections to the engine kept open, the log as quiet as it gets, loopback only. Started on one core, so that each
makes as many threads as it holds right for one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.router_bench import cpu
from loadtests.router_bench.candidate import Running, Server, Trim, wait_for_answer
from loadtests.router_bench.child import free_ports, running
from loadtests.router_bench.installing import HAPROXY, LITELLM, SGLANG, VLLM, Installed

_QUICK_START_S: Final = 30.0
_SLOW_START_S: Final = 120.0

# http-no-delay: without it haproxy holds small chunks of a stream back.
_HAPROXY_CFG: Final = """\
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  option http-no-delay
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  default_backend engines
backend engines
  balance roundrobin
  option httpchk GET /health
  server engine 127.0.0.1:{engine} check
"""

_LITELLM_YAML: Final = """\
model_list:
  - model_name: small
    litellm_params:
      model: openai/small
      api_base: http://127.0.0.1:{engine}/v1
      api_key: none
litellm_settings:
  telemetry: false
"""


@dataclass(frozen=True, slots=True)
class Haproxy:
    """No knowledge of models at all: the least that a proxy can cost."""

    installed: Installed
    name: str = "haproxy"

    @property
    def trims(self) -> tuple[Trim, ...]:
        return (Trim(self.name),)

    @property
    def version(self) -> str:
        return self.installed.version

    @contextmanager
    def run(self, engines: Sequence[int], core: int, folder: Path) -> Iterator[Running]:
        (port,) = free_ports(1)
        config = folder / "haproxy.cfg"
        config.write_text(_HAPROXY_CFG.format(port=port, engine=engines[0]), encoding="utf-8")
        program = self.installed.folder / "usr/sbin/haproxy"
        (libraries,) = self.installed.folder.glob("usr/lib/*-linux-gnu")
        environment = {"LD_LIBRARY_PATH": str(libraries)}
        command = [str(program), "-db", "-f", str(config)]
        with _answering(command, port, core, folder / "haproxy.log", _QUICK_START_S, environment) as server:
            yield server


@dataclass(frozen=True, slots=True)
class RustRouter:
    """vllm-router or sglang-router: the second grew out of the first, and they are started alike."""

    name: str
    installed: Installed
    launcher: tuple[str, ...]

    @property
    def trims(self) -> tuple[Trim, ...]:
        return (Trim(self.name),)

    @property
    def version(self) -> str:
        return self.installed.version

    @contextmanager
    def run(self, engines: Sequence[int], core: int, folder: Path) -> Iterator[Running]:
        port, metrics_port = free_ports(2)
        program, *arguments = self.launcher
        command = [
            *(str(self.installed.folder / "bin" / program), *arguments),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--worker-urls", f"http://127.0.0.1:{engines[0]}"),
            *("--policy", "round_robin", "--log-level", "error"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port)),
        ]
        with _answering(command, port, core, folder / f"{self.name}.log", _QUICK_START_S) as server:
            yield server


@dataclass(frozen=True, slots=True)
class LiteLlm:
    """The proxy server of LiteLLM, without a database."""

    installed: Installed
    name: str = "litellm"

    @property
    def trims(self) -> tuple[Trim, ...]:
        return (Trim(self.name, is_slow=True),)

    @property
    def version(self) -> str:
        return self.installed.version

    @contextmanager
    def run(self, engines: Sequence[int], core: int, folder: Path) -> Iterator[Running]:
        (port,) = free_ports(1)
        config = folder / "litellm.yaml"
        config.write_text(_LITELLM_YAML.format(engine=engines[0]), encoding="utf-8")
        program = self.installed.folder / "bin/litellm"
        command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--config", str(config)]
        environment = {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            # It would ask a server of its makers for prices at each start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # Checking keys would cost it more; nobody else here checks any.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        log = folder / "litellm.log"
        with _answering(command, port, core, log, _SLOW_START_S, environment) as server:
            yield server


def rivals(root: Path) -> tuple[Server, ...]:
    """All of them, from where they are installed."""
    return (
        Haproxy(HAPROXY.at(root)),
        RustRouter("vllm-router", VLLM.at(root), ("vllm-router",)),
        RustRouter("sglang-router", SGLANG.at(root), ("python", "-m", "sglang_router.launch_router")),
        LiteLlm(LITELLM.at(root)),
    )


@contextmanager
def _answering(
    command: Sequence[str],
    port: int,
    core: int,
    log: Path,
    timeout_s: float,
    environment: dict[str, str] | None = None,
) -> Iterator[Running]:
    with running(command, core, log, environment, cwd=log.parent) as process:
        wait_for_answer(port, process.pid, log, timeout_s)
        yield Running(port, cpu.tree(process.pid))
