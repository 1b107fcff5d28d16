"""What tests of `fenzhen router` share: a configuration, rows, and the command line's edge."""

import json
from pathlib import Path

import pytest

from fenzhen.__main__ import fenzhen
from fenzhen.errors import Invocation, exit_code_of
from router.judge_file import save
from tests.fakes.judges import rows, weights

CONFIG = """\
# Our office.
site: {{state_dir: {state_dir}}}
models:
  - name: small  # the cheap one
    languages: [en, zh]
    max_difficulty: 0.5  # half way
    context_tokens: 2048
    parameters_b: 0.5
  - {{name: large, languages: [en, zh], max_difficulty: 1, context_tokens: 4096, parameters_b: 7}}
pools:
  - {{model: small, endpoints: ["http://127.0.0.1:9001"]}}
  - {{model: large, endpoints: ["http://127.0.0.1:9002"]}}
"""

WRONG_FILES = {
    "empty": (b"", "is empty"),
    "a column missing": (b'{"prompt": "a", "small": 1}\n' * 30, "line 1: the column 'large' is missing"),
    "one class only": (b'{"prompt": "a", "small": 1, "large": 1}\n' * 30, "small is 1 in every row"),
    "not UTF-8": ('{"prompt": "房", "small": 1, "large": 1}\n'.encode("gb18030") * 30, "line 1: this is not UTF-8"),
    "cut-off gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc", "is cut off or not a whole gzip file"),
    "a wrong type": (b'{"prompt": "a", "small": "yes", "large": 1}\n' * 30, "line 1: small must be a number"),
    "not JSON": (b"prompt,small,large\na,1,1\n", "line 1: this is not JSON"),
    "too few": (b'{"prompt": "a", "small": 1, "large": 1}\n', "1 rows are too few"),
}
"""Files of rows that cannot be used, and a part of what is said about each."""


class Desk:
    """A folder to work in, and `fenzhen` as a person calls it there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.config = folder / "fenzhen.yaml"
        self.config.write_text(CONFIG.format(state_dir=self.state_dir))
        self.judge = folder / "test.judge"
        save(weights(), self.judge)
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *words: object) -> int:
        """Run `fenzhen router WORDS` with the folder's configuration."""
        arguments = ["router", str(words[0]), "--config", str(self.config), *map(str, words[1:])]
        invocation = Invocation()
        code = exit_code_of(
            lambda: fenzhen.main(arguments, "fenzhen", standalone_mode=False, obj=invocation), invocation
        )
        self.out, self.err = self._capsys.readouterr()
        return code

    def rows(self, name: str = "rows.jsonl") -> Path:
        """A file of labelled rows."""
        content = rows()
        path = self.folder / name
        path.write_text(
            "".join(
                json.dumps({"prompt": prompt, "small": small, "large": large}) + "\n"
                for prompt, (small, large) in zip(content.prompts, content.quality.tolist(), strict=True)
            )
        )
        return path

    def wrong(self, content: bytes) -> Path:
        """A file that cannot be used."""
        path = self.folder / "wrong.jsonl"
        path.write_bytes(content)
        return path

    def files(self) -> list[str]:
        """Everything that lies in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
