"""What the API server shows of an image that is to be pulled: of a pod's, or of one that somebody names."""

from dataclasses import replace
from datetime import datetime

import msgspec

from webhook.commands import explain, podsecrets, pullevents
from webhook.commands.cluster_view import ClusterView
from webhook.commands.doctor.case import Case
from webhook.commands.explain import SERVED, Explained
from webhook.commands.imagenames import NO_NAMING
from webhook.commands.pods import Pod, Stuck
from webhook.commands.podsecrets import PodSecret
from webhook.commands.pullcause import Cause, FailingPod
from webhook.core.pulls import Said
from webhook.core.wire import Unreadable
from webhook.kube.cluster import AccountObject, ClusterError, decode, is_name

_ACCOUNT = msgspec.json.Decoder(AccountObject)
_HAS_TO_DO_WITH_SECRETS = frozenset({Said.UNSENT, Said.UNAUTHORIZED, Said.FORBIDDEN, Said.NOT_FOUND, Said.UNREADABLE})


async def of_pod(
    view: ClusterView, name: str, within: str, now: datetime
) -> tuple[Pod, tuple[PodSecret, ...], tuple[Case, ...]]:
    """The pod, its pull secrets, and a case for each image that cannot be pulled: one for each image, since all
    containers with it wait for the same. Raises PullsecretError.
    """
    whole = await explain.read_pod(view, name, within)
    pod = whole.pod
    secrets = await podsecrets.read(view, within, pod.spec.pull_secrets)
    about = await explain.of_pod(view, whole, secrets, now)
    account = await _account(view, pod, within)
    failing = {one.container: one for image in about.images for one in image.failing}
    cases: dict[str, Case] = {}
    for stuck in await pullevents.told(view, within, [*pod.stuck()]):
        cases.setdefault(stuck.image, _case(view, stuck, about, failing.get(stuck.container), secrets, account))
    return pod, secrets, tuple(cases.values())


def _case(
    view: ClusterView,
    stuck: Stuck,
    about: Explained,
    failing: FailingPod | None,
    secrets: tuple[PodSecret, ...],
    account: str,
) -> Case:
    case = Case(
        stuck.image,
        about.line.namespace,
        view.config.pull_secret.name,
        pod=stuck.pod,
        container=stuck.container,
        node=stuck.node,
        reason=stuck.reason,
        said=stuck.said,
        words=stuck.words,
        secrets=secrets,
        entries=podsecrets.in_order(secrets, stuck.image),
        account=account,
        owner=about.line.owner or "",
        naming=next((one.naming for one in about.images if one.image == stuck.image), NO_NAMING),
    )
    # A webhook that is not installed is not what is missing.
    if failing is None or stuck.what not in _HAS_TO_DO_WITH_SECRETS or view.unconfigured:
        return case
    return replace(case, cause=failing.cause, why=failing.why, next_step=about.after(failing))


async def of_image(view: ClusterView, image: str, within: str, now: datetime) -> tuple[tuple[PodSecret, ...], Case]:
    """What a new pod of the namespace would have: the pull secrets of its default service account, and ours."""
    about = await explain.namespace(view, within, now)
    ours, line = view.config.pull_secret.name, about.line
    names = [*await _of_account(view, within, "default"), *([] if about.unserved or view.unconfigured else [ours])]
    secrets = await podsecrets.read(view, within, [*dict.fromkeys(names)])
    why = "" if view.unconfigured else about.unserved or line.problem
    cause: Cause | None = "not-served" if why == about.unserved else "no-secret" if not line.registries else None
    cause = cause if why else None
    case = Case(
        image,
        within,
        ours,
        secrets=secrets,
        entries=podsecrets.in_order(secrets, image),
        cause=cause,
        why=why,
        next_step=about.next_step if cause == "no-secret" else SERVED.get(about.unserved, ""),
        owner=line.owner or "",
    )
    return secrets, case


async def _account(view: ClusterView, pod: Pod, within: str) -> str:
    """The service account that the pod has its list from: a pod without a list of its own gets that of its account."""
    account = pod.spec.service_account_name or "default"
    names = await _of_account(view, within, account)
    return account if names and {*names} <= {*pod.spec.pull_secrets} else ""


async def _of_account(view: ClusterView, within: str, account: str) -> list[str]:
    if not is_name(account):
        return []
    try:
        raw = await view.cluster.call("GET", f"/api/v1/namespaces/{within}/serviceaccounts/{account}", within=30.0)
        found = await decode(_ACCOUNT, raw)
    except (ClusterError, Unreadable):
        view.cannot_read(f"the service account {account}")
        return []
    return [one.name for one in found.image_pull_secrets or () if one.name]
