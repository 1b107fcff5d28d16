from pathlib import Path

import pytest

from registry.manifest import CONVERSION, Manifest, fits, origin_of, pin_of
from tests.unit.registry.support import build_wheel, folder_source, hub_source, package_source


def test_the_origin_of_hub_weights_names_repository_and_commit() -> None:
    assert origin_of(hub_source()) == "fenzhen/tiny at 7ae5576 from the hub"


def test_the_origin_of_packages_names_the_weights_the_packages_and_the_digest(tmp_path: Path) -> None:
    source = package_source(tmp_path)

    assert origin_of(source) == (
        f"Tiny, Q4_1, from packages fz-weights-part1..3 (sha256 {source.gguf_sha256[:4]}…), converted to bf16"
    )


@pytest.mark.parametrize(
    ("names", "said"), [(["alone"], "package alone"), (["base", "more-2"], "packages base, more-2")]
)
def test_the_origin_names_packages_that_are_not_numbered(tmp_path: Path, names: list[str], said: str) -> None:
    packages = tuple(build_wheel(tmp_path, name, b"x") for name in names)
    source = package_source(tmp_path).model_copy(update={"packages": packages})

    assert f", from {said} (sha256" in origin_of(source)


def test_the_origin_of_a_folder_names_it() -> None:
    assert origin_of(folder_source(Path("/weights/tiny"), "ab" * 32)) == "the folder /weights/tiny (sha256 abab…)"


def test_what_an_older_conversion_wrote_is_made_anew_but_a_hub_s_files_stay(tmp_path: Path) -> None:
    packages, hub = package_source(tmp_path), hub_source()

    def manifest_of(pin: str, conversion: int) -> Manifest:
        return Manifest(
            model="tiny",
            source_kind="hub",
            pin=pin,
            conversion=conversion,
            origin="",
            sha256="",
            size_bytes=0,
            stamp={},
        )

    assert fits(manifest_of(pin_of(packages), CONVERSION), packages)
    assert not fits(manifest_of(pin_of(packages), CONVERSION - 1), packages)
    assert fits(manifest_of(pin_of(hub), CONVERSION - 1), hub)
    assert not fits(manifest_of("other", CONVERSION), hub)
