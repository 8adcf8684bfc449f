"""`pullsecret explain`: what the webhook makes of one namespace or one pod, and the one next step."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from webhook.commands import imagenames, issuedby, podsecrets, status
from webhook.commands.cluster_view import NO_OWNER, ClusterView
from webhook.commands.imagenames import NO_NAMING, ImageNames, Naming
from webhook.commands.pods import Pod
from webhook.commands.podsecrets import PodSecret
from webhook.commands.pullcause import Cause, FailingPod
from webhook.commands.verdict import RUNNING, Line
from webhook.core.errors import PullsecretError
from webhook.core.names import DISABLED, INJECT, MIRROR, NAMESPACES, OWNER
from webhook.core.pullsecret import EXCLUDED, OPTED_OUT
from webhook.core.registry import repository
from webhook.core.review import Object
from webhook.core.shown import command, quoted, some
from webhook.core.times import to_the_minute
from webhook.core.wire import Unreadable
from webhook.kube.cluster import ClusterError, decode, is_name

MAX_SAID = 500
"""Characters of the kubelet's words."""
_OF_SECRET = frozenset[Cause]({"no-secret", "refused", "no-entry"})
_POD, _OBJECT = msgspec.json.Decoder(Pod), msgspec.json.Decoder(Object)


class _Created(msgspec.Struct, rename="camel"):
    creation_timestamp: datetime | None = None


class _Registration(msgspec.Struct):
    metadata: _Created


@dataclass(frozen=True, slots=True)
class Image:
    """`entries`: those that match, in the order in which the kubelet tries them: registry and Secret. `naming`: by
    mirrors.
    """

    image: str
    entries: tuple[tuple[str, str], ...]
    failing: tuple[FailingPod, ...] = ()
    naming: Naming = NO_NAMING


@dataclass(frozen=True, slots=True)
class Explained:
    """`rule`: how the owner was found; `unserved`: why the webhook leaves the namespace alone; `webhook`: what is wrong
    with it; `mirrors`: which the owner can use. Of a pod: `reference`, has it the reference, and `no_reference`, why
    not; `secrets`: its pull secrets, and what the kubelet makes of each.
    """

    line: Line
    rule: str
    unserved: str
    webhook: Sequence[str]
    unread: Sequence[str]
    pod: str | None = None
    created: datetime | None = None
    node: str = ""
    reference: bool | None = None
    no_reference: str = ""
    secrets: tuple[tuple[str, str], ...] = ()
    images: tuple[Image, ...] = ()
    pull_secret: str = ""
    mirrors: tuple[str, ...] = ()

    @property
    def needs_a_human(self) -> bool:
        """A pod without the reference needs none if no credential is for its images."""
        line = self.line
        of_pod = any(one.failing for one in self.images) or self.pod in (*line.pods_without, *line.pods_barred)
        return bool(self.webhook or line.problem) or (line.needs_a_human if self.pod is None else of_pod)

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"needs_a_human": self.needs_a_human, "next_step": self.next_step, **asdict(self)}

    @property
    def next_step(self) -> str:
        failing = [one for image in self.images for one in image.failing] if self.pod else [*self.line.pods_failing]
        lacks = self.pod in (*self.line.pods_without, *self.line.pods_barred)
        waits = self.line.problem.endswith(RUNNING) and bool(failing) and failing[0].cause in _OF_SECRET
        if self.webhook and (lacks or waits or not failing or failing[0].cause == "no-reference"):
            return self.webhook[0]  # a pod that is created again before that is mended lacks the reference again
        if failing:
            return self.after(failing[0])
        return self._again(self.pod or "") if lacks else self._mended or "nothing to do"

    @property
    def _mended(self) -> str:
        return BACK if self.line.state == "withdrawn" else self.line.problem

    def _again(self, pod: str) -> str:
        if pod in self.line.pods_barred:
            return f"add {self.pull_secret} to the imagePullSecrets of its service account, then create the pod again"
        told = command("kubectl delete pod {} -n {}", pod, self.line.namespace)
        return f"create the pod again{told and f': {told}, if something makes it anew'}"

    def after(self, one: FailingPod) -> str:
        """The next step for one container."""
        step = self._after(one)
        if any(image.image == one.image and image.naming.mirror for image in self.images):
            return f"{step}{AT_MIRROR.get(one.cause, '')}"
        return step

    def _after(self, one: FailingPod) -> str:
        if one.cause == "no-reference":
            return self._again(one.pod)
        if one.cause == "not-served":
            mistake = self.line.owner is None and self.line.problem
            first = f"correct the namespace ({self.line.problem})" if mistake else SERVED[self.unserved]
            return f"{first}, then create the pod again"
        if one.cause == "no-secret":
            return self._mended or one.why
        if one.cause == "refused" and (self.unserved or self.reference is False):
            return "write a new credential into the pull secrets that the pod has of its own"
        stays = one.cause == "refused" or (one.cause == "no-entry" and not self.line.registries)
        if stays and self.line.state == "wrong" and self.line.problem:
            return self.line.problem  # such as a Secret that is not the webhook's, which no new credential reaches
        words = NEXT[one.cause]
        return words.format(host=quoted(repository(one.image).partition("/")[0]), node=quoted(self.node or "its node"))


_NODE = (
    "mend it on {node}: the kubelet pulls with the node's resolver, routes and certificates, not with those of pods; "
    "pullsecret doctor pod with --node looks from there"
)
BACK = (
    "give the owner a credential again; if nobody took it away on purpose, look at the Events about its source, such "
    "as SourceSecretRemoved in the webhook's namespace"
)
SERVED = {
    NO_OWNER: "give the namespace an owner",
    OPTED_OUT: f"remove the label {INJECT} from the namespace",
    EXCLUDED: "take the namespace out of excludedNamespaces, or give the pod a pull secret of its own",
}
"""What makes the webhook serve a namespace."""
NEXT: dict[Cause, str] = {
    "unreadable-secret": "repair or remove that Secret; the kubelet then tries again by itself",
    "invalid-name": "correct the name of the image",
    "address": f"correct the name of the image if {{host}} is no registry; if it is one, {_NODE}",
    "certificate": _NODE,
    "connection": _NODE,
    "rate-limit": "wait, or give the owner a credential for {host}: registries allow more to those who log in",
    "registry-fails": "wait, or ask those who run {host}",
    "opted-out": f"remove the label {INJECT} from the pod's template, then create the pod again",
    "unknown-owner": (
        "correct the owner of the namespace, or give this owner a source Secret, in the webhook's namespace and with "
        f"the label {OWNER}"
    ),
    "limited": f"add the namespace to the annotation {NAMESPACES} of the source Secret, or give the owner another one",
    "no-entry": "give the owner a credential for {host}, or correct the name of the image",
    "refused": "write a new credential at its source; the kubelet then tries again by itself",
    "denied": "give the credential the right to read this image, or correct the name of the image",
    "not-found": "correct the name of the image or its tag, or give the credential the right to read it",
    "retry": "wait for the kubelet's next try",
    "other": "read what the kubelet says; pullsecret doctor pod knows more of it",
}
_ITS_OWN_NAME = "; or create the pod again: while {}, its images keep their names"
AT_MIRROR: dict[Cause, str] = {
    "certificate": "; or use how: node with nodeCaFile for this mirror, or leave it out of the configuration",
    **dict.fromkeys(
        ("address", "connection", "registry-fails", "rate-limit"), _ITS_OWN_NAME.format("the mirror does not answer")
    ),
    **dict.fromkeys(
        ("refused", "no-entry", "no-secret", "limited"), _ITS_OWN_NAME.format("no credential for the mirror works")
    ),
}
"""What else can be done for an image that was given its name at a mirror."""


async def namespace(view: ClusterView, name: str, now: datetime) -> Explained:
    about, names = await _namespace(view, name, now)
    return replace(about, mirrors=tuple(names.rows))


async def _namespace(view: ClusterView, name: str, now: datetime) -> tuple[Explained, ImageNames]:
    report = await status.run(view, name, now)
    (line,) = report.lines
    found = await view.namespace_object(name)
    seen = view.reader.namespace(found)
    webhook = [one.why for one in report.webhook if one.result == "wrong"]
    names = await imagenames.read(view, seen, now)
    about = Explained(
        line,
        view.rule(found),
        "" if seen.served else view.why_unserved(seen),
        webhook,
        report.unread,
        pull_secret=view.config.pull_secret.name,
    )
    return about, names


async def pod(view: ClusterView, name: str, within: str, now: datetime) -> Explained:
    seen = await read_pod(view, name, within)
    return await of_pod(view, seen, await podsecrets.read(view, within, seen.pod.spec.pull_secrets), now)


@dataclass(frozen=True, slots=True)
class WholePod:
    """`object`: as a review has it."""

    pod: Pod
    object: Object


async def read_pod(view: ClusterView, name: str, within: str) -> WholePod:
    if not (is_name(name) and is_name(within)):
        raise PullsecretError("this is not a valid name of a pod in a namespace")
    try:
        raw = await view.cluster.call("GET", f"/api/v1/namespaces/{within}/pods/{name}", within=30.0)
        return WholePod(await decode(_POD, raw), await decode(_OBJECT, raw))
    except (ClusterError, Unreadable) as e:
        if isinstance(e, ClusterError) and e.status == 404:
            raise PullsecretError(f"there is no pod {name} in namespace {within}") from None
        raise PullsecretError(f"pod {name} in namespace {within} cannot be read ({e})") from None


async def of_pod(view: ClusterView, whole: WholePod, secrets: Sequence[PodSecret], now: datetime) -> Explained:
    """`secrets`: the pod's."""
    seen, name = whole.pod, whole.pod.metadata.name
    about, names = await _namespace(view, seen.metadata.namespace, now)
    failing = [one for one in about.line.pods_failing if one.pod == name]
    reference = view.config.pull_secret.name in seen.spec.pull_secrets
    alone = "" if reference else "the pod has no reference to the pull secret"
    alone = f"the pod's label {INJECT}: {DISABLED} opts it out" if seen.opted_out else alone
    namings = names.of_pod(whole.object, seen.metadata.creation_timestamp, alone)
    images = [
        Image(
            image,
            podsecrets.in_order(secrets, image),
            tuple(one for one in failing if one.image == image),
            namings.get(image, NO_NAMING),
        )
        for image in dict.fromkeys([*seen.images, *(one.image for one in failing)])
    ]
    return replace(
        about,
        pod=name,
        created=seen.metadata.creation_timestamp,
        node=seen.spec.node_name or "",
        reference=reference,
        no_reference="" if reference else await _why_none(view, about, seen),
        secrets=tuple((one.name, podsecrets.WORDS[one.state]) for one in secrets),
        images=tuple(images),
    )


async def _why_none(view: ClusterView, about: Explained, seen: Pod) -> str:
    """The list of a pod is written when it is created, and never changes."""
    if about.unserved:
        return about.unserved
    if seen.opted_out:
        return f"its label {INJECT}: {DISABLED} opts it out"
    if MIRROR in (seen.metadata.annotations or {}):
        return "it is the mirror of a static pod, which the API server does not change"
    if seen.metadata.name in about.line.pods_barred:
        return f"its service account {quoted(seen.spec.service_account_name or 'default')} forbids the Secret"
    name = view.config.tls.webhook_configuration
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}"
    try:
        registration = await decode(msgspec.json.Decoder(_Registration), await view.cluster.call("GET", path))
    except (ClusterError, Unreadable):
        registration = _Registration(_Created())
    since, created = registration.metadata.creation_timestamp, seen.metadata.creation_timestamp
    if since is not None and created is not None and created < since:
        return f"the pod is older than the webhook's registration ({to_the_minute(since)})"
    return "when it was created, the namespace had no owner, or the webhook did not answer"


def text(explained: Explained) -> str:
    line = explained.line
    what = f"pod {explained.pod} in namespace {line.namespace}" if explained.pod else f"namespace {line.namespace}"
    rows = [("webhook", one) for one in explained.webhook]
    rows.append(("owner", f"{quoted(line.owner)}, by {explained.rule}" if line.owner else "none"))
    rows.append(("served", f"no: {explained.unserved}" if explained.unserved else "yes"))
    if not explained.unserved:
        written = f", written {to_the_minute(line.written)}" if line.written else ""
        has = f"; it has {some(line.registries)}" if line.registries else ""
        rows.append(("secret", f"{explained.pull_secret}: {line.state}{written}{has}"))
    rows += [("", one) for one in (line.problem, line.note) if one and one != explained.unserved]
    if explained.pod is not None:
        created = f"created {to_the_minute(explained.created)}" if explained.created else "created"
        rows.append(("pod", f"{created}, on {quoted(explained.node) if explained.node else 'no node yet'}"))
        rows.append(("reference", "yes" if explained.reference else f"no: {explained.no_reference}"))
        rows += [("", f"{quoted(name)}: {words}") for name, words in explained.secrets]
        for image in explained.images:
            rows += _image_rows(image)
    else:
        rows += [("issued", one) for one in issuedby.text(line.issued)]
        rows += [("mirrors", one) for one in explained.mirrors]
        rows += [("pods", one) for one in status.failing_text(line)]
        rows += [("pods", one) for one in status.pods_text(line)]
    if explained.unread:
        rows.append(("not read", f"{'; '.join(explained.unread)}; an administrator can"))
    return "\n".join([what, *(f"  {name:10}{value}" for name, value in rows), f"next step: {explained.next_step}"])


def _image_rows(image: Image) -> list[tuple[str, str]]:
    tried = ", then ".join(f"{quoted(registry)} of {quoted(secret)}" for registry, secret in image.entries)
    rows = [
        ("image", quoted(image.image)),
        *(("", one) for one in image.naming.text),
        ("", f"entries: {tried}" if tried else "its pull secrets have no entry for it"),
    ]
    for one in image.failing:
        rows.append(("", f"the kubelet says: {quoted(one.reason)}: {quoted(one.said, MAX_SAID)}"))
        rows.append(("", f"so: {one.why}"))
    return rows
