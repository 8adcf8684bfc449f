"""etcd put back to what a backup has: what the webhook knows is newer than the truth, until it lists anew."""

import shutil
from pathlib import Path

import pytest

from controlplane import webhook as deployed
from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.objects import password, stands
from controlplane.waiting import until
from support import planted
from webhook.core.names import OWNER

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("writes", [0, 500], ids=["before the webhook's versions", "beyond them"])
def test_after_a_restore_from_a_backup_all_is_right_again(binaries: None, tmp_path: Path, writes: int) -> None:
    """Its labels and tokens too, which nobody changes after the restore. `writes`: others', at once after it."""
    old, new = planted.token(), planted.token()
    with ControlPlane.start(tmp_path / "cluster") as cluster:
        api = cluster.api
        deployed.install(cluster)
        deployed.give(api, "alice", old)
        for name in ("kept", "moved"):
            cluster.namespace(name, labels={OWNER: "alice"})
        with deployed.running(cluster) as webhook:
            for name in ("kept", "moved"):
                stands(cluster, name, old)
            with cluster.without_etcd() as data:
                shutil.copytree(data, tmp_path / "backup")
            deployed.give(api, "alice", new)
            deployed.give(api, "bob", planted.token())
            api.patch("Namespace", "moved", {"metadata": {"labels": {OWNER: "bob"}}})
            cluster.namespace("later", labels={OWNER: "alice"})
            stands(cluster, "kept", new, within=30)
            stands(cluster, "later", new, within=30)
            with cluster.without_etcd() as data:
                shutil.rmtree(data)
                shutil.copytree(tmp_path / "backup", data)
            for number in range(writes):
                api.apply(_other(number))

            def right() -> bool:
                try:
                    return all(password(cluster, name) == old for name in ("kept", "moved"))
                except ApiError:
                    return False

            until(right, "all is as in the backup", within=30)
            until(lambda: webhook.known("namespaces") == len(api.list("Namespace")), "the namespaces", within=30)
            deployed.give(api, "alice", new)
            for name in ("kept", "moved"):
                stands(cluster, name, new, within=30)
            # Not cluster.namespace: the controller-manager runs on with versions of before, and may make no account.
            metadata = {"name": "created-after", "labels": {OWNER: "alice"}}
            api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            stands(cluster, "created-after", new, within=30)
            assert webhook.child.running


def _other(number: int) -> Object:
    metadata = {"name": "other", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"number": str(number)}}
