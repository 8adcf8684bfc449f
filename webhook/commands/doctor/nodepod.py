"""The probe on a node: a pod of the webhook's own image, for as long as the look takes.

A pod on the node's own network has the node's resolvers (`dnsPolicy: Default`) and the kubelet's copy of the node's
hosts file, without a mount and without a privilege. It has no credential: neither an account's nor a registry's.
"""

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.commands.doctor import nodefacts, ownimage
from webhook.commands.doctor.evidence import Probed, Request
from webhook.commands.doctor.ownimage import OwnImage
from webhook.commands.doctor.packed import UnreadableError, unpacked
from webhook.core.errors import PullsecretError
from webhook.core.names import DISABLED, INJECT, MANAGED_BY, MANAGER
from webhook.core.pulls import text
from webhook.core.shown import command, quoted
from webhook.core.wire import Unreadable
from webhook.kube.cluster import FORBIDDEN, ClusterError, Meta, decode, is_name

START_SECONDS, RUN_SECONDS = 20.0, 30.0
"""How long the pod may take to start, and then to end: a look takes 20 seconds at most."""
LIFE_SECONDS = 60
"""After which the kubelet ends the pod, if nobody deletes it."""
QUIET_SECONDS, POLL_SECONDS = 2.0, 0.3
LATE_SECONDS = (0.5, 1.0)
"""After which a pod is looked for again that may have been created."""
MAX_REQUEST_BYTES = 64 * 1024
"""The request is an argument of the container's process, which Linux bounds to twice as much."""
MESSAGE_FILE = "/dev/termination-log"
CONTAINER, COMPONENT = "probe", "probe"
_LEVEL = re.compile(r'violates PodSecurity "(baseline|restricted):[\w.-]{1,20}"', re.ASCII)
_QUOTA = re.compile(r"exceeded quota: ([a-z0-9.-]{1,253})", re.ASCII)


class NoProbeError(PullsecretError):
    """Nothing was seen from the node: why, and what to do. What is known without it stays true."""


class _Terminated(msgspec.Struct, frozen=True, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class _Waiting(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _State(msgspec.Struct, frozen=True):
    waiting: _Waiting | None = None
    running: dict[str, Any] | None = None
    terminated: _Terminated | None = None


class _ProbeStatus(msgspec.Struct, frozen=True):
    state: _State = _State()


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    container_statuses: tuple[_ProbeStatus, ...] | None = None


class _Pod(msgspec.Struct):
    metadata: Meta
    status: _PodStatus = _PodStatus()

    @property
    def state(self) -> _State:
        return next((one.state for one in self.status.container_statuses or ()), _State())


_POD = msgspec.json.Decoder(_Pod)


async def _image(view: ClusterView, node: str) -> OwnImage:
    """For a node on which it can run. Raises NoProbeError."""
    try:
        facts = await nodefacts.read(view, node)
        if facts is not None and (why := nodefacts.unfit(node, facts)):
            raise NoProbeError(why)
        return await ownimage.read(view, node)
    except PullsecretError as e:
        raise NoProbeError(str(e)) from None


async def from_node(
    view: ClusterView, node: str, request: Request, *, namespace: str | None = None, voice: Callable[[str], None]
) -> Probed:
    """What the node sees. `namespace`: of the pod, if not the release's. `voice`: hears what is waited for.

    The pod is deleted, whatever happens. Raises NoProbeError.
    """
    argument = msgspec.json.encode(request).decode()
    if len(argument.encode()) > MAX_REQUEST_BYTES:
        raise NoProbeError("the CA certificates for the registry are too many to be given to a probe")
    space = view.config.namespace if namespace is None else namespace
    if not is_name(space):
        raise NoProbeError(f"{quoted(space)} is not a valid name of a namespace")
    probe = _Probe(view, node, space, await _image(view, node), voice)
    try:
        await probe.create(argument)
        message = await probe.end()
    finally:
        await asyncio.shield(probe.delete())
    try:
        return unpacked(message, request)
    except UnreadableError as e:
        raise NoProbeError(f"what the probe on node {node} has left cannot be used: {e}") from None


class _Probe:
    """Its name is made here, so that it is deleted also if the answer to its creation is lost."""

    def __init__(
        self, view: ClusterView, node: str, namespace: str, image: OwnImage, voice: Callable[[str], None]
    ) -> None:
        self._cluster, self._node, self._namespace, self._image = view.cluster, node, namespace, image
        self._release, self._voice = view.config.namespace, voice
        self._name, self._uid, self._may_be_there = f"pullsecret-probe-{secrets.token_hex(6)}", "", False
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    async def create(self, argument: str) -> None:
        self._may_be_there = True
        try:
            raw = await self._cluster.call("POST", self._pods, body=self._pod(argument), within=15.0)
            self._uid = (await decode(_POD, raw)).metadata.uid
        except ClusterError as e:
            self._may_be_there = e.status == 0
            raise NoProbeError(self._refused(e)) from None
        except Unreadable as e:
            raise NoProbeError(f"the API server's answer about the probe's pod cannot be used ({e})") from None

    def _refused(self, e: ClusterError) -> str:
        """The server's text about this pod: nothing in the pod is secret."""
        space, other = self._namespace, "name another namespace for it with --probe-namespace, such as kube-system"
        if (level := _LEVEL.search(e.message)) is not None:
            label = "pod-security.kubernetes.io/enforce"
            return (
                f"the namespace {space} takes no pod on a node's own network: its Pod Security Standard is {level[1]} "
                f"(label {label}, or the cluster's default); {other}"
            )
        if (quota := _QUOTA.search(e.message)) is not None:
            return f"the ResourceQuota {quota[1]} in {space} leaves no room for the probe's pod; {other}"
        if e.status == 404:
            return f"there is no namespace {space} for the probe's pod"
        if e.message and not (e.status == FORBIDDEN and " may not " in str(e)):  # a policy or a webhook, not RBAC
            return f"the API server refuses the probe's pod in {space}: {quoted(e.message)}"
        return f"the probe's pod in {space} cannot be created ({e})"

    async def end(self) -> str:
        """The message with which it ends."""
        clock = asyncio.get_running_loop().time
        began, said, started = clock(), False, 0.0
        while True:
            pod = await self._read()
            state, now = pod.state, clock()
            if state.terminated is not None:
                return self._message(state.terminated)
            if pod.status.phase == "Failed":  # the kubelet did not take it, or its time was up
                why = quoted(pod.status.message or pod.status.reason or "it does not say why")
                raise NoProbeError(f"the kubelet of node {self._node} refuses the probe's pod: {why}")
            started = started or (now if state.running is not None else 0.0)
            if not started and now - began > START_SECONDS:
                raise NoProbeError(self._unstarted(state))
            if started and now - started > RUN_SECONDS:
                raise NoProbeError(
                    f"the probe on node {self._node} has started, and did not end in {RUN_SECONDS:.0f} s"
                )
            if not said and now - began > QUIET_SECONDS:
                self._voice(f"waiting for the probe on node {self._node} (pod {self._name} in {self._namespace})")
                said = True
            await asyncio.sleep(POLL_SECONDS)

    async def _read(self) -> _Pod:
        try:
            return await decode(_POD, await self._cluster.call("GET", f"{self._pods}/{self._name}"))
        except ClusterError as e:
            why = "somebody has deleted it" if e.status == 404 else str(e)
            raise NoProbeError(f"the probe's pod {self._name} in {self._namespace} is lost ({why})") from None
        except Unreadable as e:
            raise NoProbeError(f"the probe's pod {self._name} in {self._namespace} cannot be read ({e})") from None

    def _message(self, ended: _Terminated) -> str:
        if ended.exit_code == 0 and ended.message:
            return ended.message
        why = quoted(ended.message or ended.reason)
        raise NoProbeError(f"the probe on node {self._node} ended with status {ended.exit_code}: {why}")

    def _unstarted(self, state: _State) -> str:
        """Its own text is the kubelet's: perhaps the fault that is looked for."""
        what, node, waiting = (
            f"the probe did not start on node {self._node} in {START_SECONDS:.0f} s",
            self._node,
            state.waiting,
        )
        if waiting is None:
            return f"{what}: the kubelet there has not taken its pod up; see kubectl describe node {node}"
        if waiting.reason in ("ErrImagePull", "ImagePullBackOff"):
            image = f"its image {quoted(self._image.name)}, the webhook's own, cannot be pulled there"
            missing = self._image.pull_secrets and self._namespace != self._release
            hint = f"; its pull secret is in {self._release}, and perhaps not in {self._namespace}" if missing else ""
            return f"{what}: {image}: {text(waiting.message)}{hint}"
        if waiting.reason == "ContainerCreating":
            return f"{what}: perhaps the image {quoted(self._image.name)} is being pulled; try again in a minute"
        return f"{what}: {quoted(waiting.reason)}: {text(waiting.message)}"

    async def delete(self) -> None:
        """Without grace: it has nothing to finish."""
        if not self._may_be_there:
            return
        body: dict[str, Any] = {"gracePeriodSeconds": 0}
        if self._uid:
            body["preconditions"] = {"uid": self._uid}
        # A creation whose answer nobody waited for may still be under way.
        for pause in (0.0,) if self._uid else (0.0, *LATE_SECONDS):
            await asyncio.sleep(pause)
            try:
                await self._cluster.call("DELETE", f"{self._pods}/{self._name}", body=body, within=15.0)
            except ClusterError as e:
                if e.status in (404, 409):  # 409: another pod has its name by now
                    continue
                how = command("kubectl delete pod {} -n {}", self._name, self._namespace)
                self._voice(
                    f"the probe's pod could not be deleted ({e}); it ends by itself within a minute; then: {how}"
                )
            return

    def _pod(self, argument: str) -> dict[str, Any]:
        limits = {"cpu": "1", "memory": "128Mi"}
        container = {
            "name": CONTAINER,
            "image": self._image.name,
            "imagePullPolicy": "IfNotPresent",
            "args": ["probe", "--to", MESSAGE_FILE, argument],
            "terminationMessagePath": MESSAGE_FILE,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": limits},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        # The release's selectors must not take it for a replica, so it has neither its name nor its instance.
        labels = {INJECT: DISABLED, MANAGED_BY: MANAGER, "app.kubernetes.io/component": COMPONENT}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self._name, "labels": labels},
            "spec": {
                "nodeName": self._node,
                "hostNetwork": True,
                "dnsPolicy": "Default",
                "containers": [container],
                "imagePullSecrets": [{"name": name} for name in self._image.pull_secrets],
                "restartPolicy": "Never",
                "activeDeadlineSeconds": LIFE_SECONDS,
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "tolerations": [{"operator": "Exists"}],
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "runAsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            },
        }
