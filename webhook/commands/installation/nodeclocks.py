"""Do the clocks of the nodes agree with the API server's? With a wrong one, a kubelet's container runtime takes the
certificates of registries for ended or not yet valid.

Each kubelet renews a Lease every ten seconds and writes its own time into it. The API server notes beside it, in the
managed fields, when by its own clock that was written. So nobody has to look on a node.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from webhook.commands.cluster_view import Manager
from webhook.commands.installation.apiserver import agreement, apart
from webhook.commands.installation.checklist import Check
from webhook.core.errors import PullsecretError
from webhook.core.shown import counted, some
from webhook.kube.cluster import Cluster, Meta
from webhook.kube.listing import listed

SECTION, NAME = "Nodes", "clocks"
FRESH = timedelta(minutes=5)
"""A node that has not renewed its Lease for so long is gone, or has other troubles."""
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class _Meta(Meta, rename="camel"):
    managed_fields: list[Manager] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    renew_time: datetime | None = None


class Lease(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = _Spec()

    def ahead(self, now: datetime) -> float | None:
        """By how many seconds the node's clock is ahead of the API server's, exact to about a second."""
        renewed = self.spec.renew_time
        managers = self.metadata.managed_fields or ()
        wrote = [one.time for one in managers if one.time and b'"f:renewTime"' in bytes(one.fields)]
        if renewed is None or not wrote or now - (written := max(wrote)) > FRESH:
            return None
        return (renewed - written).total_seconds()


async def check(cluster: Cluster) -> Check:
    try:
        leases = [one async for one in listed(cluster, "Leases in kube-node-lease", _LEASES, Lease)]
    except PullsecretError as e:
        return Check(SECTION, NAME, "unknown", str(e))
    now = cluster.now()
    found = {one.metadata.name: one.ahead(now) for one in leases}
    return clocks({name: ahead for name, ahead in found.items() if ahead is not None})


def clocks(ahead: Mapping[str, float]) -> Check:
    """By node."""
    if not ahead:
        return Check(SECTION, NAME, "absent", "no node has told its time of late")
    wrong = [name for name, seconds in ahead.items() if agreement(seconds) != "right"]
    if not wrong:
        return Check(SECTION, NAME, "right", f"{counted(len(ahead), 'node')} as the API server")
    worst = max(wrong, key=lambda name: abs(ahead[name]))
    why = f"not as the API server's: {some(sorted(wrong))}; {worst} is {apart(ahead[worst])} it"
    hint = "let NTP set the clock of the node: until then certificates of registries may not be valid there"
    return Check(SECTION, NAME, agreement(ahead[worst]), why, hint)
