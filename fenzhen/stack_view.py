"""How a start goes, as people see it: a few moving lines on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from cluster.directory import Endpoint
from cluster.stack_state import StackState

# Of a thousand servers that run already nobody reads a thousand lines; their number is in the message.
_MAX_EXTERNAL_LINES = 10


class StackView:
    """Shows one state after another."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._said: set[str] = set()
        self._external: set[str] = set()
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, state: StackState) -> None:
        """Show this state; what has been said before is not said again."""
        self._say_once(state.message)
        for endpoint in state.endpoints:
            if endpoint.is_external:
                if endpoint.state == "restarting" and len(self._external) < _MAX_EXTERNAL_LINES:
                    self._external.add(endpoint.endpoint_id)
                    self._say_once(line_of(endpoint))
            elif endpoint.state in ("ready", "restarting"):
                self._say_once(line_of(endpoint))
        if self._live is not None:
            self._live.update(self._moving(state))

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._console.print(f"  {time.monotonic() - self._began_s:4.0f} s  {line}", soft_wrap=True)

    def _moving(self, state: StackState) -> Table:
        rows = Table.grid(padding=(0, 1))
        rows.add_row("", Spinner("dots"), state.message)
        waiting = [endpoint for endpoint in state.endpoints if endpoint.state != "ready"]
        for endpoint in waiting[:_MAX_EXTERNAL_LINES]:
            rows.add_row("", Spinner("dots"), line_of(endpoint))
        return rows


def line_of(endpoint: Endpoint) -> str:
    """One engine in one line."""
    restarts = f" (restarted {endpoint.restarts} times)" if endpoint.restarts else ""
    detail = f": {endpoint.detail}" if endpoint.detail else ""
    if endpoint.is_external:
        return f"{endpoint.endpoint_id} {'answers' if endpoint.state == 'ready' else endpoint.detail}"
    return f"{endpoint.model} {endpoint.state}{detail}{restarts}"
