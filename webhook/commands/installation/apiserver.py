"""The API server: does it answer, is it new enough, and do its clock and ours agree?"""

import re
from datetime import UTC, datetime

import msgspec

from webhook.commands.installation.checklist import Check, Result
from webhook.core.shown import shown
from webhook.core.wire import Unreadable
from webhook.kube.cluster import Cluster, ClusterError, decode

SECTION = "API server"
OLDEST = 1, 30
"""As Chart.yaml's `kubeVersion` says, which a test compares."""
AHEAD_SECONDS, WRONG_SECONDS = 5.0, 60.0
"""Seconds by which two clocks may differ; beyond the second, times in certificates mean something else."""
_VERSION = re.compile(r"v(\d{1,3})\.(\d{1,3})")


class _Version(msgspec.Struct):
    git_version: str = msgspec.field(default="", name="gitVersion")


async def checks(cluster: Cluster) -> list[Check]:
    """Raises ClusterError when there is no answer."""
    raw = await cluster.call("GET", "/version")
    seconds = (cluster.now() - datetime.now(UTC)).total_seconds()
    try:
        text = (await decode(msgspec.json.Decoder(_Version), raw)).git_version
    except Unreadable:
        text = ""
    return [version(text, cluster.address), clock(seconds)]


def version(text: str, address: str) -> Check:
    oldest = ".".join(map(str, OLDEST))
    if (found := _VERSION.match(text)) is None:
        return Check(SECTION, "version", "unknown", f"{address} does not say which version of Kubernetes it is")
    if (int(found[1]), int(found[2])) < OLDEST:
        why = f"{address} is Kubernetes {shown(text, 40)}; the chart needs {oldest} or newer"
        return Check(SECTION, "version", "wrong", why, "upgrade the cluster")
    return Check(SECTION, "version", "right", f"{shown(text, 40)} at {address}")


def clock(ahead: float) -> Check:
    """`ahead`: by how many seconds the API server's clock is ahead of the one here."""
    result = agreement(ahead)
    if result == "right":
        return Check(SECTION, "clock", result, "as here")
    hint = "compare both with a third one, and let the wrong one be set by NTP"
    return Check(SECTION, "clock", result, f"it is {apart(ahead)} the one here", hint)


def agreement(ahead: float) -> Result:
    """Of two clocks, one of which is so many seconds ahead."""
    seconds = abs(ahead)
    return "right" if seconds <= AHEAD_SECONDS else "warning" if seconds <= WRONG_SECONDS else "wrong"


def apart(ahead: float) -> str:
    return f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'}"


async def resources(cluster: Cluster, group_version: str) -> frozenset[str] | None:
    """What it serves of a group, such as `apps/v1`. None: it does not know the group."""
    try:
        raw = await cluster.call("GET", f"/apis/{group_version}")
        found = await decode(msgspec.json.Decoder(_Resources), raw)
    except ClusterError as e:
        if e.status == 404:
            return None
        raise
    return frozenset(one.name for one in found.resources)


class _Resource(msgspec.Struct):
    name: str = ""


class _Resources(msgspec.Struct):
    resources: list[_Resource] = []
