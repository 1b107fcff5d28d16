from dataclasses import replace

from registry.version_diff import FileChange, TextChange, config_changes, difference_of, text_difference
from registry.versions import FileDigest, Gate, Lineage, Version

OLD = Version(
    "hotline", 1, "adapter", "small", "0" * 64,
    (FileDigest("a", "1" * 64, 1), FileDigest("b", "2" * 64, 2), FileDigest("c", "3" * 64, 3)),
    Lineage(data="tickets 1"), {"accuracy": 0.5, "old": 1.0}, (Gate("accuracy", ">= 0.6", 0.5, False),), "", 0.0, (),
)  # fmt: skip


def test_two_versions_are_compared_in_all_that_is_known_of_them() -> None:
    new = replace(
        OLD,
        version=2,
        files=(FileDigest("a", "1" * 64, 1), FileDigest("b", "9" * 64, 5), FileDigest("d", "4" * 64, 4)),
        lineage=Lineage(data="tickets 1", parent=1),
        results={"accuracy": 0.75, "new": 2.0},
        gates=(Gate("accuracy", ">= 0.6", 0.75, True),),
    )

    found = difference_of(OLD, new)

    assert found.files == (FileChange("b", 2, 5), FileChange("c", 3, None), FileChange("d", None, 4))
    assert found.same_files == 1
    assert [(one.metric, one.difference) for one in found.results] == [("accuracy", 0.25), ("new", None), ("old", None)]
    assert found.properties == (TextChange("parent", "", "1"), TextChange("gates", "failed: accuracy", "passed"))


def test_a_version_does_not_differ_from_itself() -> None:
    found = difference_of(OLD, OLD)
    assert (found.files, found.same_files, found.properties) == ((), 3, ())


def test_prompts_are_compared_line_by_line() -> None:
    text = text_difference(OLD, "one\ntwo\n", replace(OLD, version=2), "one\nthree\n")
    assert text.splitlines()[:2] == ["--- hotline 1", "+++ hotline 2"]
    assert "-two\n+three" in text
    assert text_difference(OLD, "same", OLD, "same") == ""


def test_configurations_are_compared_by_meaning() -> None:
    old = {"r": 8, "target_modules": ["q", "v"], "gone": None}
    new = {"r": 16, "target_modules": ["v", "q"], "added": {"b": 1, "a": 2}}
    assert config_changes(old, new) == (
        TextChange("added", "", '{"a": 2, "b": 1}'),
        TextChange("gone", "null", ""),
        TextChange("r", "8", "16"),
    )
