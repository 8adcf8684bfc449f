"""Faults of the control plane, and of what the webhook has in it."""

import base64
import itertools
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import sleep

from certs.authority import Authority
from certs.bundle import SOAK
from controlplane import webhook as deployed
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE
from faults.fault import Act, Fault
from faults.scene import Scene
from faults.tenants import patiently

CA, CONFIGURATION = "pullsecret-webhook-ca", "pullsecret-webhook"
_APISERVER, _ETCD, _MANAGER = "kube-apiserver", "etcd", "kube-controller-manager"
_touches = itertools.count(1)


def killed(part: str, seconds: float) -> Act:
    """Its end is when the API server answers again."""

    def act(scene: Scene) -> None:
        _end(scene, part)
        sleep(seconds)
        scene.arena.part(part).again()
        until(scene.arena.answers, "the API server answers", within=60)

    return act


def _end(scene: Scene, part: str) -> None:
    scene.arena.part(part).signal(signal.SIGKILL)
    scene.arena.part(part).wait(5)


def paused(part: str, seconds: float) -> Act:
    def act(scene: Scene) -> None:
        child = scene.arena.part(part)
        child.signal(signal.SIGSTOP)
        try:
            sleep(seconds)
        finally:
            child.signal(signal.SIGCONT)
        until(scene.arena.answers, "the API server answers", within=60)

    return act


def start_without(seconds: float) -> Act:
    """The replicas start while there is no API server."""

    def act(scene: Scene) -> None:
        for part in (_MANAGER, _APISERVER):
            _end(scene, part)
        for kubelet in scene.kubelets:
            kubelet.kill()
        scene.note()
        sleep(seconds)
        scene.arena.part(_APISERVER).again()
        until(scene.arena.answers, "the API server answers", within=60)
        scene.arena.part(_MANAGER).again()  # one that runs on would wait up to a minute before it tries again

    return act


def restored(age: float) -> Act:
    """etcd goes back to a backup that is so many seconds old; what changes after that must be right."""

    def act(scene: Scene) -> None:
        folder = scene.arena.cluster.folder / "etcd"
        backup = folder.with_name("etcd-backup")
        _end(scene, _ETCD)
        shutil.copytree(folder, backup)
        scene.arena.part(_ETCD).again()
        until(scene.arena.answers, "the API server answers", within=60)
        back = scene.tenants.snapshot()
        scene.news.all(0.5)
        sleep(age)
        for part in (_MANAGER, _APISERVER, _ETCD):
            _end(scene, part)
        shutil.rmtree(folder)
        backup.rename(folder)
        back()
        for part in (_ETCD, _APISERVER):
            scene.arena.part(part).again()
        until(scene.arena.answers, "the API server answers", within=60)
        scene.arena.part(_MANAGER).again()  # it ends if none answers for 10 s
        scene.news.all(0.5)

    return act


def withdrawn(seconds: float, *kinds: str) -> Act:
    """The account's rights."""

    def act(scene: Scene) -> None:
        for kind in kinds:
            scene.arena.api.delete(kind, "pullsecret-webhook", NAMESPACE if kind == "RoleBinding" else None)
        sleep(seconds)
        scene.arena.restore(*kinds)

    return act


# -- certificates and registration --


def ca(change: Callable[[Scene], None]) -> Act:
    """`change`, which the replicas look at when they see the registration change."""

    def act(scene: Scene) -> None:
        change(scene)
        _touch(scene)
        until(lambda: _published(scene) == _trusted(scene), "the CA is published", within=60)

    return act


def rotated(scene: Scene) -> None:
    """To one that is due at once, as if the hour between publishing and signing had passed."""
    certificate, key = Authority.create(datetime.now(UTC) - timedelta(days=300)).pem()
    _put(scene, {"ca.crt": certificate + _ca(scene)["ca.crt"], "next.crt": certificate, "next.key": key})
    _touch(scene)
    until(lambda: "next.confirmed" in _ca(scene), "the next CA is noted as published", within=15)
    _put(scene, {"next.confirmed": (datetime.now(UTC) - SOAK).isoformat(timespec="seconds").encode()})
    _touch(scene)
    until(lambda: _ca(scene)["tls.crt"] == certificate, "the next CA signs", within=15)


def keyless(scene: Scene) -> None:
    _put(scene, {"tls.key": b"garbage"})


def garbage(scene: Scene) -> None:
    _put(scene, dict.fromkeys(("ca.crt", "tls.crt", "tls.key"), b"garbage"))


def deleted(scene: Scene) -> None:
    scene.arena.api.delete("Secret", CA, NAMESPACE)


def unregistered(scene: Scene) -> None:
    kind = "MutatingWebhookConfiguration"
    scene.arena.api.delete(kind, CONFIGURATION)
    sleep(2)
    scene.arena.api.apply(deployed.registration())
    until(lambda: _published(scene) == _trusted(scene), "the CA is published", within=60)
    sleep(1)


def _trusted(scene: Scene) -> bytes | None:
    """With one that is relieved, which is there without its key."""
    data = _ca(scene)
    return data["ca.crt"] + (b"" if "tls.key" in data else data.get("tls.crt", b"")) if data else None


def _ca(scene: Scene) -> dict[str, bytes]:
    found = patiently(lambda: scene.arena.api.get("Secret", CA, NAMESPACE)) or {"data": {}}
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


def _put(scene: Scene, data: dict[str, bytes]) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    scene.arena.api.patch("Secret", CA, {"data": encoded}, NAMESPACE)


def _touch(scene: Scene) -> None:
    touched = {"metadata": {"annotations": {"test/touched": str(next(_touches))}}}
    scene.arena.api.patch("MutatingWebhookConfiguration", CONFIGURATION, touched)


def _published(scene: Scene) -> bytes | None:
    bundle = deployed.ca_bundle(scene.arena.api)
    return base64.b64decode(bundle) if bundle else None


FAULTS = [
    Fault("apiserver_killed", "API server killed, started again after 2 s", killed(_APISERVER, 2), rounds=2),
    Fault("apiserver_paused", "API server stands still for 20 s", paused(_APISERVER, 20)),
    Fault("etcd_killed", "etcd killed, started again after 2 s", killed(_ETCD, 2)),
    Fault("etcd_paused", "etcd stands still for 20 s", paused(_ETCD, 20)),
    Fault("etcd_restored", "etcd restored from a backup that is seconds old", restored(0), right=15, news=None),
    Fault("etcd_restored_60s", "the same, of a backup that is a minute old", restored(60), right=15, news=None),
    Fault("start_without", "start while the API server is gone, 40 s", start_without(40), uncaught=True),
    Fault(
        "rbac_withdrawn", "all rights withdrawn for 40 s", withdrawn(40, "ClusterRoleBinding", "RoleBinding"), news=2
    ),
    Fault("sources_forbidden", "source Secrets forbidden for 20 s", withdrawn(20, "RoleBinding")),
    Fault("ca_rotated", "the CA is rotated", ca(rotated)),
    Fault("ca_keyless", "the CA's key is garbage", ca(keyless)),
    Fault("ca_garbage", "all of the CA Secret is garbage", ca(garbage)),
    Fault("ca_deleted", "the CA Secret is deleted", ca(deleted), rounds=2, rate=25),
    Fault("unregistered", "the registration is deleted, and made again after 2 s", unregistered, uncaught=True),
]
