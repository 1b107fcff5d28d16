"""What a command prints: results on standard output, everything else on standard error.

Rich leaves colours out where the stream is no terminal or NO_COLOR is set.
"""

import json
import sys

from rich.console import Console, RenderableType


class Output:
    """The two streams of one command."""

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        # No markup: a message may well contain [brackets].
        self._results = Console(markup=False, highlight=False, emoji=False)
        self.progress = Console(stderr=True, markup=False, highlight=False, emoji=False)

    def result(self, document: object, view: RenderableType) -> None:
        """Print the command's result: the document with `--json`, else the view of it for people."""
        if self._as_json:
            # Past rich, which would break long lines.
            sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
        else:
            self._results.print(view)

    def say(self, text: str) -> None:
        """Tell people how it goes."""
        self.progress.print(text, soft_wrap=True)
