"""Knows vLLM's Python, as `serving.tool_parser` does: serves, and checks arguments, each in a process of its own.

    python -m serving.vllm_main serve OPTIONS...     vLLM's OpenAI server
    python -m serving.vllm_main check < ARGUMENTS    what vLLM's own parser says to each list of arguments

Importing vLLM costs 8 to 20 s of a core, and by itself vLLM pays that three times a start: in the server, in a
process that looks at the model's class, and in the core. On a CPU both need not be processes that begin from nothing:
forking is vLLM's own way on GPUs, and the look is put into a process only "to avoid initializing CUDA".
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from serving.processes import die_with_parent

Result = TypeVar("Result")


def serve(options: Sequence[str]) -> None:
    """Run vLLM's server until it ends."""
    _children_die_with_us()
    # The module is also run by its old name, which only prints a warning and calls this one.
    from vllm.entrypoints.launchers.api_server import entry
    from vllm.platforms import current_platform

    # OpenMP's threads do not survive a fork: with more than one, the core must begin from nothing.
    if current_platform.is_cpu() and os.environ.get("OMP_NUM_THREADS") == "1":
        _import_once()
    sys.argv = ["vllm", *options]
    entry.main()


def _children_die_with_us() -> None:
    """Have every forked child killed with this process: a core whose server was killed would run on for ever."""
    forked_by: list[int] = []

    def note() -> None:
        # The signal comes when the forking thread ends, so only the main thread's children may ask for it.
        if threading.current_thread() is threading.main_thread():
            forked_by.append(os.getpid())

    def ask() -> None:
        if forked_by:
            die_with_parent(forked_by.pop())

    os.register_at_fork(before=note, after_in_parent=forked_by.clear, after_in_child=ask)


def _import_once() -> None:
    """Let the core and the look at the model's class use what this process has imported already."""
    import vllm.model_executor.models.registry as registry
    import vllm.v1.engine.utils as engine_utils

    def call(look: Callable[[], Result]) -> Result:
        return look()

    # Names of vLLM 0.32, which is pinned. If a later one has others, it only starts more slowly.
    if hasattr(registry, "_run_in_subprocess"):
        registry._run_in_subprocess = call
    if hasattr(engine_utils, "get_mp_context"):
        engine_utils.get_mp_context = lambda: multiprocessing.get_context("fork")


def check(lists: Sequence[Sequence[str]]) -> list[str | None]:
    """What vLLM says against each list of arguments; None if nothing."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.launchers.launcher import validate_api_server_args
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):  # type: ignore[misc]
        """vLLM's, but it raises its complaint in place of printing it with ten pages of usage."""

        def error(self, message: str) -> Any:
            raise ValueError(message)

    # Without abbreviations, so that a misspelt option is not silently taken for another.
    parser = make_arg_parser(Parser(prog="vllm", allow_abbrev=False))

    def complaint(arguments: Sequence[str]) -> str | None:
        try:
            parsed = parser.parse_args(list(arguments))
            validate_parsed_serve_args(parsed)
            # As its server does before it looks for the parser's name.
            if parsed.tool_parser_plugin:
                ToolParserManager.import_tool_parser(parsed.tool_parser_plugin)
            validate_api_server_args(parsed)
        # All that these raise over an argument; `SystemExit` is argparse's, for --help and --version.
        except (TypeError, ValueError, KeyError, argparse.ArgumentError, SystemExit) as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None

    return [complaint(arguments) for arguments in lists]


def main(words: Sequence[str]) -> int:
    """Serve or check."""
    match list(words):
        case ["serve", *options]:
            serve(options)
        case ["check"]:
            # vLLM logs to standard output; the answer must stand there alone.
            with os.fdopen(os.dup(1), "w") as answer:
                os.dup2(2, 1)
                warnings.simplefilter("ignore")
                json.dump(check(json.load(sys.stdin)), answer)
        case _:
            print("say serve or check", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
