"""The command line: `python -m loadtests.router_bench`, which `make bench-router` calls."""

import signal
import sys
from types import FrameType

import click

from cluster.errors import FenzhenError
from loadtests.router_bench.bench import bench


def main(command: click.Command = bench) -> int:
    """Run it; what can be mended is said in a sentence, and nothing that was started is left behind."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        command.main(standalone_mode=False)
    except FenzhenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        print("interrupted: everything that was started has been stopped", file=sys.stderr)
        return 130
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    # Leaves through every `with`, each of which stops what it has started.
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
