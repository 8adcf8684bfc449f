"""What `make demo` tells: the main job, step by step, each step checked before it is printed."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from controlplane import webhook as deployed
from controlplane.api import Api, Object
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.registry import Registry
from controlplane.waiting import until

SECRET = "ghcr-secret"
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: shop, image: "IMAGE"}]
"""


def new_token() -> str:
    return f"ghp_{secrets.token_urlsafe(24)}"


def tell(text: str) -> None:
    print(text, flush=True)


def newest_pod(api: Api, namespace: str) -> Object:
    """Of those that are not going away."""

    def newest() -> Object | None:
        pods = [pod for pod in api.list("Pod", namespace) if "deletionTimestamp" not in pod["metadata"]]
        return max(pods, key=lambda pod: int(pod["metadata"]["resourceVersion"])) if pods else None

    return until(newest, f"a pod in {namespace}")


class Story:
    """`registry` is None without root: then no node pulls, and the story is told as far as the API server."""

    def __init__(self, cluster: ControlPlane, registry: Registry | None) -> None:
        self._cluster, self._registry, self._api = cluster, registry, cluster.api

    def told(self) -> None:
        image = self._push("alice/shop", "1")
        tell("The manifest, which mentions no credentials:\n")
        tell("  " + MANIFEST.replace("IMAGE", image).strip().replace("\n", "\n  ") + "\n")
        deployed.install(self._cluster)
        self._owner("alice")
        self._owner("bob")
        self._cluster.namespace("team-a", labels={"pullsecret-webhook/owner": "alice"})
        self._without(image)
        with deployed.running(self._cluster) as replica:
            deployed.register(self._cluster, replica.port)
            deployed.wait_called(self._api, replica.port, "team-a")
            self._with(image)
            self._second_owner(image)
            self._changed_token()
            self._changed_owner()

    def _without(self, image: str) -> None:
        if self._registry is None:
            tell("1. (Not root: no node here, so nothing is pulled. The API server, its RBAC and policies are real.)")
            return
        self._deploy("team-a", image)
        why = self._refused("team-a")
        asked = [one for one in self._registry.log() if "/alice/shop/manifests/" in one.path and not one.user]
        tell(f"1. Without the webhook:  ErrImagePull  {why}")
        tell(f"                         the registry's log: {asked[0].status}, no user")
        self._api.delete("Deployment", "shop", "team-a", wait=True, options={"propagationPolicy": "Foreground"})

    def _with(self, image: str) -> None:
        tell("2. The webhook is registered. The same manifest again:")
        created = self._deploy("team-a", image)
        tell(f"   patched:    imagePullSecrets: {created['spec']['template']['spec']['imagePullSecrets']}")
        secret = self._secret("team-a")
        auths = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
        tell(f"   the Secret: {SECRET}, keys {list(secret['data'])}, registries {list(auths)}, owner {_owner(secret)}")
        self._runs("team-a", "alice/shop", "alice")

    def _second_owner(self, image: str) -> None:
        self._cluster.namespace("team-b", labels={"pullsecret-webhook/owner": "bob"})
        self._deploy("team-b", image)
        tell(f"3. Bob's namespace has a {SECRET} of its own: owner {_owner(self._secret('team-b'))}.")
        if self._registry is not None:
            tell(f"   Alice's image there:  ErrImagePull  {self._refused('team-b')}")

    def _changed_token(self) -> None:
        before, token = self._secret("team-a"), new_token()
        if self._registry is not None:
            self._registry.set_password("alice", token)
        began = time.monotonic()
        self._owner("alice", token)
        until(lambda: self._secret("team-a")["data"] != before["data"], "the new token is in the namespace", within=10)
        took, after = time.monotonic() - began, self._secret("team-a")
        kept = "the same object" if after["metadata"]["uid"] == before["metadata"]["uid"] else "another object"
        tell(f"4. Alice's token changes: it is in her namespace {took:.1f} s later, in place ({kept}).")
        if self._registry is not None:
            self._deploy("team-a", self._push("alice/shop", "2"))
            self._runs("team-a", "alice/shop", "alice")

    def _changed_owner(self) -> None:
        before = self._secret("team-a")
        self._api.patch("Namespace", "team-a", {"metadata": {"labels": {"pullsecret-webhook/owner": "bob"}}})
        until(lambda: _owner(self._secret("team-a")) == "bob", "bob's Secret is in the namespace", within=10)
        other = self._secret("team-a")["metadata"]["uid"] != before["metadata"]["uid"]
        if not other:
            raise HarnessError("a Secret was updated across owners")
        tell(f"5. The namespace goes to Bob: {SECRET} is a new object, with his token.")
        if self._registry is not None:
            self._api.delete("Pod", self._pod("team-a")["metadata"]["name"], "team-a")
            tell("   A pod of Alice's image does not start any more, though the node has the image:")
            tell(f"   ErrImagePull  {self._refused('team-a')}")

    def _owner(self, name: str, token: str | None = None) -> None:
        token = token or (self._registry.users[name] if self._registry else new_token())
        deployed.give(self._api, name, token)

    def _push(self, repository: str, tag: str) -> str:
        return self._registry.push(repository, tag) if self._registry else f"ghcr.io/{repository}:{tag}"

    def _deploy(self, namespace: str, image: str) -> Object:
        text = MANIFEST.replace("IMAGE", image)
        self._cluster.kubectl("-n", namespace, "apply", "-f", "-", input=text)
        created = self._api.get("Deployment", "shop", namespace)
        assert created is not None
        return created

    def _secret(self, namespace: str) -> Object:
        return until(lambda: self._api.get("Secret", SECRET, namespace), f"{SECRET} in {namespace}", within=10)

    def _pod(self, namespace: str) -> Object:
        return newest_pod(self._api, namespace)

    def _state(self, namespace: str) -> Mapping[str, Any]:
        statuses = self._pod(namespace)["status"].get("containerStatuses") or [{}]
        state: Mapping[str, Any] = statuses[0].get("state", {})
        return state

    def _refused(self, namespace: str) -> str:
        """The first words of why the image is not pulled."""

        def why() -> str | None:
            waiting = self._state(namespace).get("waiting", {})
            return waiting.get("message") if waiting.get("reason") == "ErrImagePull" else None

        message = self._cluster.wait(why, f"the pull in {namespace} is refused", within=60)
        return _short(message)

    def _runs(self, namespace: str, repository: str, user: str) -> None:
        if self._registry is None:
            return
        began, registry = time.monotonic(), self._registry
        image = self._image(namespace)
        self._cluster.wait(self._running(namespace, image), f"the pod in {namespace} runs", within=60)
        pulled = [one for one in registry.log() if f"/{repository}/manifests/" in one.path and one.user == user]
        if not any(one.status == 200 for one in pulled):
            raise HarnessError(f"no pull of {repository} by {user} in the registry's log")
        tell(f"   the pod:    Running after {time.monotonic() - began:.1f} s; the registry's log: 200, user {user}")

    def _image(self, namespace: str) -> str:
        found = self._api.get("Deployment", "shop", namespace)
        assert found is not None
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    def _running(self, namespace: str, image: str) -> Callable[[], bool]:
        def is_running() -> bool:
            pod = self._pod(namespace)
            return pod["spec"]["containers"][0]["image"] == image and "running" in self._state(namespace)

        return is_running


def _owner(secret: Object) -> str:
    return str(secret["metadata"]["annotations"]["pullsecret-webhook/owner"])


def _short(message: str) -> str:
    """The end of a chain of errors says what happened."""
    for known in ("no basic auth credentials", "403 Forbidden", "401 Unauthorized"):
        if known in message:
            return f"... {known}"
    return message[:110]
