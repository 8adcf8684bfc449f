"""The pull secrets of one pod, as the kubelet takes them, for `explain` and `doctor`."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.core.credential import Credential
from webhook.core.dockerconfig import MAX_PARTS, DockerConfigError, Parsed, of_kubelet, parse, parse_dockercfg
from webhook.core.names import DOCKERCFG_KEY, DOCKERCFG_TYPE, DOCKERCONFIG_KEY
from webhook.core.registry import matching
from webhook.core.shown import shown
from webhook.core.wire import Unreadable
from webhook.kube.cluster import FORBIDDEN, ClusterError, Forbidden, SecretObject, decode, is_name

MAX_SECRETS = 20
"""Pull secrets of a pod that are read."""
State = Literal["takes", "passes over", "fails", "missing", "not read"]
WORDS: dict[State, str] = {
    "takes": "the kubelet takes it",
    "passes over": "the kubelet passes over it: it has no credentials",
    "fails": "the kubelet cannot parse it, and then tries no credential at all",
    "missing": "is missing",
    "not read": "cannot be read",
}
_SECRET = msgspec.json.Decoder(SecretObject)


@dataclass(frozen=True, slots=True)
class PodSecret:
    """`state`: what the kubelet makes of it; `problem`: what is wrong with it or with some of its entries; `type`: of
    the Secret, empty if it was not read.
    """

    name: str
    state: State
    problem: str = ""
    type: str = ""
    credentials: tuple[Credential, ...] = field(default=(), repr=False)

    @property
    def registries(self) -> tuple[str, ...]:
        """Of the entries that the kubelet takes."""
        return tuple(dict.fromkeys(c.registry for c in self.credentials)) if self.state == "takes" else ()


async def read(view: ClusterView, namespace: str, names: Sequence[str]) -> tuple[PodSecret, ...]:
    """In the order of the pod's list."""
    found = []
    for name in [one for one in names if is_name(one)][:MAX_SECRETS]:
        secret = await view.may(f"the Secret {name}", _secret(view, namespace, name), None)
        if secret is None:
            found.append(PodSecret(name, "not read" if f"the Secret {name}" in view.unread else "missing"))
            continue
        parsed = _parsed(secret)
        state = of_kubelet(secret.type, secret.data or {})
        found.append(PodSecret(name, state, shown("; ".join(parsed.problems)), secret.type, parsed.credentials))
    return tuple(found)


def in_order(secrets: Sequence[PodSecret], image: str) -> tuple[tuple[str, str], ...]:
    """Keys of the entries that match an image, and their Secrets, in the order in which the kubelet tries them: longer
    keys first; for one key, the Secrets in the order of the pod's list.
    """
    keys = matching({registry for one in secrets for registry in one.registries}, image)
    return tuple((key, one.name) for key in keys for one in secrets if key in one.registries)


async def _secret(view: ClusterView, namespace: str, name: str) -> SecretObject | None:
    try:
        return await decode(
            _SECRET, await view.cluster.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}", within=30.0)
        )
    except ClusterError as e:
        if e.status == FORBIDDEN:
            raise Forbidden(str(e)) from None
        return None
    except Unreadable:
        return None


def _parsed(secret: SecretObject) -> Parsed:
    key = DOCKERCFG_KEY if secret.type == DOCKERCFG_TYPE else DOCKERCONFIG_KEY
    try:
        content = base64.b64decode((secret.data or {}).get(key, ""))
        return parse_dockercfg(content) if key == DOCKERCFG_KEY else parse(content, most=MAX_PARTS)
    except DockerConfigError as e:
        return Parsed((), (str(e),))
    except ValueError:
        return Parsed((), ("it is not base64",))
