import pickle

import pytest

from cluster.errors import UserError
from cluster.release_settings import Registry
from cluster.settings_file import as_yaml, overridden, parse_settings, profile
from cluster.store_uri import database_uri_of, passwords_in, tracking_uri_of, without_password

POSTGRES = "postgresql+psycopg://me:s%40crEt@db:5432/registry"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (POSTGRES, "postgresql+psycopg://me@db:5432/registry"),
        ("postgresql+psycopg://me@db/r?sslmode=require", "postgresql+psycopg://me@db/r?sslmode=require"),
        ("postgresql+psycopg://db/r?user=me&password=x&a=b", "postgresql+psycopg://db/r?user=me&password=&a=b"),
        ("http://me:pw@host:5000", "http://me@host:5000"),
        ("postgresql+psycopg://me:a@b@db/r", "postgresql+psycopg://me@db/r"),
        ("sqlite:////var/r.db", "sqlite:////var/r.db"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_passwords_are_known_as_written_and_as_meant() -> None:
    assert set(passwords_in(POSTGRES)) == {"s%40crEt", "s@crEt"}
    assert passwords_in("postgresql+psycopg://db/r?password=x%20y") == ("x%20y", "x y")
    assert passwords_in("sqlite:////r.db") == ()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file:///var/mlruns", "MLflow 3 keeps nothing in bare files any more"),
        ("./mlruns", "MLflow 3 keeps nothing in bare files any more"),
        ("sqlite:///registry.db", "four slashes"),
        ("postgresql://me@db/r", r"leaves the driver open; write postgresql\+psycopg://"),
        ("postgresql+psycopg:///r", "names no host"),
        ("mysql://db/r", "MLflow's address is sqlite"),
        ("http://", "names no host"),
        ("http://host:port", "has a port that is none"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_a_way_out(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tracking_uri_of(uri)


def test_addresses_that_can_be_used_are_taken() -> None:
    assert tracking_uri_of("https://mlflow.example/") == "https://mlflow.example"
    for uri in ("sqlite:////var/r.db", POSTGRES, "postgresql+psycopg:///r?host=/run/postgresql"):
        assert database_uri_of(uri) == uri


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tracking_uri: file:///x", "MLflow 3 keeps nothing in bare files"),
        (f"tracking_uri: {POSTGRES}", "put the whole address into FENZHEN_TRACKING_URI"),
        (f"rollouts_uri: {POSTGRES}", "put the whole address into FENZHEN_ROLLOUTS_URI"),
        ("rollouts_uri: http://host", "a database is sqlite"),
        ("artifacts: here", "must be an absolute folder or s3://"),
        ("artifacts: s3://Bucket!", "must be an absolute folder or s3://"),
        ("{tracking_uri: 'http://host', artifacts: /x}", "an MLflow server decides by itself where files go"),
    ],
)
def test_a_wrong_registry_in_the_file_is_refused(text: str, message: str) -> None:
    body = text if text.startswith("{") else f"{{{text.replace(': ', ': ' + chr(39), 1)}'}}"
    document = as_yaml(profile("tiny")).partition("\nregistry:")[0] + f"\nregistry: {body}\n"
    with pytest.raises(UserError, match=message) as refusal:
        parse_settings(document.encode(), "x.yaml")
    assert "s%40crEt" not in str(refusal.value)
    assert "x.yaml" in str(refusal.value)


def test_the_environment_brings_a_password_that_no_file_ever_gets() -> None:
    variables = ("FENZHEN_TRACKING_URI", "FENZHEN_ROLLOUTS_URI", "FENZHEN_FEEDBACK_URI")
    settings = overridden(profile("tiny"), dict.fromkeys(variables, POSTGRES))

    assert (settings.registry.tracking_uri, settings.registry.rollouts_uri) == (POSTGRES, POSTGRES)
    assert settings.feedback.uri == POSTGRES
    assert "crEt" not in as_yaml(settings) + settings.model_dump_json()
    # A part of the stack in another process gets it all the same.
    assert pickle.loads(pickle.dumps(settings)).registry.tracking_uri == POSTGRES
    read_again = parse_settings(as_yaml(settings).encode(), "x")
    assert read_again.registry.tracking_uri == "postgresql+psycopg://me@db:5432/registry"
    assert overridden(read_again, {"FENZHEN_TRACKING_URI": ""}) == read_again


@pytest.mark.parametrize("name", ["FENZHEN_TRACKING_URI", "FENZHEN_ROLLOUTS_URI", "FENZHEN_FEEDBACK_URI"])
def test_a_wrong_address_in_the_environment_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: .*leaves the driver open") as refusal:
        overridden(profile("tiny"), {name: "postgres://me:crEt@db/r"})
    assert "crEt" not in str(refusal.value)


def test_a_server_in_the_environment_does_not_go_with_a_place_for_files() -> None:
    settings = profile("tiny").model_copy(update={"registry": Registry(artifacts="s3://bucket/prefix/")})
    assert settings.registry.artifacts == "s3://bucket/prefix"
    with pytest.raises(UserError, match=r"take registry\.artifacts out"):
        overridden(settings, {"FENZHEN_TRACKING_URI": "http://host:5000"})
