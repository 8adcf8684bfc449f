"""Prints what is in the image, as CycloneDX JSON: `python3 sbom.py ENVIRONMENT`, with the Python of the base image.

It lists the Python packages of the environment and of the base, what their wheels bundle (by their SBOMs, PEP 770, and
the shared libraries beside them), the interpreter, and the packages of a Debian base. It has no time and no serial
number: the same image gives the same document.
"""

import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

Component = dict[str, object]

_OURS = "pullsecret-webhook"
_DPKG = Path("/var/lib/dpkg/status")
_LIBRARY = re.compile(r"(?P<name>[\w.+-]+?)(?:-[0-9a-f]{8})?\.so(?:\.(?P<version>[\w.]+))?", re.ASCII)
_OPENSSL = re.compile(rb"OpenSSL (\d+\.\d+\.\d+[a-z]?) \d")


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
        yield _component(name, version, f"pkg:pypi/{_plain(name)}@{quote(version)}") | _licences(package.metadata)


def bundled(path: list[str]) -> Iterator[Component]:
    """What is in the wheels: a scanner that knows only the packages would miss OpenSSL in them."""
    for package in metadata.distributions(path=path):
        for file in sorted(package.files or ()):
            place = Path(str(package.locate_file(file)))
            if file.parent.name == "sboms" and file.suffix == ".json":
                yield from wheel_sbom(json.loads(place.read_text()), package.metadata["Name"])
            elif file.parent.name.endswith(".libs") and (found := _LIBRARY.fullmatch(file.name)):
                yield _library(file.parent.name, found, place.read_bytes())


def wheel_sbom(sbom: Mapping[str, object], package: str) -> Iterator[Component]:
    """The components in a wheel's own SBOM, also nested ones, but not the package itself. Only for CycloneDX."""
    waiting = list(_list(sbom.get("components"))) if sbom.get("bomFormat") == "CycloneDX" else []
    while waiting:
        one = waiting.pop(0)
        waiting += _list(one.get("components"))
        name, version = str(one["name"]), str(one.get("version", ""))
        if _plain(name) == _plain(package):
            continue
        at = f"@{quote(version)}" if version else ""
        purl = str(one.get("purl") or f"pkg:generic/{quote(name, safe='')}{at}")
        kept = {key: one[key] for key in ("type", "version", "cpe", "licenses", "hashes") if key in one}
        yield {"type": "library", "bom-ref": purl, "name": name, "purl": purl} | kept


def _library(folder: str, found: re.Match[str], content: bytes) -> Component:
    """A shared library, as auditwheel renames it: libpq-e9b5c9ac.so.5.18. The version of OpenSSL is in its content."""
    name, version = found["name"], found["version"] or ""
    if name in ("libcrypto", "libssl") and (openssl := _OPENSSL.search(content)):
        version = openssl[1].decode()
        return _component("openssl", version, f"pkg:generic/openssl@{version}") | {
            "cpe": f"cpe:2.3:a:openssl:openssl:{version}:*:*:*:*:*:*:*"
        }
    purl = f"pkg:generic/{quote(folder)}/{quote(name)}" + (f"@{quote(version)}" if version else "")
    return {key: value for key, value in _component(name, version, purl).items() if value}


def _list(found: object) -> list[Mapping[str, object]]:
    return found if isinstance(found, list) else []


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def interpreter() -> Iterator[Component]:
    if sys.base_prefix != "/usr":  # there it is a package of the base
        version = platform.python_version()
        cpe = f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"
        yield _component("python", version, f"pkg:generic/python@{version}") | {"cpe": cpe}


def debian_packages(status: str, system: Mapping[str, str]) -> Iterator[Component]:
    vendor = system["ID"]
    distro = f"{vendor}-{system.get('VERSION_ID') or system['VERSION_CODENAME']}"  # Debian testing has no number
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
            source = fields.get("Source", name).split()[0]  # the name in Debian's advisories
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
    ours = [str(path) for path in environment.glob("lib/*/site-packages")]
    components = [
        *bundled(ours),
        *python_packages(ours),
        *python_packages(sys.path[1:]),
        *interpreter(),
    ]
    if _DPKG.exists():
        components += debian_packages(_DPKG.read_text(), platform.freedesktop_os_release())
    json.dump(document(components), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
