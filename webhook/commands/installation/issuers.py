"""The pods that issue credentials, where the configuration has issuers: do they run, does one of them issue, may they
do what they must, do their issuers work, and for whom do they fail?

What an issuer signs or logs in with is only in those pods. So it is they who check that (webhook/issuers/checking.py),
and what they found is read here.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from webhook.commands import health, issuedby
from webhook.commands.cluster_view import ClusterView
from webhook.commands.installation import replicas
from webhook.commands.installation.checklist import Check
from webhook.core import issuerchecks
from webhook.core.errors import PullsecretError
from webhook.core.issuerchecks import EVERY, MAX_WHY_BYTES, Checked
from webhook.core.names import ISSUER_ACCOUNT, ISSUER_CHECKS, ISSUER_LEASE, ISSUER_REPLICAS
from webhook.core.shown import counted, few, quoted
from webhook.core.wire import Unreadable
from webhook.kube import preflight
from webhook.kube.lease import DURATION_SECONDS, Held, held
from webhook.kube.recent_events import RecentWarnings, recent_warnings

SECTION, ROLLOUT = "Issuers", "issuer replicas"
CLOCKS = timedelta(minutes=1)
"""By so much the clock here may differ from that of a node."""
_OWNERS = "owners of {}"
_CHECK = (
    "to check it now: kubectl -n {} exec deploy/"
    + ISSUER_ACCOUNT
    + " -- pullsecret issue --config /etc/pullsecret/config.yaml --check"
)
_SEE = "see kubectl logs -n {} -l " + ISSUER_REPLICAS


async def checks(view: ClusterView, now: datetime) -> AsyncIterator[Check]:
    config = view.config
    try:
        found = await replicas.deployment(view.cluster, config, ISSUER_ACCOUNT)
        names = SECTION, ROLLOUT, "issuer pods"
        for one in await replicas.of_others(view.cluster, config, found, ISSUER_ACCOUNT, ISSUER_REPLICAS, names):
            yield one
    except PullsecretError as e:
        yield Check(SECTION, ROLLOUT, "unknown", str(e))
    lease, unread = None, ""
    try:
        lease = await held(view.cluster, config.namespace, ISSUER_LEASE)
        yield leader(lease, now, config.namespace)
    except (PullsecretError, Unreadable) as e:
        unread = f"the Lease {ISSUER_LEASE} cannot be read"
        yield Check(SECTION, "leader", "unknown", f"{unread} ({e})")
    yield await _rights(view)
    last = issuerchecks.read(lease.annotations.get(ISSUER_CHECKS, "")) if lease is not None else {}
    for model in config.issuers:
        yield (
            Check(SECTION, model.called, "unknown", unread)
            if unread
            else answers(model.called, last.get(model.called), now, config.namespace)
        )
    hidden = list[str]()
    try:
        warnings = await recent_warnings(view.cluster, config, config.namespace, now, hidden.append)
        if warnings.not_issued:
            issuedby.drop_what_is_over(warnings, await view.issued())
    except PullsecretError as e:
        hidden.append(str(e))
    for model in config.issuers:
        yield (
            Check(SECTION, _OWNERS.format(model.called), "unknown", f"{hidden[0]} cannot be listed")
            if hidden
            else owners(model.called, warnings)
        )


def leader(lease: Held | None, now: datetime, namespace: str) -> Check:
    name, hint = "leader", _SEE.format(namespace)
    if lease is None or lease.renewed is None:
        return Check(SECTION, name, "wrong", f"no pod has taken the Lease {ISSUER_LEASE} yet", hint)
    if not lease.holder:
        return Check(SECTION, name, "wrong", "the pod that issued has ended, and no other one issues", hint)
    if now - lease.renewed > timedelta(seconds=DURATION_SECONDS) + CLOCKS:
        why = f"{quoted(lease.holder)} issued last, and has not been heard of since {lease.renewed:%Y-%m-%d %H:%M}"
        return Check(SECTION, name, "wrong", why, hint)
    return Check(SECTION, name, "right", f"{quoted(lease.holder)} issues")


async def _rights(view: ClusterView) -> Check:
    name, where = "rights", f"the service account {ISSUER_ACCOUNT} in {view.config.namespace}"
    try:
        needed = preflight.needs_to_issue(view.config, ISSUER_LEASE)
        refused = [str(right) for right in needed if not await health.allowed(view, ISSUER_ACCOUNT, right)]
    except PullsecretError as e:
        return Check(SECTION, name, "unknown", str(e))
    if refused:
        return Check(SECTION, name, "wrong", f"{where} may not {', '.join(few(refused))}", "upgrade the release")
    return Check(SECTION, name, "right", f"{where} may do what it must")


def answers(called: str, last: Checked | None, now: datetime, namespace: str) -> Check:
    """By its last check, which is made where its keys and logins are. Others may have written what is read here."""
    again = _CHECK.format(namespace)
    if last is None:
        return Check(SECTION, called, "unknown", "no pod says yet that it was checked", again)
    asked = f"checked at {last.at:%Y-%m-%d %H:%M}"
    if abs(now - last.at) > 2 * EVERY:
        return Check(SECTION, called, "unknown", f"last {asked}", again)
    why = f"{asked}: {quoted(last.why, MAX_WHY_BYTES)}"
    if last.result == "fails":
        return Check(SECTION, called, "wrong", why, f"the page of its kind has what to do; {again}")
    if last.result == "unknown":
        return Check(SECTION, called, "unknown", why)
    return Check(SECTION, called, "right", f"works; {asked}")


def owners(called: str, warnings: RecentWarnings) -> Check:
    """By what it was last told to have done; nothing is minted to find out."""
    name = _OWNERS.format(called)
    failing = [by[called] for by in warnings.not_issued.values() if called in by]
    if failing:
        newest = max(failing, key=lambda one: one.at)
        why = f"it gives {counted(len(failing), 'owner')} no new credential; {newest}"
        return Check(SECTION, name, "warning", why, "see IssueFailed in docs/troubleshooting.md")
    return Check(SECTION, name, "right", "no Event of late says that one gets no new credential")
