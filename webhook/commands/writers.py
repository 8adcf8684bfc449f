"""Signs in a Secret that something else writes it: what adopt.py refuses, and credential/ warns of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from webhook.core.names import ISSUER, MANAGED_BY
from webhook.core.shown import quoted
from webhook.kube.cluster import Meta, SecretMeta

Place = Literal["label", "annotate"]
"""Where a sign is, as kubectl's verb."""
PLACES: tuple[Place, ...] = ("label", "annotate")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""kubectl's own annotation. No sign, but it holds the whole Secret, also the old token."""

_HELM = "helm.sh/resource-policy=keep"
_FLUX = "kustomize.toolkit.fluxcd.io/prune=disabled"
_ARGO = "argocd.argoproj.io/sync-options=Prune=false"


def _detach(annotation: str, place: str) -> str:
    return f"annotate the Secret {annotation}, remove it from {place}"


_WRITERS: tuple[tuple[Place, str, str, str], ...] = (
    (
        "label",
        "generate.kyverno.io/",
        "a Kyverno policy generates it",
        "set orphanDownstreamOnPolicyDelete: true in its rule and delete the rule",
    ),
    (
        "label",
        "reconcile.external-secrets.io/",
        "External Secrets writes it",
        "set creationPolicy: Orphan in its ExternalSecret and delete that",
    ),
    ("annotate", "meta.helm.sh/release-", "a Helm release writes it", _detach(_HELM, "the chart and upgrade")),
    ("label", "helm.toolkit.fluxcd.io/", "a Flux HelmRelease writes it", _detach(_HELM, "the chart and reconcile")),
    ("label", "kustomize.toolkit.fluxcd.io/", "a Flux Kustomization writes it", _detach(_FLUX, "Git and reconcile")),
    ("annotate", "argocd.argoproj.io/tracking-id", "an Argo CD application writes it", _detach(_ARGO, "Git and sync")),
    ("annotate", "reflector.v1.k8s.emberstack.com/", "Reflector copies it", "stop the copying at its source"),
    ("annotate", "replicator.v1.mittwald.de/", "kubernetes-replicator copies it", "stop the copying at its source"),
)
"""Where a writer leaves its sign (as kubectl's verb), the prefix of the key, who it is, and how to stop it so that the
Secret stays."""


@dataclass(frozen=True, slots=True)
class Sign:
    """`key`: of the label or the annotation. `who`: writes the Secret; `stop`: and how it stops."""

    where: Place
    key: str
    who: str
    stop: str


def signs(meta: Meta) -> list[Sign]:
    metadata: dict[Place, Mapping[str, str]] = {"label": meta.labels or {}, "annotate": meta.annotations or {}}
    found = [
        Sign(where, key, who, stop)
        for where, prefix, who, stop in _WRITERS
        for key in sorted(metadata[where])
        if key.startswith(prefix)
    ]
    for where in PLACES:
        if by := metadata[where].get(MANAGED_BY):
            who, stop = f"its {MANAGED_BY} is {quoted(by)}", f"make {quoted(by)} stop writing it"
            found.append(Sign(where, MANAGED_BY, who, stop))
    return found


def issuer(meta: Meta) -> str:
    """The issuer that mints what is in this source Secret. Empty: none does."""
    return (meta.labels or {}).get(ISSUER, "")


def writer(meta: SecretMeta) -> str:
    """Who probably writes it again. Empty: nobody."""
    for other in meta.owner_references or ():
        return f"{quoted(other.kind)} {quoted(other.name)} owns it"
    return next((one.who for one in signs(meta)), "")
