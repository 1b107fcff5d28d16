from pathlib import Path

import pytest

from cluster.errors import NotFound, UserError
from cluster.settings_file import (
    as_yaml,
    default_profile,
    overridden,
    parse_settings,
    profile,
    profile_names,
    read_settings,
)

GOOD = """\
models:
  - name: small
    languages: [en]
    max_difficulty: 1
    context_tokens: 2048
    parameters_b: 0.1
    disk_bytes: 1000
    sources:
      - kind: folder
        path: /models/small
        sha256: "0000000000000000000000000000000000000000000000000000000000000000"
pools:
  - model: small
    memory_bytes: 1000
site:
  models_dir: /srv/models
  state_dir: /srv/state
"""


def complaint(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(UserError) as caught:
        parse_settings(data, "fenzhen.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_can_be_loaded(name: str) -> None:
    assert profile(name).served_models


def test_a_profile_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(NotFound, match="no profile 'huge'; choose one of qwen, tiny"):
        profile("huge")


@pytest.mark.parametrize(("memory_bytes", "name"), [(15_999_999_999, "tiny"), (16_000_000_000, "qwen")])
def test_the_profile_follows_from_the_memory(memory_bytes: int, name: str) -> None:
    assert default_profile(memory_bytes) == name


def test_printed_settings_read_back_to_the_same_settings() -> None:
    settings = parse_settings(GOOD.encode(), "x")
    assert parse_settings(as_yaml(settings).encode(), "x") == settings


def test_a_wrong_key_names_its_line_and_the_nearest_right_one() -> None:
    assert complaint(GOOD + "router:\n  prot: 8000\n") == (
        "fenzhen.yaml line 19: router.prot: unknown key; did you mean port?"
    )


def test_a_key_like_no_other_is_answered_with_those_that_are_known() -> None:
    assert "line 19: router.zzz: unknown key; known here: host, port," in complaint(GOOD + "router:\n  zzz: 1\n")


def test_all_wrong_keys_come_at_once_in_the_order_of_their_lines() -> None:
    text = GOOD.replace("context_tokens: 2048", "context_tokens: many").replace("parameters_b: 0.1", "parameters_b: 0")
    assert complaint(text.replace("model: small", "modell: small")).splitlines() == [
        "fenzhen.yaml line 5: models[0].context_tokens: must be a whole number, got 'many'",
        "fenzhen.yaml line 6: models[0].parameters_b: should be greater than 0, got 0",
        "fenzhen.yaml line 13: pools[0].model: this key is missing",
        "fenzhen.yaml line 13: pools[0].modell: unknown key; did you mean model?",
    ]


def test_more_wrong_keys_than_anybody_reads_are_counted() -> None:
    text = GOOD + "router:\n" + "".join(f"  zzz{number}: 1\n" for number in range(30))
    lines = complaint(text).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "fenzhen.yaml: and 10 more"


def test_a_source_is_named_by_its_place_and_not_by_its_kind() -> None:
    assert complaint(GOOD.replace("path:", "pth:")).splitlines() == [
        "fenzhen.yaml line 9: models[0].sources[0].path: this key is missing",
        "fenzhen.yaml line 10: models[0].sources[0].pth: unknown key; did you mean path?",
    ]


def test_the_key_packages_is_not_mistaken_for_the_kind_packages() -> None:
    source = """\
      - kind: packages
        weights: w
        licence: l
        gguf_bytes: 1
        gguf_sha256: "0000000000000000000000000000000000000000000000000000000000000000"
        packages:
          - {name: a, version: 0.9, sha256: x, member: m}
"""
    assert complaint(GOOD.replace("pools:\n", f"{source}pools:\n")).splitlines() == [
        "fenzhen.yaml line 18: models[0].sources[1].packages[0].sha256: should match pattern '^[0-9a-f]{64}$', got 'x'",
        "fenzhen.yaml line 18: models[0].sources[1].packages[0].version: must be text, got 0.9; put it in quotes",
    ]


def test_an_unknown_kind_of_source_is_answered_with_the_kinds_there_are() -> None:
    assert complaint(GOOD.replace("kind: folder", "kind: flder")) == (
        "fenzhen.yaml line 9: models[0].sources[0]: kind must be one of 'hub', 'packages', 'folder', got 'flder'"
    )
    assert "sources[0]: the key kind is missing" in complaint(GOOD.replace("kind: folder", "licence: none"))


def test_an_option_of_an_engine_that_fits_no_type_is_named_once() -> None:
    text = GOOD.replace("memory_bytes: 1000", "memory_bytes: 1000\n    engine_args:\n      dtype: {a: 1}")
    assert complaint(text) == (
        "fenzhen.yaml line 16: pools[0].engine_args.dtype: "
        "must be text, a whole number, a number, true or false or a list"
    )


def test_a_rule_over_the_whole_file_names_the_line_of_its_key() -> None:
    assert complaint(GOOD.replace("model: small", "model: large")) == (
        "fenzhen.yaml line 12: pools: model 'large' is not under models, which has small"
    )


def test_the_norwegian_language_needs_quotes() -> None:
    assert complaint(GOOD.replace("[en]", "[no]")) == (
        "fenzhen.yaml line 3: models[0].languages[0]: must be text, got false; put it in quotes"
    )


@pytest.mark.parametrize("section", ["router:", "router: []", "router: 5"])
def test_a_section_without_keys_is_refused(section: str) -> None:
    assert "line 18: router: must hold keys and values, got" in complaint(f"{GOOD}{section}\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "fenzhen.yaml is empty; `fenzhen config` prints a configuration to start from"),
        ("# only a remark\n", "fenzhen.yaml is empty; `fenzhen config` prints a configuration to start from"),
        ("- 1\n", "fenzhen.yaml line 1: expected keys such as `models:` here, found a list"),
        ("hello\n", "fenzhen.yaml line 1: expected keys such as `models:` here, found the plain value 'hello'"),
        ("router:\n\tport: 1\n", "fenzhen.yaml line 2: a tab stands where YAML wants spaces"),
        ("a: 1\nb: 2\na: 3\n", "fenzhen.yaml line 3: a: this key already stands in line 1"),
        ("a: b: c\n", "fenzhen.yaml line 1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\nb: \x00\n", "fenzhen.yaml line 2: holds the control character 0, which YAML forbids"),
        ("a: !!python/name:os.x 1\n", "fenzhen.yaml line 1: a: cannot read '1' as tag:yaml.org,2002:python/name:os.x"),
        ("a: 2024-13-45\n", "fenzhen.yaml line 1: a: cannot read '2024-13-45' as tag:yaml.org,2002:timestamp"),
        ("? [a]\n: 1\n", "fenzhen.yaml line 1: a key: a key must be plain text"),
        ("a: &a [*a]\n", "fenzhen.yaml: an anchor (&name) holds itself (*name)"),
        ("[" * 100_000, "fenzhen.yaml: lists or keys are nested too deep for a configuration of ours"),
        ("#" * 1_048_577, "fenzhen.yaml is larger than 1024 KiB, which no configuration of ours is"),
        (b"a: 1\nb: \xff\n", "fenzhen.yaml line 2: not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_what_is_not_yaml_as_we_read_it_gets_one_sentence(text: str | bytes, sentence: str) -> None:
    assert complaint(text) == sentence


def test_two_documents_in_one_file_are_refused() -> None:
    assert "line 3: not valid YAML: expected a single document" in complaint("---\na: 1\n---\nb: 2\n")


def test_a_bomb_of_anchors_is_stopped() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "\n".join(["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]", *levels])
    assert complaint(text) == "fenzhen.yaml: holds more than 100000 values, anchors (&name, *name) written out"


def test_an_anchor_used_twice_is_no_bomb() -> None:
    text = GOOD.replace("[en]", "&l [en]").replace(
        "    memory_bytes", "    engine_args: {x: *l, y: *l}\n    memory_bytes"
    )
    assert parse_settings(text.encode(), "x").pools[0].engine_args == {"x": ["en"], "y": ["en"]}


def test_a_byte_order_mark_does_no_harm() -> None:
    assert parse_settings(b"\xef\xbb\xbf" + GOOD.encode(), "x").pools


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.yaml does not exist; `fenzhen config > .*none.yaml` writes one"):
        read_settings(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_settings(tmp_path)


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(UserError, match="/dev/zero is larger than"):
        read_settings(Path("/dev/zero"))


def test_the_environment_may_change_the_port() -> None:
    settings = parse_settings(GOOD.encode(), "x")
    assert overridden(settings, {"FENZHEN_PORT": "9000"}).router.port == 9000
    assert overridden(settings, {"FENZHEN_PORT": ""}) == settings
    assert overridden(settings, {}) == settings


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "8000 ", "８０００", "9" * 5000])
def test_a_wrong_port_in_the_environment_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="FENZHEN_PORT must be a port between 1 and 65535, got"):
        overridden(parse_settings(GOOD.encode(), "x"), {"FENZHEN_PORT": text})
