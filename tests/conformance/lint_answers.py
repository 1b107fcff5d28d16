"""Run by itself, where httplint is installed: judges answers that come as JSON on standard input."""

import base64
import importlib
import json
import sys
import time


def main() -> None:
    """Print for each answer the names and levels of what was noted."""
    httplint = importlib.import_module("httplint")
    notes = []
    for answer in json.load(sys.stdin):
        linter = httplint.HttpResponseLinter(start_time=time.time(), no_content=answer["is_head"])
        linter.process_response_topline(b"HTTP/1.1", str(answer["status"]).encode(), answer["reason"].encode())
        linter.process_headers([(name.encode(), value.encode()) for name, value in answer["headers"]])
        linter.feed_content(base64.b64decode(answer["body"]))
        linter.finish_content(True)
        notes.append([(type(note).__name__, note.level.name) for note in linter.notes])
    json.dump(notes, sys.stdout)


if __name__ == "__main__":
    main()
