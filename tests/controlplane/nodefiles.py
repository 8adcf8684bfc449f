"""The configuration of containerd and the kubelet.

Inside the node /run and /var are its own, so everything that must have a short path (sockets) or must not stay
(volumes, logs of pods) lies there under its usual name."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from controlplane.network import Pods
from controlplane.pki import Pair
from controlplane.registry import Registry

PAUSE = "pause.test/pause:1"
SOCKET = "/run/containerd/containerd.sock"

_CONTAINERD = """\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{folder}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true  # where we may not lower the score, no sandbox would start without it
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{folder}/cni"
    use_internal_loopback = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"""

# On loopback pods need no network but the kubelet wants one for them: this plug-in gives all of them the same address.
_CNI_PLUGIN = """\
#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD) cat >/dev/null; echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],"ips":[{"address":"10.88.0.2/24","interface":0}]}' ;;
*) cat >/dev/null ;;
esac
"""  # noqa: E501


def write_containerd(folder: Path, runc: Path, pods: Pods | None) -> None:
    plugins = pods.plugins if pods else folder / "cni"
    config = _CONTAINERD.format(folder=folder, runc=runc, socket=SOCKET, pause=PAUSE, plugins=plugins)
    (folder / "containerd.toml").write_text(config)
    (folder / "cni").mkdir()
    (folder / "cni" / "none").write_text(_CNI_PLUGIN)
    (folder / "cni" / "none").chmod(0o755)
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [pods.config() if pods else {"type": "none"}]}
    (folder / "cni" / "pods.conflist").write_text(json.dumps(network))


def write_hosts(folder: Path, registry: Registry) -> None:
    """Images whose names begin with the registry's come from there. containerd reads this at every pull."""
    hosts = folder / "certs.d" / registry.name
    hosts.mkdir(parents=True)
    shutil.copy(registry.ca, hosts / "ca.crt")
    # No [host] table: then containerd passes on the credentials that the kubelet has for the image's own name.
    (hosts / "hosts.toml").write_text(f'server = "{registry.url}"\nca = "ca.crt"\n')


def write_kubelet(folder: Path, *, cgroup: str, port: int, ca: Path, serving: Pair) -> None:
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": port,
        "healthzPort": 0,
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(ca)},
        },
        "authorization": {"mode": "AlwaysAllow"},  # of those who have a certificate
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
        "registryPullQPS": 0,  # tests ask for many images at once
        "serializeImagePulls": False,  # one that is slow to fail keeps no other waiting
        # A full disk of the machine is none of the node's business.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
    (folder / "kubelet.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
