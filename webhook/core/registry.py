"""Names of registries, as the kubelet reads the keys of a dockerconfigjson and matches them with an image's name.

Source: k8s.io/kubernetes/pkg/credentialprovider/keyring.go. A key is host[:port][/path]. The scheme, what stands before
`@` or behind `?` or `#`, and the version of the API (`/v1/`, `/v2/`) do not count, so one key has several spellings. A
key matches an image if the parts of its host and the port are equal (`*` matches inside one part) and its path is a
prefix, as plain text. The kubelet tries the credentials of all keys that match: longer ones first, those of one key in
any order.

Docker Hub is different: `https://index.docker.io/v1/` counts for images of docker.io, but only if no other key matches.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from webhook.core.errors import CredentialError

DOCKER_HUB = "https://index.docker.io/v1/"
_HUB_KEY = "index.docker.io"
"""How the kubelet reads it."""
_HUB_HOSTS = frozenset({"docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
"""Other names of Docker Hub."""
_HUB_API, _HUB_NAMES = "registry-1.docker.io", _HUB_HOSTS | {"index.docker.io"}
"""Where images of Docker Hub are pulled from."""
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9*][A-Za-z0-9._*-]{0,252}|\[[0-9A-Fa-f:]{2,45}\])(?::\d{1,5})?(?:/[\w./*~-]{1,252})?", re.ASCII
)
_USER = re.compile(r"[\w.~!$&'()*+,;=:%@-]*", re.ASCII)
_VERSION, _ESCAPED = re.compile("^v[12]/"), re.compile("%([0-9A-Fa-f]{2})")
MAX_REGISTRY_CHARS = 600
MAX_SAME_KEY = 6
"""Credentials for one registry in a pull secret: as many as its key has spellings, whatever its path is."""
_BLOBS = {
    "ghcr.io": ("pkg-containers.githubusercontent.com",),
    _HUB_API: (
        "production.cloudflare.docker.com",
        "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
    ),
    "quay.io": ("cdn.quay.io", "cdn01.quay.io", "cdn02.quay.io", "cdn03.quay.io"),
    "registry.gitlab.com": ("cdn.registry.gitlab-static.net",),
    "gcr.io": ("storage.googleapis.com",),
}
"""Where registries send those who ask for a blob, as far as it is always the same."""
_PAGES = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"} | dict.fromkeys(
    [f"{name}.docker.com" for name in ("hub", "www", "app", "cloud", "login")]
    + ["docker.com", "auth.docker.io", "registry.docker.io"],
    "docker.io",
)
"""Hosts that people open in a browser or see in messages, and the registries that belong to them."""
_AROUND = re.compile("^(?:_|r|u|orgs|users|repository/docker)/|^token$|/(?:packages|tags|general|-)(?:/.*)?$")
"""What their pages have before and behind a name."""
_PAGE_PATHS = (
    "harbor/projects",
    "harbor/sign-in",
    "ui/packages",
    "ui/repos",
    "ui/native",
    "ui/login",
    "artifactory/webapp",
)
_API_PATHS = ("api/v2.0", "service/token", "artifactory/api", "jwt/auth")
"""Of Harbor, Artifactory and GitLab."""
_QUAY_PAGES = ("quay.io/repository", "quay.io/organization", "quay.io/user")
_LABEL = "[A-Za-z0-9*](?:[A-Za-z0-9*-]*[A-Za-z0-9*])?"
_HOST = re.compile(rf"\[.*|{_LABEL}(?:\.{_LABEL})*")
_PREFIX = re.compile(r"(?:[a-z0-9]+(?:\.|__?|-+|/))*[a-z0-9]*")
"""Hosts in names of images, with `*` for what it stands for; and what names of repositories begin with."""

_NO_REGISTRY = (
    "the name of a registry is not valid: expected a host with a dot or a port and perhaps a path, as in ghcr.io/acme"
)
_TOO_WIDE = (
    "the name of a registry has * in the last two parts of its host, which matches hosts of others too; write these "
    "parts without *, as in *.example.com"
)
"""A token goes to every host that matches, and a pod may name any host: `*.io` also matches evil.io."""


def canonical_registry(registry: str) -> str:
    """The key as the kubelet reads it, or DOCKER_HUB. Raises CredentialError.

    A slash after a path stays: without it `ghcr.io/acme/` would match ghcr.io/acme-labs/app too. A `*` is refused in
    the last two parts of a host, and in an IP address. No message quotes the text, which may be a token.
    """
    text = re.split("[?#]", re.sub("^https?://", "", registry.strip()), maxsplit=1)[0]
    if len(text) > MAX_REGISTRY_CHARS:
        raise CredentialError(_NO_REGISTRY)
    if not text:
        raise CredentialError("the registry is empty; write a host such as ghcr.io")
    authority, _, path = text.partition("/")
    user, _, host = authority.rpartition("@")
    host = host.removesuffix(":")
    path = _VERSION.sub("", _ESCAPED.sub(lambda found: chr(int(found[1], 16)), path))
    if not _USER.fullmatch(user):
        raise CredentialError(_NO_REGISTRY)
    if not _REGISTRY.fullmatch(f"{host}/{path}".rstrip("/")):
        raise CredentialError(_NO_REGISTRY)
    # The first part of an image's name is a host if it has a dot, a port or capitals. Capitals alone suggest a token.
    if not {".", ":"} & {*host} and host != "localhost":
        raise CredentialError(_NO_REGISTRY)
    if "*" in host and _too_wide(host):
        raise CredentialError(_TOO_WIDE)
    if host == "index.docker.io" and path in {"", "v1", "v2"}:
        return DOCKER_HUB
    return f"{host}/{path}" if path else host


def _too_wide(host: str) -> bool:
    labels = [label for label in host.partition(":")[0].split(".") if label]
    return "*" in "".join(labels[-2:]) or labels[-1].isdigit()


def also_known_as(registry: str) -> str | None:
    """The key that `docker login` writes for Docker Hub, under another name. With a path there is none: a key such as
    docker.io/acme would hide other credentials of the pod for Docker Hub.
    """
    return DOCKER_HUB if registry in _HUB_HOSTS else None


def asked_at(registry: str) -> str | None:
    """The host, and perhaps its port, that is asked whether a credential for this key works. None: the key is a pattern
    or matches no image.
    """
    if registry == DOCKER_HUB:
        return _HUB_API
    host = registry.partition("/")[0]
    return None if "*" in host else _HUB_API if host in _HUB_NAMES else host


def blob_hosts(host: str) -> tuple[str, ...]:
    """Other hosts that are asked for the blobs of this registry, if they are known; as `asked_at` names it."""
    return _BLOBS.get(host, ())


def spellings(registry: str) -> list[str]:
    """All that the kubelet reads as this key. First the one that other tools look for."""
    host, _, path = ("index.docker.io", "", "") if registry == DOCKER_HUB else registry.partition("/")
    plain = [] if _VERSION.match(path) else [f"{host}/{path}" if path else host]
    texts = [*plain, f"{host}/v1/{path}", f"{host}/v2/{path}"]
    schemes = [scheme + text for scheme in ("https://", "http://") for text in texts]
    return list(dict.fromkeys([DOCKER_HUB if registry == DOCKER_HUB else texts[0], *schemes, *texts]))


def why_unmatched(registry: str) -> str:
    """Why hardly any image matches this key, and what to write instead. Empty if images do."""
    if registry == DOCKER_HUB:
        return ""
    host, slash, path = registry.partition("/")
    bare, _, port = (host, "", "") if host.startswith("[") else host.partition(":")
    usual = bare if port == "443" else host
    if host == "index.docker.io":
        return f"images of Docker Hub are called docker.io; write docker.io{slash}{path}"
    if right := _PAGES.get(bare):
        name = _AROUND.sub("", path)
        return f"no image comes from {host}; write {right}{'/' if name else ''}{name}"
    if path in {"v1", "v2"} or path.startswith(_PAGE_PATHS + _API_PATHS) or registry.startswith(_QUAY_PAGES):
        return _behind(usual, path)
    if registry != registry.lower():
        return f"capitals match only images that are written with them; write {usual.lower()}{slash}{path.lower()}"
    if "*" in path:
        before = path.partition("*")[0]
        return f"a path is the beginning of a name, without *; write {usual}{'/' if before else ''}{before}"
    if not _PREFIX.fullmatch(path):
        return _behind(usual, path)
    if not _HOST.fullmatch(bare):
        return f"no image has the host {bare}: it has only letters, digits, - and ., and ends with a letter or digit"
    if port == "443":
        return f"it matches only images that are written with the port; write {bare}{slash}{path}"
    return ""


def _behind(host: str, path: str) -> str:
    return f"no image has /{path} behind {host}; write {host}, or {host}/ and the name of a project"


def repository(image: str) -> str:
    """The name that the kubelet looks for credentials with: `nginx:1` is docker.io/library/nginx."""
    name = without_version(image)
    host, slash, path = name.partition("/")
    if not slash or not ({".", ":"} & {*host} or host == "localhost" or host != host.lower()):
        host, path = "docker.io", name
    if host not in {"docker.io", "index.docker.io"}:
        return f"{host}/{path}"
    return f"docker.io/{path if '/' in path else f'library/{path}'}"


def without_version(image: str) -> str:
    """Without tag and digest."""
    before, slash, last = image.partition("@")[0].rpartition("/")
    return f"{before}{slash}{last.partition(':')[0]}"


def matching(registries: Iterable[str], image: str) -> tuple[str, ...]:
    """The keys that match an image, in the order in which the kubelet tries their credentials. `registries`: as
    `canonical_registry` gives them, from all pull secrets of the pod.
    """
    host, _, path = repository(image).partition("/")
    keys = {_HUB_KEY if registry == DOCKER_HUB else registry: registry for registry in registries}
    found = [keys[key] for key in sorted(keys, reverse=True) if _matches(key, host, path)]
    if not found and _HUB_KEY in keys and (host == "docker.io" or not {".", ":"} & {*host}):
        found = [DOCKER_HUB]
    return tuple(found)


def _matches(key: str, host: str, path: str) -> bool:
    pattern, _, prefix = key.partition("/")
    return path.startswith(prefix) and host_matches(pattern, host)


def host_matches(pattern: str, host: str) -> bool:
    """Is this the host, and perhaps the port, of a key that matches images from there?"""
    if "*" not in pattern:
        return pattern == host and not pattern.endswith(
            "]"
        )  # to the kubelet [::1] without a port is a choice of letters
    (name, port), (wanted, wanted_port) = _split_port(pattern), _split_port(host)
    labels, others = name.split("."), wanted.split(".")
    return (
        port == wanted_port
        and len(labels) == len(others)
        and all(fnmatchcase(other, label) for label, other in zip(labels, others, strict=True))
    )


def _split_port(host: str) -> tuple[str, str]:
    name, _, port = host.partition(":")
    return name, port
