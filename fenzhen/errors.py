"""The edge of the command line: whatever happens becomes one exit code and at most a sentence or two, no traceback.

0    done                        3    not available now (Unavailable)
1    a fault of ours             130  interrupted
2    the user can mend it (UserError, wrong options)
"""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from cluster.errors import FenzhenError, Unavailable, UserError

INTERRUPTED: Final = 130


@dataclass
class Invocation:
    """What the edge remembers of the command that runs."""

    state_dir: Path | None = None
    """Where a traceback goes; None until settings are loaded."""


def exit_code_of(command: Callable[[], object], invocation: Invocation) -> int:
    """Run a command to its end. An int it returns is its exit code."""
    try:
        result = command()
        # Here and not at the interpreter's end, where a closed pipe can only be complained of.
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        _say(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx:
            _say(f"`{error.ctx.command_path} --help` shows what can be asked")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # `fenzhen config | head` has read enough. What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FenzhenError as error:
        _say(str(error))
        return 2 if isinstance(error, UserError) else 3 if isinstance(error, Unavailable) else 1
    except Exception as error:
        place = _written_down(error, invocation)
        _say(f"a fault of ours, {type(error).__name__}: {_first_line(error)}; the details are in {place}")
        return 1
    return result if isinstance(result, int) else 0


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"fenzhen: {line}", err=True)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:200]


def _written_down(error: Exception, invocation: Invocation) -> Path:
    """Write the traceback to a file that only this user can read: it may quote what was asked."""
    name = time.strftime("fault-%Y%m%d-%H%M%S") + f"-{os.getpid()}.txt"
    text = "".join(traceback.format_exception(error))
    for folder in (invocation.state_dir or _default_state_dir(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path
    # Nowhere to write at all: then the screen is better than nothing.
    click.echo(text, err=True)
    return Path("the lines above")


def _default_state_dir() -> Path:
    # Imported late: `fenzhen --help` has no use for pydantic.
    from cluster.settings import Site

    return Site().state_dir.expanduser()
