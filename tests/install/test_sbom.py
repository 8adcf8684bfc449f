"""What the SBOM says of wheels: what is bundled in them is listed too. Of the environment that runs these tests."""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from image.sbom import bundled, document, python_packages, wheel_sbom

SITE = [str(Path(str(metadata.distribution("cryptography").locate_file(""))))]


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    return document([*bundled(SITE), *python_packages(SITE)])


def test_each_component_stands_once_and_can_be_found(sbom: dict[str, Any]) -> None:
    refs = [one["bom-ref"] for one in sbom["components"]]
    assert refs == sorted(set(refs))
    for one in sbom["components"]:
        assert one["name"]
        assert one["type"] == "library"
        assert re.match(r"pkg:[a-z]+/[^/@]", one["purl"]), one


def test_what_wheels_say_of_themselves_is_in_it(sbom: dict[str, Any]) -> None:
    """cryptography's own OpenSSL and crates; the packages from which psycopg took libraries."""
    openssl = [one["version"] for one in sbom["components"] if one["purl"].startswith("pkg:generic/openssl@")]
    assert len(openssl) == 2  # psycopg brings another one
    kinds = {re.sub("/.*", "", one["purl"]) for one in sbom["components"]}
    assert kinds >= {"pkg:pypi", "pkg:cargo", "pkg:generic", "pkg:rpm"}
    packages = [one for one in sbom["components"] if one["purl"].startswith("pkg:pypi/")]
    assert len([one for one in packages if one["name"] == "psycopg-binary"]) == 1


def test_all_shared_libraries_beside_packages_are_in_it(sbom: dict[str, Any]) -> None:
    files = [file.name for folder in Path(SITE[0]).glob("*.libs") for file in folder.iterdir()]
    assert len(files) > 10
    named = {(one["name"], one.get("version")) for one in sbom["components"]}
    for file in files:
        name = re.sub(r"-[0-9a-f]{8}\.so.*", "", file)
        assert name in {"libcrypto", "libssl"} or (name, file.partition(".so.")[2]) in named, file
    (libpq,) = [one for one in sbom["components"] if one["name"] == "libpq"]
    assert libpq["purl"].startswith("pkg:generic/psycopg_binary.libs/libpq@5.")


def test_documents_of_other_kinds_and_shapes_say_nothing() -> None:
    assert [*wheel_sbom({"spdxVersion": "SPDX-2.3"}, "x")] == []
    assert [*wheel_sbom({"bomFormat": "CycloneDX", "components": None}, "x")] == []
    inner = {"type": "library", "name": "inner", "version": "1", "author": "somebody"}
    outer = {"name": "X", "components": [inner]}
    assert [*wheel_sbom({"bomFormat": "CycloneDX", "components": [outer]}, "x")] == [
        {
            "type": "library",
            "bom-ref": "pkg:generic/inner@1",
            "name": "inner",
            "purl": "pkg:generic/inner@1",
            "version": "1",
        }
    ]
