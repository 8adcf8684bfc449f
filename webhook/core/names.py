"""Labels, annotations and names that users see, one constant each; and which objects are ours."""

from collections.abc import Mapping

PREFIX = "pullsecret-webhook/"

OWNER = PREFIX + "owner"
"""The owner: label (or annotation) of a namespace, label of a source Secret, annotation of a pull secret. Annotation of
an Event about a source: the one owner that it is about.
"""

SOURCE = PREFIX + "source"
"""Annotation of an Event about a source: the source's name; of one about a mirror: its host; about an issuer: its
name.
"""

INJECT = PREFIX + "inject"
"""Label of a namespace or pod; the value DISABLED opts out."""

DISABLED = "disabled"

WEBHOOK_ALONE = PREFIX + "safety-net"
"""Label of a pod or Deployment; the value DISABLED opts out of the chart's safety net only."""

REGION = PREFIX + "region"
"""Label of a namespace: the region whose mirrors are for its pods."""

IMAGES = PREFIX + "images"
"""Annotation of a pod: the names that its images had before they got those at a mirror, by container, as JSON."""

REGISTRY = PREFIX + "registry"
"""Annotation of a basic-auth source Secret: the registry it is for."""

NAMESPACES = PREFIX + "namespaces"
"""Annotation of a source Secret: the only namespaces in which it may be used, separated by commas."""

EXPIRES = PREFIX + "expires"
"""Annotation of a source Secret: when its credentials expire (RFC 3339); of a pull secret: when each of them does."""

ISSUER = PREFIX + "issuer"
"""Label of a source Secret: the issuer that writes it."""

ISSUED, GENERATION = PREFIX + "issued", PREFIX + "generation"
HANDLE, EARLIER = PREFIX + "handle", PREFIX + "earlier"
"""Annotations of such a Secret: when its credential was minted; how many were before; what names it at the issuer; and
those before that are not taken away yet.
"""

NAMESPACE_UID = PREFIX + "namespace-uid"
"""Annotation of a pull secret: the UID of the namespace that it was written for."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "pullsecret-webhook"
"""Value of the managed-by label, and our field manager in server-side apply."""

DOCKERCONFIG_TYPE = "kubernetes.io/dockerconfigjson"
DOCKERCONFIG_KEY = ".dockerconfigjson"
DOCKERCFG_TYPE = "kubernetes.io/dockercfg"
DOCKERCFG_KEY = ".dockercfg"
"""The older format, which the kubelet takes as well."""

ENFORCE_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
"""Values of that annotation that the API server reads as true."""
MIRROR = "kubernetes.io/config.mirror"
APPLIED_BY_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"
APPLIED_BY_HELM = "meta.helm.sh/release-name"
"""Annotations of what is compared with its manifest each time that this is applied."""

REPLICAS = "app.kubernetes.io/name=pullsecret-webhook,app.kubernetes.io/component=webhook"
"""The selector of the replicas' pods, which the chart labels so."""

ISSUER_REPLICAS = "app.kubernetes.io/name=pullsecret-webhook,app.kubernetes.io/component=issuer"
"""The same of the pods that issue; the Lease says which of them does."""
ISSUER_LEASE = "pullsecret-webhook-issuer"
ISSUER_CHECKS = PREFIX + "issuer-checks"
"""Annotation of that Lease: what the last check of each issuer came to."""

REPLICA_LEASES = "pullsecret-webhook-replica-"
"""What the names of the Leases begin with by which the replicas share out their work; a number follows."""

REGISTRY_AUTH = "pullsecret-webhook-registry-auth"
REGISTRY_AUTH_REPLICAS = "app.kubernetes.io/name=pullsecret-webhook,app.kubernetes.io/component=registry-auth"
"""The Deployment of the token service of the platform's own registry, and the selector of its pods."""

CHECKS_SECRET = "pullsecret-webhook-checks"  # noqa: S105  # an object's name
"""The Secret in the release namespace in which replicas keep what registries said about credentials."""

TEMPLATES_ENTRY = "templates.pullsecret-webhook.io"
"""The chart's entry for objects with a template, beside the one for pods (`tls.webhook` in the configuration)."""

SAFETY_NET = "pullsecret-webhook-safety-net"
"""The chart's ServiceAccount whose annotation the safety net reads."""
REFUSING = PREFIX + "refusing"
"""The annotation: the namespaces in which an account refuses the reference, with a comma before and after each."""

WRITE_POLICY = "pullsecret-webhook-writes"
"""The chart's ValidatingAdmissionPolicy on what our account writes."""

ISSUER_ACCOUNT = ISSUER_POLICY = "pullsecret-webhook-issuer"
"""The account of the pods that issue, and the chart's ValidatingAdmissionPolicy on what it writes."""


def is_ours(labels: Mapping[str, str] | None) -> bool:
    """Did the webhook write the object with these labels? It overwrites and deletes no others."""
    return labels is not None and labels.get(MANAGED_BY) == MANAGER
