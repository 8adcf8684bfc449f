"""The pods of the webhook and of the chart's other Deployments: is it rolled out, and what keeps a pod from running?"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata

import msgspec

from webhook.commands.installation.checklist import Check
from webhook.config.models import Config
from webhook.core import pulls
from webhook.core.errors import PullsecretError
from webhook.core.names import REPLICAS
from webhook.core.shown import counted, few, quoted, shown, some
from webhook.core.wire import Unreadable
from webhook.kube.cluster import Cluster, ClusterError, Meta, decode
from webhook.kube.listing import listed

SECTION = "Webhook"
MAX_SAID_CHARS = 300
_VERSION = "app.kubernetes.io/version"


class _Meta(Meta, rename="camel"):
    generation: int = 0


class _Container(msgspec.Struct, frozen=True):
    image: str = ""


class _SecretVolume(msgspec.Struct, frozen=True, rename="camel"):
    secret_name: str = ""


class _Volume(msgspec.Struct, frozen=True):
    name: str = ""
    secret: _SecretVolume | None = None


class _PodSpec(msgspec.Struct, frozen=True):
    containers: list[_Container] = []
    volumes: list[_Volume] | None = None


class _Template(msgspec.Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


class _Spec(msgspec.Struct, frozen=True):
    replicas: int = 1
    template: _Template = _Template()


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    conditions: list[_Condition] | None = None


class Deployment(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def image(self) -> str:
        return next((one.image for one in self.spec.template.spec.containers), "")

    def secret_of(self, volume: str) -> str:
        """The Secret whose files are this volume. Empty: there is none."""
        volumes = self.spec.template.spec.volumes or ()
        return next((one.secret.secret_name for one in volumes if one.name == volume and one.secret), "")


class _Waiting(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _Terminated(msgspec.Struct, frozen=True, rename="camel"):
    reason: str = ""
    exit_code: int = 0


class _State(msgspec.Struct, frozen=True):
    waiting: _Waiting | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    state: _State = _State()
    last_state: _State = _State()
    restart_count: int = 0


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    conditions: list[_Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None


class Pod(msgspec.Struct):
    metadata: Meta
    status: _PodStatus = _PodStatus()

    @property
    def trouble(self) -> str:
        """What keeps it from running."""
        for one in self.status.conditions or ():
            if one.type == "PodScheduled" and one.status == "False":
                return f"has no node: {shown(one.message, MAX_SAID_CHARS)}"
        for container in self.status.container_statuses or ():
            waiting = container.state.waiting
            if waiting is None or waiting.reason in ("ContainerCreating", "PodInitializing"):
                continue
            if pulls.is_stuck(waiting.reason, waiting.message):
                return f"cannot pull its image: {pulls.end(waiting.message)}"
            return f"waits ({shown(waiting.reason, 60)}): {_ended(container) or shown(waiting.message, MAX_SAID_CHARS)}"
        return ""

    @property
    def restarts(self) -> str:
        found = [one for one in self.status.container_statuses or () if one.restart_count]
        return f"restarted {counted(found[0].restart_count, 'time')}: {_ended(found[0])}" if found else ""


def _ended(container: _ContainerStatus) -> str:
    ended = container.last_state.terminated
    return f"it ended with {ended.exit_code} ({shown(ended.reason, 60)})" if ended is not None else ""


async def deployment(cluster: Cluster, config: Config, name: str = "") -> Deployment | None:
    """The webhook's: the chart gives it the name of the Service; or the one of this name. None: there is none. Raises
    PullsecretError.
    """
    name = name or config.tls.service
    try:
        raw = await cluster.call("GET", f"/apis/apps/v1/namespaces/{config.namespace}/deployments/{name}", within=30.0)
        return await decode(msgspec.json.Decoder(Deployment), raw)
    except (ClusterError, Unreadable) as e:
        if isinstance(e, ClusterError) and e.status == 404:
            return None
        raise PullsecretError(f"the Deployment {name} in {config.namespace} cannot be read ({e})") from None


async def checks(cluster: Cluster, config: Config, found: Deployment | None) -> list[Check]:
    """Raises PullsecretError."""
    done = rollout(found, config)
    if found is None:
        return [done]
    there = await pods_of(cluster, config, REPLICAS)
    return [done, version(found, metadata.version("pullsecret-webhook")), pods(there, config.namespace)]


async def of_others(
    cluster: Cluster, config: Config, found: Deployment | None, called: str, selector: str, names: tuple[str, str, str]
) -> list[Check]:
    """Of the Deployment that is `called` so. `names`: of the section, and of the two checks. Raises PullsecretError."""
    section, of_rollout, of_pods = names
    done = [replace(rollout(found, config, called), section=section, name=of_rollout)]
    if found is not None:
        there = await pods_of(cluster, config, selector)
        done.append(replace(pods(there, config.namespace), section=section, name=of_pods))
    return done


async def pods_of(cluster: Cluster, config: Config, selector: str) -> list[Pod]:
    """Raises PullsecretError."""
    path, what = f"/api/v1/namespaces/{config.namespace}/pods", f"pods in {config.namespace}"
    return [one async for one in listed(cluster, what, path, Pod, query={"labelSelector": selector})]


def rollout(found: Deployment | None, config: Config, called: str = "") -> Check:
    """`called`: the Deployment; the default is the webhook's."""
    called = called or config.tls.service
    name, where = "replicas", f"the Deployment {called} in {config.namespace}"
    if found is None:
        return Check(SECTION, name, "wrong", f"{where} is missing", "upgrade the release")
    wanted, status = found.spec.replicas, found.status
    conditions = {one.type: one for one in status.conditions or ()}
    if (failure := conditions.get("ReplicaFailure")) is not None and failure.status == "True":
        why = f"the API server refuses the pods of {where}: {quoted(failure.message, MAX_SAID_CHARS)}"
        forbidden = "PodSecurity" in failure.message
        hint = (
            "with hostNetwork the namespace must allow the level privileged"
            if forbidden
            else "remove what refuses them"
        )
        return Check(SECTION, name, "wrong", why, hint)
    look = f"kubectl get pods -n {config.namespace}"
    counts = f"{status.ready_replicas} of {wanted} ready"
    if wanted == 0 or status.ready_replicas == 0:
        hint = f"kubectl scale deployment {called} -n {config.namespace} --replicas=2" if wanted == 0 else look
        return Check(SECTION, name, "wrong", counts, f"see {hint}" if wanted else hint)
    if (progress := conditions.get("Progressing")) is not None and progress.status == "False":
        return Check(SECTION, name, "wrong", f"{counts}; the newest version does not start", f"see {look}")
    if status.observed_generation < found.metadata.generation or status.updated_replicas < wanted:
        why = f"{counts}; {status.updated_replicas} of the newest version: is an upgrade under way?"
        return Check(SECTION, name, "warning", why, f"see {look}")
    return Check(SECTION, name, "warning" if status.ready_replicas < wanted else "right", counts)


def version(found: Deployment, ours: str) -> Check:
    """`ours`: of this command."""
    theirs = (found.metadata.labels or {}).get(_VERSION, "")
    why = ", ".join(filter(None, (shown(theirs, 60), f"image {quoted(found.image)}")))
    if theirs and theirs != ours:
        hint = f"use the command of that version: this one is {ours}, and may look for what is not there"
        return Check(SECTION, "version", "warning", why, hint)
    return Check(SECTION, "version", "right", why)


def pods(there: Sequence[Pod], namespace: str) -> Check:
    staying = [one for one in there if one.metadata.deletion_timestamp is None]
    trouble = [f"{one.metadata.name} {why}" for one in staying if (why := one.trouble)]
    if trouble:
        pulling = "cannot pull its image" in trouble[0]
        name = next(one.metadata.name for one in staying if one.trouble)
        look = (
            f"pullsecret doctor pod {name} -n {namespace}" if pulling else f"kubectl describe pod {name} -n {namespace}"
        )
        return Check(SECTION, "pods", "wrong", "; ".join(few(trouble)), f"see {look}")
    if again := [f"{one.metadata.name} {why}" for one in staying if (why := one.restarts)]:
        name = next(one.metadata.name for one in staying if one.restarts)
        hint = f"see kubectl logs {name} -n {namespace} --previous; after OOMKilled, raise resources.limits.memory"
        return Check(SECTION, "pods", "warning", "; ".join(few(again)), hint)
    return Check(SECTION, "pods", "right", some([one.metadata.name for one in staying]) or "there are none")
