"""The platform that is attacked, and who is on it: alice, the victim; mallory, admin in namespaces of her own and
nowhere else; nsmaker, who may do all with namespaces and assigns no owner."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, stands
from controlplane.waiting import until
from support import planted

VICTIM = "alice-a"
_OWNER = "pullsecret-webhook/owner"
_numbers = itertools.count()


@dataclass
class Platform:
    cluster: ControlPlane
    token: str = field(default_factory=planted.token, repr=False)
    """alice's."""
    alice: Api = field(init=False)
    mallory: Api = field(init=False)
    nsmaker: Api = field(init=False)

    def __post_init__(self) -> None:
        api = self.cluster.api
        deployed.install(self.cluster)
        self.alice, self.mallory, self.nsmaker = map(self.cluster.user, ("alice", "mallory", "nsmaker"))
        rules = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}]
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules}
        api.apply(role | {"metadata": {"name": "nsmaker"}})
        self._bind("ClusterRoleBinding", "nsmaker", "nsmaker", None)
        deployed.give(api, "alice", self.token)
        deployed.give(api, "mallory", planted.token())
        self._owned(VICTIM, "alice", "alice")

    @contextmanager
    def space(self, *, owner: str | None = "mallory", stands: bool = False) -> Iterator[str]:
        """A namespace of mallory's; of nobody's without `owner`; `stands`: not before the pull secret does.

        What is in it at the end is gone at once, not when controllers come to it.
        """
        name = f"mallory-{next(_numbers)}"
        self._owned(name, owner, "mallory")
        try:
            if stands:
                until(lambda: self.cluster.api.get("Secret", SECRET, name), "the pull secret", within=10)
            yield name
        finally:
            for plural in ("serviceaccounts", "secrets"):
                self.cluster.api.raw("DELETE", f"/api/v1/namespaces/{name}/{plural}")
            self.cluster.api.delete("Namespace", name)

    @contextmanager
    def spaces(self, count: int, body: Callable[[str], bytes] | None = None) -> Iterator[list[str]]:
        """Many namespaces of nobody's, made by nsmaker, in which mallory may do all. `body`: of each, by its name."""
        names = [f"many-{next(_numbers)}" for _ in range(count)]
        headers = {"Content-Type": "application/json"}
        plain = b'{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"%s"}}'

        def made(name: str) -> None:
            content = body(name) if body else plain.replace(b"%s", name.encode())
            self.nsmaker.raw("POST", "/api/v1/namespaces", content=content, headers=headers)
            self._bind("RoleBinding", "mallory", "admin", name)

        try:
            at_once(partial(made, name) for name in names)
            self._let_in(self.mallory, names[-1])
            yield names
        finally:
            at_once(partial(self.cluster.api.delete, "Namespace", name) for name in names)

    def served(self) -> None:
        """A new namespace of alice's gets its Secret: news still arrive."""
        name = f"alice-new-{next(_numbers)}"
        self.cluster.namespace(name, labels={_OWNER: "alice"})
        stands(self.cluster, name, self.token)
        self.cluster.api.delete("Namespace", name)

    def _owned(self, name: str, owner: str | None, admin: str) -> None:
        self.cluster.namespace(name, labels={_OWNER: owner} if owner else {})
        self._bind("RoleBinding", admin, "admin", name)
        self._let_in({"alice": self.alice}.get(admin, self.mallory), name)

    def _let_in(self, user: Api, namespace: str) -> None:
        """The authorizer hears of a binding a moment later."""

        def reads() -> bool:
            try:
                user.list("Secret", namespace)
            except ApiError:
                return False
            return True

        until(reads, f"the binding in {namespace} holds", within=10)

    def _bind(self, kind: str, user: str, role: str, namespace: str | None) -> None:
        metadata = {"name": user} | ({"namespace": namespace} if namespace else {})
        who = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
        what = {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"}
        obj = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "roleRef": what, "subjects": [who]}
        self.cluster.api.apply(obj | {"metadata": metadata})


def at_once(calls: Iterable[Callable[[], object]], workers: int = 8) -> None:
    """As a tenant's script does it: so many requests on their way at a time."""
    with ThreadPoolExecutor(workers, thread_name_prefix="tenant") as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
