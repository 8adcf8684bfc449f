"""Where each kind used in the tests lives in the API."""

from dataclasses import dataclass

from controlplane.errors import HarnessError

_NAMESPACED = {
    "v1": {
        "ConfigMap": "configmaps",
        "Pod": "pods",
        "ReplicationController": "replicationcontrollers",
        "ResourceQuota": "resourcequotas",
        "Secret": "secrets",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "apps/v1": {
        "DaemonSet": "daemonsets",
        "Deployment": "deployments",
        "ReplicaSet": "replicasets",
        "StatefulSet": "statefulsets",
    },
    "batch/v1": {"CronJob": "cronjobs", "Job": "jobs"},
    "coordination.k8s.io/v1": {"Lease": "leases"},
    "discovery.k8s.io/v1": {"EndpointSlice": "endpointslices"},
    "events.k8s.io/v1": {"Event": "events"},
    "helm.toolkit.fluxcd.io/v2": {"HelmRelease": "helmreleases"},
    "kustomize.toolkit.fluxcd.io/v1": {"Kustomization": "kustomizations"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "rbac.authorization.k8s.io/v1": {"Role": "roles", "RoleBinding": "rolebindings"},
    "source.toolkit.fluxcd.io/v1": {"OCIRepository": "ocirepositories"},
}
_CLUSTER = {
    "v1": {"Namespace": "namespaces", "Node": "nodes"},
    "admissionregistration.k8s.io/v1": {
        "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
        "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
        "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
        "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
        "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
    },
    "rbac.authorization.k8s.io/v1": {"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"},
}


@dataclass(frozen=True)
class Resource:
    version: str  # as in apiVersion
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
        """Without a namespace the path of a namespaced kind spans all of them, which only a list may."""
        words = ["/api" if "/" not in self.version else "/apis", self.version]
        if self.namespaced and namespace is not None:
            words += ["namespaces", namespace]
        return "/".join([*words, self.plural, *(word for word in (name, sub) if word is not None)])


def resource(kind: str) -> Resource:
    try:
        return _KINDS[kind]
    except KeyError:
        raise HarnessError(f"unknown kind {kind!r}: add it to {__name__}, or use Api.raw") from None


_KINDS = {
    kind: Resource(version, kind, plural, namespaced)
    for table, namespaced in ((_NAMESPACED, True), (_CLUSTER, False))
    for version, kinds in table.items()
    for kind, plural in kinds.items()
}
