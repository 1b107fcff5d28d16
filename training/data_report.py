"""What was found in rows, whole: for machines, and as a text for people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from training.data_findings import Finding, told
from training.data_items import Item
from training.recipe import Recipe
from training.rows_reading import FileFacts

FORMAT: Final = "fenzhen-training-data/1"
_QUANTILES: Final = (0.5, 0.95)
_GROUPS_SHOWN: Final = 12
_WORDS: Final = {
    "too_long": "too long", "duplicate": "said before", "near_held_out": "nearly in the held-out part",
    "near_general": "nearly among the everyday questions", "personal_data": "personal data",
    "general_in_training": "everyday questions that are trained on",
    "general_too_long": "everyday questions that are too long",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known of the rows."""

    recipe: Recipe
    files: tuple[FileFacts, ...]
    findings: tuple[Finding, ...]
    train: tuple[Item, ...]
    test: tuple[Item, ...]
    general: tuple[Item, ...]
    tokens_by: str
    """Whose tokens are counted."""

    @property
    def sides(self) -> dict[str, tuple[Item, ...]]:
        """The rows of each side; files are named so."""
        return {"train": self.train, "test": self.test, "general": self.general}

    @property
    def remembered(self) -> tuple[Item, ...]:
        """Those of `train` that are there so that little is forgotten."""
        return tuple(item for item in self.train if item.path in self.recipe.data.remember_rows)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What training is refused for."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def left_out(self) -> dict[str, int]:
        """Rows that are not used, by reason."""
        return dict(Counter(finding.kind for finding in self.findings if finding.severity == "left_out"))


def document_of(report: Report) -> dict[str, Any]:
    """The report for machines."""
    data = report.recipe.data
    return {
        "format": FORMAT,
        "objective": report.recipe.objective,
        "seed": report.recipe.train.seed,
        "files": [
            {"path": str(one.path), "sha256": one.sha256, "bytes": one.size_bytes, "rows": one.rows}
            for one in report.files
        ],
        "rows": {
            "read": sum(one.rows for one in report.files),
            "train": len(report.train), "remembered": len(report.remembered),
            "test": len(report.test), "general": len(report.general),
        },
        "max_tokens": data.max_tokens,
        "tokens_by": report.tokens_by,
        "tokens": {name: _tokens(items) for name, items in report.sides.items() if items},
        "groups": _groups(report),
        "policies": {
            "too_long": data.too_long, "duplicates": data.duplicates, "personal_data": data.personal_data,
        },
        "left_out": report.left_out,
        "errors": len(report.errors),
        "findings": [
            {
                "severity": one.severity, "kind": one.kind, "file": str(one.path), "line": one.line, "says": one.says,
            }
            for one in report.findings
        ],
    }  # fmt: skip


def text_of(report: Report, most: int = 20) -> str:
    """The report for people; `most` findings of each severity."""
    lines = [f"{one.path}: {one.rows:,} rows, sha256 {one.sha256[:12]}" for one in report.files]
    lines.append("")
    lines.append(_TABLE_HEAD)
    lines += [_table_line(_NAMES[name], _tokens(items), len(items)) for name, items in report.sides.items() if items]
    if files := report.recipe.data.remember_rows:
        names = ", ".join(path.name for path in files)
        lines += ["", f"{len(report.remembered):,} rows of those to learn from are to remember, of {names}."]
    lines += ["", f"Tokens are {report.tokens_by}. A row may have {report.recipe.data.max_tokens:,}."]
    lines += _group_lines(_groups(report))
    for severity, title in _TITLES.items():
        found = [finding for finding in report.findings if finding.severity == severity]
        if found:
            lines += ["", f"{title} ({len(found):,}{_by_kind(found)}):", *(f"  {line}" for line in told(found, most))]
    lines += ["", _verdict(report)]
    return "\n".join(lines)


_NAMES: Final = {"train": "to learn from", "test": "held out", "general": "everyday questions"}
_TABLE_HEAD: Final = (
    f"{'':<18}{'':>8}{'':>12}   ------ prompt ----   ------ answer ----\n"
    f"{'':<18}{'rows':>8}{'tokens':>12}{'half':>7}{'95 %':>7}{'all':>7}{'half':>7}{'95 %':>7}{'all':>7}"
)
"""Tokens that half of the prompts have at most, 95 % of them, and all."""
_TITLES: Final = {"error": "to mend", "left_out": "left out", "masked": "masked", "warning": "worth a look"}


def _verdict(report: Report) -> str:
    errors = len(report.errors)
    if errors:
        return f"These rows cannot be trained on: {errors:,} {'thing' if errors == 1 else 'things'} to mend."
    return "These rows can be trained on."


def _by_kind(found: Sequence[Finding]) -> str:
    kinds = Counter(_WORDS.get(finding.kind, finding.kind.replace("_", " ")) for finding in found)
    return ": " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) if kinds else ""


def _tokens(items: Sequence[Item]) -> dict[str, Any]:
    prompts = sorted(item.prompt_tokens for item in items)
    answers = sorted(item.answer_tokens for item in items)
    longest = max(item.prompt_tokens + item.answer_tokens for item in items)
    return {
        "total": sum(prompts) + sum(answers),
        "longest_row": longest,
        "prompt": _figures(prompts),
        "answer": _figures(answers),
    }


def _figures(ordered: Sequence[int]) -> dict[str, int]:
    p50, p95 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in _QUANTILES)
    return {"p50": p50, "p95": p95, "max": ordered[-1]}


def _table_line(name: str, tokens: dict[str, Any], rows: int) -> str:
    cells = [*tokens["prompt"].values(), *tokens["answer"].values()]
    return f"{name:<18}{rows:>8,}{tokens['total']:>12,}" + "".join(f"{cell:>7,}" for cell in cells)


def _groups(report: Report) -> dict[str, dict[str, int]]:
    """Rows of each group on each side; rows without a group are not counted."""
    train, test = (Counter(item.row.group for item in items if item.row.group) for items in (report.train, report.test))
    return {group: {"train": train[group], "test": test[group]} for group in sorted(train | test)}


def _group_lines(groups: dict[str, dict[str, int]]) -> list[str]:
    if not groups:
        return ["no row has a group: each question stands on one side by itself"]
    held_out = [group for group, sides in groups.items() if sides["test"]]
    lines = [f"{len(groups):,} groups, {len(held_out):,} of them held out:"]
    lines += [f"  {group}: {groups[group]['test']:,} rows" for group in held_out[:_GROUPS_SHOWN]]
    if len(held_out) > _GROUPS_SHOWN:
        lines.append(f"  and {len(held_out) - _GROUPS_SHOWN:,} more")
    return lines
