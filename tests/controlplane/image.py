"""Container images: of one static program and one layer, made without any image tool; and an OCI layout on disk."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Stored(Protocol):
    """What can be pushed."""

    def blobs(self) -> Iterator[bytes]: ...

    def manifest(self) -> bytes: ...


@dataclass(frozen=True)
class Image:
    config: bytes
    layer: bytes  # a plain tar

    @classmethod
    def of(cls, program: Path, content: str = "") -> "Image":
        """Runs `program`. `content` lies in a file beside it: other content is another image, which a node that
        has the first one still has to pull."""
        layer = _tar({program.name: (program.read_bytes(), 0o755), "content": (content.encode(), 0o644)})
        machine = platform.machine()
        config = {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        return cls(json.dumps(config).encode(), layer)

    def blobs(self) -> Iterator[bytes]:
        yield from (self.layer, self.config)

    def manifest(self) -> bytes:
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(_CONFIG, self.config),
            "layers": [_descriptor(_LAYER, self.layer)],
        }
        return json.dumps(manifest).encode()

    def archive(self, name: str) -> bytes:
        """In the format of `docker save`, for `ctr images import`."""
        config = f"{hashlib.sha256(self.config).hexdigest()}.json"
        manifest = json.dumps([{"Config": config, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
        files = {config: self.config, "layer.tar": self.layer, "manifest.json": manifest}
        return _tar({file: (content, 0o644) for file, content in files.items()})


_HELM_CONFIG, _HELM_CHART = (
    "application/vnd.cncf.helm.config.v1+json",
    "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
)
_FLUX_CONFIG, _FLUX_FILES = "application/vnd.cncf.flux.config.v1+json", "application/vnd.cncf.flux.content.v1.tar+gzip"


@dataclass(frozen=True)
class Artifact:
    """What is no image: one compressed archive of files, with the media types of whoever reads it."""

    config_type: str
    config: bytes
    layer_type: str
    layer: bytes

    @classmethod
    def of_flux(cls, files: dict[str, str]) -> "Artifact":
        """Manifests for a Kustomization."""
        return cls(_FLUX_CONFIG, b"{}", _FLUX_FILES, _compressed(files))

    @classmethod
    def of_chart(cls, name: str, version: str, files: dict[str, str]) -> "Artifact":
        """`files` lie in the chart's folder; Chart.yaml is among them."""
        config = json.dumps({"name": name, "version": version, "apiVersion": "v2"}).encode()
        return cls(_HELM_CONFIG, config, _HELM_CHART, _compressed({f"{name}/{at}": text for at, text in files.items()}))

    def blobs(self) -> Iterator[bytes]:
        yield from (self.layer, self.config)

    def manifest(self) -> bytes:
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(self.config_type, self.config),
            "layers": [_descriptor(self.layer_type, self.layer)],
        }
        return json.dumps(manifest).encode()


@dataclass(frozen=True)
class Layout:
    """The one image of an OCI layout, such as `buildah push IMAGE oci:FOLDER` writes."""

    folder: Path

    @property
    def digest(self) -> str:
        (entry,) = json.loads((self.folder / "index.json").read_text())["manifests"]
        return str(entry["digest"])

    def manifest(self) -> bytes:
        return self.blob(self.digest)

    def config(self) -> dict[str, Any]:
        """The image's whole configuration; what a container takes from it is under "config"."""
        config: dict[str, Any] = json.loads(self.blob(json.loads(self.manifest())["config"]["digest"]))
        return config

    def layers(self) -> list[str]:
        """Digests, the base's first."""
        return [layer["digest"] for layer in json.loads(self.manifest())["layers"]]

    def blobs(self) -> Iterator[bytes]:
        for digest in (*self.layers(), json.loads(self.manifest())["config"]["digest"]):
            yield self.blob(digest)

    def path(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def blob(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()


def push(client: httpx.Client, repository: str, tag: str, image: Stored) -> None:
    """By the registry protocol of the OCI distribution specification; `client` carries address and credentials."""
    for blob in image.blobs():
        upload = _checked(client.post(f"/v2/{repository}/blobs/uploads/"))
        target = httpx.URL(upload.headers["location"]).copy_add_param(
            "digest", _digest(blob)
        )  # it has parameters already
        _checked(client.put(target, content=blob))
    path = f"/v2/{repository}/manifests/{tag}"
    _checked(client.put(path, content=image.manifest(), headers={"Content-Type": MANIFEST}))


def _checked(answer: httpx.Response) -> httpx.Response:
    answer.raise_for_status()
    return answer


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _compressed(files: dict[str, str]) -> bytes:
    return gzip.compress(_tar({name: (text.encode(), 0o644) for name, text in files.items()}), mtime=0)


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
