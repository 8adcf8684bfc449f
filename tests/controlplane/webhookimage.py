"""The webhook's own container image, built by `make image` with buildah on a base of Debian packages.

No public registry is needed, and nothing is installed: mmdebstrap and buildah are unpacked into the cache, where base
and image are kept too. What the image is made of names it there; nothing changed, nothing is built."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controlplane import debian
from controlplane.cache import alone, cache, draft
from controlplane.errors import HarnessError
from controlplane.image import Layout
from controlplane.process import Child
from controlplane.progress import step
from controlplane.registry import Registry

ROOT = Path(__file__).parents[2]
NAME = "localhost/pullsecret-webhook:test"
EPOCH = "1000000000"  # the time of everything in our layer
REVISION = "test"  # not the commit: another commit of the same files is the same image

_SOURCES = ("Containerfile", "LICENSE", "Makefile", "README.md", "pyproject.toml", "requirements.lock",
            "requirements-dev.lock", "certs", "image", "webhook")  # fmt: skip
PYTHON = "python3.14"  # as in the Makefile's BASE; the stable Debian has an older one
_SUITE = "forky"
_PACKAGES = (
    "usr-is-merged,base-files,base-passwd,coreutils,dash,diffutils,dpkg,findutils,grep,gzip,init-system-helpers,libc-bin,"
    f"perl-base,sed,tar,{PYTHON},{PYTHON}-venv"
)
_DEBOOTSTRAP = (
    "mmdebstrap",
    "--quiet",
    "--variant=custom",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    '--aptopt=Acquire::Check-Valid-Until "false"',  # a mirror may be some weeks behind
    f"--include={_PACKAGES}",
    f'--customize-hook=ln -s {PYTHON} "$1"/usr/bin/python3',
    '--customize-hook=rm -r "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale',
    _SUITE,
)
_KEPT = 8  # images: another checkout or run may be using one
_STORE_LIMIT = 4 * 2**30  # each build leaves its layers there for the next one


@dataclass(frozen=True)
class Pushed:
    """The image in a registry that only its pull secret opens."""

    name: str
    digest: str
    pull_secret: str = field(repr=False)  # the content of a Secret of type kubernetes.io/dockerconfigjson

    @property
    def by_digest(self) -> str:
        return f"{self.name.rpartition(':')[0]}@{self.digest}"


def pushed(registry: Registry, password: str) -> Pushed:
    """As pullsecret-webhook/pullsecret-webhook:test of the registry's user pullsecret-webhook."""
    user = "pullsecret-webhook"
    registry.set_password(user, password)
    image = layout()
    name = registry.push(f"{user}/{user}", "test", image)
    return Pushed(name, image.digest, registry.dockerconfigjson(user))


def layout() -> Layout:
    """The image; built first if need be. Beside it, sbom.cdx.json is the file that `make image` wrote."""
    folder = cache() / "image" / digest()
    if not folder.exists():
        with alone():
            if not folder.exists():
                _build(folder)
    return Layout(folder)


def digest() -> str:
    files = [file for name in _SOURCES for file in _files(ROOT / name)]
    content = hashlib.sha256("\0".join((*_DEBOOTSTRAP, EPOCH)).encode())
    for file in files:
        content.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return content.hexdigest()[:12]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)


def _build(target: Path) -> None:
    if os.geteuid() != 0:
        raise HarnessError("building the image needs root: it mounts, and runs the Containerfile's commands")
    inside = debian.within("buildah", "mmdebstrap")
    with draft() as folder:
        builder = _Builder(inside, folder, _store())
        base = builder.base()
        source = folder / "source"  # a copy: `make image` writes into its own dist/
        source.mkdir()
        for name in _SOURCES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, source / name)
        builder.run(
            "building the webhook's image (`make image`; 20 s to 1 min on 2 cores)",
            ("make", "-C", source, "image", f"BASE={base}", f"IMAGE={NAME}", f"BUILD_FLAGS={_network()}"),
            {"SOURCE_DATE_EPOCH": EPOCH, "REVISION": REVISION},
        )
        builder.run("writing the image", ("buildah", "push", NAME, f"oci:{folder}/layout"))
        shutil.copy2(source / "dist" / "sbom.cdx.json", folder / "layout")
        _forget(target.parent)
        (folder / "layout").rename(target)


class _Builder:
    """buildah with a store in the cache, one for all checkouts."""

    def __init__(self, inside: list[str], folder: Path, store: Path) -> None:
        self._inside, self._folder = inside, folder
        config = folder / "storage.conf"
        config.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{store}/images"\nrunroot = "{store}/run"\n')
        self._env = {
            "CONTAINERS_STORAGE_CONF": str(config),
            "CONTAINERS_CONF": "/dev/null",
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(folder),
        }

    def base(self) -> str:
        """The name of the base in the store."""
        key = hashlib.sha256("\0".join(_DEBOOTSTRAP).encode()).hexdigest()[:12]
        name = f"localhost/base:{key}"
        self._asked("buildah", "rm", "--all")  # an interrupted build leaves its containers
        if self._asked("buildah", "images", "--quiet", name):
            return name
        tar = cache() / "image" / f"base-{key}.tar"
        tar.parent.mkdir(exist_ok=True)
        if not tar.exists():
            made = self._folder / "base.tar"
            self.run("making a base of Debian packages (mmdebstrap; about half a minute)", (*_DEBOOTSTRAP, made))
            made.rename(tar)
        (self._folder / "Base").write_text(f"FROM scratch\nADD {tar.name} /\n")
        build = ("buildah", "build", "--quiet", "--file", self._folder / "Base", "--tag", name, tar.parent)
        self.run("reading the base", build)
        return name

    def run(self, what: str, command: tuple[str | Path, ...], env: Mapping[str, str] | None = None) -> None:
        log = cache() / "build-image.log"
        log.unlink(missing_ok=True)
        with (
            step(what, "done in") as progress,
            Child(what, [*self._inside, *command], log=log, env=self._env | dict(env or {})) as child,
        ):
            progress.announce()
            while child.running:
                progress.tick()
                time.sleep(0.1)
            if child.status:
                raise HarnessError(f"{what}: status {child.status}\n{child.tail(30)}")

    def _asked(self, *command: str) -> str:
        env = os.environ | self._env
        return subprocess.run([*self._inside, *command], capture_output=True, text=True, check=False, env=env).stdout


def _forget(images: Path) -> None:
    """All but the images built last."""
    built = sorted(images.glob("*/index.json"), key=lambda index: index.stat().st_mtime)
    for index in built[:-_KEPT]:
        shutil.rmtree(index.parent, ignore_errors=True)


def _store() -> Path:
    store = cache() / "image" / "store"
    if store.exists() and sum(file.lstat().st_size for file in store.rglob("*")) > _STORE_LIMIT:
        shutil.rmtree(store)
    return store


def _network() -> str:
    """Package index and trusted authorities of this machine, also where a proxy makes its own certificates."""
    mounts = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
    return " ".join(("--network host", *(f"--volume {path}:{path}:ro" for path in mounts)))
