from pathlib import Path

import pytest

from cluster.base_url import host_and_port
from cluster.errors import NotFound, UserError
from cluster.settings import Settings
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
    assert parse_settings(text.encode(), "x").engine_pools[0].engine_args == {"x": ["en"], "y": ["en"]}


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


# ---- servers that run already --------------------------------------------------------------------------------------

EXTERNAL = """\
models:
  - {name: small, languages: [en], max_difficulty: 1, context_tokens: 2048, parameters_b: 0.1}
pools:
  - model: small
    endpoints: [http://127.0.0.1:9001, http://10.0.0.7:8000]
"""


def test_a_pool_of_servers_that_run_already_needs_no_weights_and_no_memory() -> None:
    settings = parse_settings(EXTERNAL.encode(), "x")
    assert settings.external_pools[0].endpoints == ("http://127.0.0.1:9001", "http://10.0.0.7:8000")
    assert settings.external_pools[0].health_path == "/health"
    assert (settings.engine_pools, settings.engine_models) == ((), ())
    assert [model.name for model in settings.served_models] == ["small"]
    assert parse_settings(as_yaml(settings).encode(), "x") == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_both_kinds_of_pool_stand_beside_each_other() -> None:
    text = GOOD.replace(
        "pools:\n", "  - {name: far, languages: [en], max_difficulty: 1, context_tokens: 1, parameters_b: 9}\npools:\n"
    )
    settings = parse_settings(
        text.replace("site:", "  - {model: far, endpoints: ['http://far:80']}\nsite:").encode(), "x"
    )
    assert [pool.model for pool in settings.engine_pools] == ["small"]
    assert [pool.model for pool in settings.external_pools] == ["far"]
    assert [model.name for model in settings.engine_models] == ["small"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://10.0.0.7:8000/", "http://10.0.0.7:8000"),
        ("HTTP://Node-1.Example_net:08000", "http://node-1.example_net:8000"),
        ("http://[0:0::1]:80", "http://[::1]:80"),
    ],
)
def test_a_base_url_is_read_as_the_router_writes_it(written: str, read: str) -> None:
    settings = parse_settings(EXTERNAL.replace("http://10.0.0.7:8000", f'"{written}"').encode(), "x")
    assert settings.external_pools[0].endpoints[1] == read
    assert host_and_port(read)[0] == read.removeprefix("http://").rpartition(":")[0].strip("[]")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://a:1", "https://a:1 is HTTPS, which the router does not speak to servers yet; give http://"),
        ("a:1", "a:1 must be http://host:port"),
        ("http://", "http:// must be http://host:port"),
        ("http://a", "http://a has no port; write http://a:8000 if that is the one"),
        ("http://[::1]", "http://[::1] has no port; write http://[::1]:8000 if that is the one"),
        ("http://a:1/v1", "http://a:1/v1 must end after the port; the router adds /v1/... by itself"),
        ("http://a:1?x=1", "http://a:1?x=1 must end after the port; the router adds /v1/... by itself"),
        ("http://me:secret@a:1", "a name and a password cannot stand in a base URL; leave out all up to the @"),
        ("http://a:0", "http://a:0: the port must be between 1 and 65535, got '0'"),
        ("http://a:65536", "http://a:65536: the port must be between 1 and 65535, got '65536'"),
        ("http://a:８０", "http://a:８０: the port must be between 1 and 65535, got '８０'"),
        ("http://a..b:1", "http://a..b:1: 'a..b' is not a host's name or address"),
        ("http://中国:1", "http://中国:1: '中国' is not a host's name or address"),
        ("http://a b:1", "http://a b:1: 'a b' is not a host's name or address"),
        ("http://[::g]:1", "http://[::g]:1: [::g] is not an IPv6 address"),
        ("http://[fe80::1%eth0]:1", "http://[fe80::1%eth0]:1: '[fe80::1%eth0]' is not a host's name or address"),
    ],
)
def test_a_wrong_base_url_is_answered_with_what_to_mend(url: str, sentence: str) -> None:
    text = EXTERNAL.replace("http://10.0.0.7:8000", f'"{url}"')
    assert complaint(text) == f"fenzhen.yaml line 5: pools[0].endpoints[1]: {sentence}"


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (
            "[http://127.0.0.1:9001, http://10.0.0.7:8000]",
            "[]",
            ["line 5: pools[0].endpoints: needs at least one item"],
        ),
        (
            "[http://127.0.0.1:9001, http://10.0.0.7:8000]",
            "[http://a:1, http://A:01/]",
            ["line 5: pools[0].endpoints: http://a:1 stands there twice"],
        ),
        (
            "127.0.0.1:9001",
            "localhost:8000",
            ["line 5: pools[0].endpoints: port 8000 is the router's own: it would ask itself"],
        ),
        (
            "    endpoints:",
            "    memory_bytes: 1\n    engine: 2\n    endpoints:",
            [
                "line 5: pools[0].memory_bytes: is for engines that are started here; a pool with endpoints has none",
                "line 6: pools[0].engine: unknown key; known here: model, endpoints, health_path, health_timeout_s, "
                "busy_in_flight, max_adapters, first_answer_timeout_s",
            ],
        ),
        (
            "    endpoints:",
            "    health_path: /v1/models\n    endpoint:",
            [
                "line 4: pools[0].memory_bytes: this key is missing; only a pool with endpoints, servers that run "
                "already, can do without",
                "line 5: pools[0].health_path: is for a pool with endpoints, servers that run already",
                "line 6: pools[0].endpoint: unknown key; did you mean endpoints?",
            ],
        ),
        (
            "    endpoints: [http://127.0.0.1:9001, http://10.0.0.7:8000]",
            "    memory_bytes: 1",
            [
                "line 2: models[0].disk_bytes: this key is missing; only a model whose pool has endpoints can do "
                "without its weights",
                "line 2: models[0].sources: this key is missing; only a model whose pool has endpoints can do "
                "without its weights",
            ],
        ),
        (
            "    endpoints:",
            "    health_path: health\n    endpoints:",
            ["line 5: pools[0].health_path: should match pattern '^/[!-~]*$', got 'health'"],
        ),
    ],
)
def test_what_a_pool_with_endpoints_cannot_have_is_said(before: str, after: str, lines: list[str]) -> None:
    assert complaint(EXTERNAL.replace(before, after)).splitlines() == [f"fenzhen.yaml {line}" for line in lines]


def test_sources_want_the_room_they_take_wherever_the_model_runs() -> None:
    text = EXTERNAL.replace("0.1}", "0.1, sources: [{kind: folder, path: /m, sha256: '" + "0" * 64 + "'}]}")
    assert "line 2: models[0].disk_bytes: this key is missing" in complaint(text)
