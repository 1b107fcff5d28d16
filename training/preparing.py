"""Rows are read, checked, split and written down: what a run learns from and is measured on.

    read -> personal data -> said before -> too long -> split -> nearly in the held-out part -> everyday questions

Rows to remember go the same way, but for the split: they are learnt from only.

Everything that is wrong is told at once; a run is refused before anything is written.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cluster.errors import UserError
from registry.disk import write_durably
from training.data_checks import (
    apart_from,
    counted,
    not_trained_on,
    said_once,
    shared_groups,
    short_enough,
    without_personal_data,
)
from training.data_findings import BadRows, Finding
from training.data_items import Item
from training.data_report import FORMAT, Report, document_of, text_of
from training.data_tokens import TokenCounter as TokenCounter
from training.prepared import Prepared
from training.recipe import DataRecipe, Recipe
from training.rows import Message, Preference, Row
from training.rows_file import digest_of, lines_of, read_lines_of
from training.rows_reading import FilesRead, read_rows
from training.rows_shape import Objective
from training.splitting import split

SHIPPED_GENERAL_ROWS: Final = Path(__file__).with_name("general_rows.jsonl")
COUNTED: Final = "counted by the base's tokenizer, template included"

REPORT: Final = "report.json"
# Nobody but us can mend the rows that come with us, and a base that needs many tokens for them is no mistake.
_OURS: Final = {"too_long": "leave_out", "duplicates": "leave_out", "personal_data": "allow"}
SIDES: Final = ("train", "test", "general")


def prepare(recipe: Recipe, tokens: TokenCounter, into: Path | None) -> Prepared:
    """Read, check and split the recipe's rows; write them and the report into a folder, if one is given.

    Raises BadRows, before anything is written, and before the first token is counted if rows cannot be read.
    """
    report = check(recipe, tokens, ends_early=True)
    if report.errors:
        raise BadRows(report.errors)
    prepared = prepared_of(report)
    if into is not None:
        write(report, into, prepared)
    return prepared


def check(
    recipe: Recipe,
    tokens: TokenCounter,
    tokens_by: str = COUNTED,
    note: Callable[[str], object] = lambda _: None,
    *,
    ends_early: bool = False,
) -> Report:
    """All that is known of the recipe's rows. `note` is told what begins. Raises UserError if a file is not there.

    `ends_early`: with rows that cannot be read no token is counted, which would have to load a tokenizer.
    """
    data = recipe.data
    _require_apart(data)
    general_data = data if data.general_rows else data.model_copy(update=_OURS)
    sources = (
        # Together: what is to be remembered may stand among the rows already.
        _read((*data.rows, *data.remember_rows), recipe.objective, data, note),
        _read(data.test_rows, recipe.objective, data, note),
        _read([data.general_rows or SHIPPED_GENERAL_ROWS], "sft", general_data, lambda _: None),
    )
    files = tuple(facts for source in sources for facts in source.files)
    findings = [finding for source in sources for finding in source.findings]
    if ends_early and _has_errors(findings):
        return Report(recipe, files, tuple(findings), (), (), (), tokens_by)
    note("counting tokens")
    rows, test, general = (
        short_enough(counted(source.items, tokens), data.max_tokens, policy, kind)
        for source, policy, kind in (
            (sources[0], data.too_long, "too_long"),
            (sources[1], data.too_long, "too_long"),
            (sources[2], general_data.too_long, "general_too_long"),
        )
    )
    findings += [*rows.findings, *test.findings, *general.findings]
    remembered = [item for item in rows.items if item.path in data.remember_rows]
    train, held_out = [item for item in rows.items if item.path not in data.remember_rows], test.items
    if not data.test_rows:
        train, held_out = _split(recipe, train, findings)
    findings += shared_groups([*train, *remembered], held_out)
    note("comparing with the held-out rows")
    apart = apart_from(train, held_out, data.duplicates)
    untrained = not_trained_on(general.items, apart.items)
    # Here the row goes and the everyday question stays: with fewer questions less forgetting would be seen.
    kept = apart_from(remembered, held_out, data.duplicates)
    unasked = apart_from(kept.items, untrained.items, data.duplicates, "near_general")
    findings += [*apart.findings, *untrained.findings, *kept.findings, *unasked.findings]
    for name, items in (("learn from", apart.items), ("measure on", held_out)):
        if not items and not _has_errors(findings):
            says = f"no row is left to {name}; `fenzhen train check` says why each was left out"
            findings.append(Finding("error", "no_rows", data.rows[0], None, says))
    return Report(
        recipe,
        files,
        tuple(findings),
        (*apart.items, *unasked.items),
        tuple(held_out),
        tuple(untrained.items),
        tokens_by,
    )


def _require_apart(data: DataRecipe) -> None:
    asked = (("test_rows", data.test_rows), ("general_rows", (data.general_rows,)))
    for learnt, files in (("rows", data.rows), ("remember_rows", data.remember_rows)):
        known = {one.resolve() for one in files}
        for name, paths in asked:
            for path in paths:
                if path is not None and path.resolve() in known:
                    says = f"{path} is named in data.{learnt} and in data.{name}; what is learnt says nothing there"
                    raise UserError(says)


def _read(paths: Sequence[Path], objective: Objective, data: DataRecipe, note: Callable[[str], object]) -> FilesRead:
    """The rows of some files that can be used as they are, with all findings about the others."""
    if not paths:
        return FilesRead([], [], [])
    note(f"reading {', '.join(path.name for path in paths)}")
    read = read_rows(paths, objective)
    note(f"{len(read.items):,} rows; looking for personal data and for rows that stand twice")
    safe = without_personal_data(read.items, data.personal_data)
    once = said_once(safe.items, data.duplicates)
    return FilesRead(once.items, [*read.findings, *safe.findings, *once.findings], read.files)


def _split(recipe: Recipe, items: list[Item], findings: list[Finding]) -> tuple[list[Item], list[Item]]:
    groups, questions = [item.row.group for item in items], [item.question for item in items]
    try:
        sides = split(groups, questions, recipe.data.test_ratio, recipe.train.seed)
    except UserError as error:
        # With rows that were refused it may be their lack that is told of.
        if not _has_errors(findings):
            findings.append(Finding("error", "split", recipe.data.rows[0], None, str(error)))
        return items, []
    return [items[place] for place in sides.train], [items[place] for place in sides.test]


def _has_errors(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


# ---- what a run takes ----------------------------------------------------------------------------------------------


def prepared_of(report: Report) -> Prepared:
    """What a run takes of rows without errors."""
    return _prepared({name: [item.row for item in items] for name, items in report.sides.items()}, report.left_out)


def _prepared(sides: Mapping[str, Sequence[Row | Preference]], left_out: Mapping[str, int]) -> Prepared:
    train, test, general = (sides[name] for name in SIDES)
    return Prepared(
        train=tuple(row for row in train if isinstance(row, Row)),
        preferences=tuple(row for row in train if isinstance(row, Preference)),
        test=tuple(_answered(row) for row in test),
        test_preferences=tuple(row for row in test if isinstance(row, Preference)),
        general=tuple(row for row in general if isinstance(row, Row)),
        sha256={name: digest_of(sides[name]) for name in SIDES},
        left_out=left_out,
    )


def _answered(row: Row | Preference) -> Row:
    match row:
        case Row():
            return row
        case Preference():
            return Row((*row.prompt, Message("assistant", row.chosen)), row.source, row.group)


# ---- files ---------------------------------------------------------------------------------------------------------


def write(report: Report, into: Path, prepared: Prepared | None) -> None:
    """Write the report into a folder, and the rows if they can be trained on. Each file is whole, the report the last.

    Raises UserError if that cannot be done.
    """
    # Imported late: matplotlib takes half a second.
    from training.data_plot import picture

    document = document_of(report)
    drawn = picture(report.train, report.test, report.recipe.data.max_tokens)
    try:
        # Rows are what people wrote: a new folder is its owner's.
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_ours(into / REPORT)
        # Without it nothing here counts as prepared: not while it changes, either.
        (into / REPORT).unlink(missing_ok=True)
        if prepared is not None:
            for name, items in report.sides.items():
                write_durably(into / f"{name}.jsonl", lines_of([item.row for item in items]))
        draft = into / "tokens.png.draft"
        draft.write_bytes(drawn)
        draft.replace(into / "tokens.png")
        write_durably(into / "report.txt", text_of(report, most=len(report.findings)) + "\n")
        if prepared is not None:
            document["sha256"] = dict(prepared.sha256)
        write_durably(into / REPORT, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{into} cannot be written: {error.strerror}") from error


def _require_ours(path: Path) -> None:
    if path.exists() and FORMAT not in path.read_text(encoding="utf-8", errors="replace")[:200]:
        raise UserError(f"{path} is a file of something else; name another folder")


def read_prepared(folder: Path) -> Prepared:
    """What `prepare` wrote. Raises UserError if it was changed since."""
    path = folder / REPORT
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept, left_out = document["sha256"], document["left_out"]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no report of rows that can be trained on; prepare them anew") from error
    prepared = _prepared({name: read_lines_of(folder / f"{name}.jsonl") for name in SIDES}, left_out)
    for name, digest in prepared.sha256.items():
        if kept.get(name) != digest:
            raise UserError(f"{folder / name}.jsonl was changed after the run began; prepare the rows anew")
    return prepared
