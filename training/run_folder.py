"""Where the files of one run lie. Whatever is there is whole: each is written beside its place and renamed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe as it was run, overrides included: YAML."""
        return self.path / "recipe.yaml"

    @property
    def state(self) -> Path:
        """How far it is, and what was found: JSON."""
        return self.path / "run.json"

    @property
    def data(self) -> Path:
        """Rows as they are learnt from, `report.json` and `tokens.png`."""
        return self.path / "data"

    @property
    def checkpoints(self) -> Path:
        """`step-00000020` and so on; a folder of that name is whole."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """What was made: adapter, tokenizer and template."""
        return self.path / "adapter"

    @property
    def evaluation(self) -> Path:
        """`before.json`, `after.json`, `gates.json`, `answers.html`."""
        return self.path / "evaluation"
