"""Prints what is in the image, as CycloneDX JSON: `python3 sbom.py ENVIRONMENT`, by the base's own Python.

Python packages of the environment and of the base, the interpreter, and the packages of a Debian base. No time and no
serial number: the same image has the same document.
"""

import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

Component = dict[str, object]

_OURS = "pullsecret-webhook"
_DPKG = Path("/var/lib/dpkg/status")


def document(components: Iterable[Component]) -> Component:
    by_ref = {str(component["bom-ref"]): component for component in components}
    (ours,) = [ref for ref, component in by_ref.items() if component["name"] == _OURS]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": by_ref.pop(ours) | {"type": "application"}},
        "components": [by_ref[ref] for ref in sorted(by_ref)],
    }


def python_packages(path: list[str]) -> Iterator[Component]:
    for package in metadata.distributions(path=path):
        name, version = package.metadata["Name"], package.version
        purl_name = name.lower().replace("_", "-").replace(".", "-")
        yield _component(name, version, f"pkg:pypi/{purl_name}@{quote(version)}") | _licences(package.metadata)


def interpreter() -> Iterator[Component]:
    if sys.base_prefix != "/usr":  # there it is a package of the base
        version = platform.python_version()
        cpe = f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"
        yield _component("python", version, f"pkg:generic/python@{version}") | {"cpe": cpe}


def debian_packages(status: str, system: Mapping[str, str]) -> Iterator[Component]:
    vendor, distro = system["ID"], f"{system['ID']}-{system['VERSION_ID']}"
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
            source = fields.get("Source", name).split()[0]  # what Debian's advisories speak of
            purl = (
                f"pkg:deb/{vendor}/{quote(name)}@{quote(version)}?arch={arch}&distro={distro}&upstream={quote(source)}"
            )
            yield _component(name, version, purl)


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _licences(fields: metadata.PackageMetadata) -> Component:
    if "License-Expression" in fields:
        return {"licenses": [{"expression": fields["License-Expression"]}]}
    classified = [one.rpartition(" :: ")[2] for one in fields.get_all("Classifier") or () if one.startswith("License")]
    return {"licenses": [{"license": {"name": name}} for name in classified]} if classified else {}


def main() -> None:
    (environment,) = (Path(argument) for argument in sys.argv[1:])
    components = [
        *python_packages([str(path) for path in environment.glob("lib/*/site-packages")]),
        *python_packages(sys.path[1:]),
        *interpreter(),
    ]
    if _DPKG.exists():
        components += debian_packages(_DPKG.read_text(), platform.freedesktop_os_release())
    json.dump(document(components), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
