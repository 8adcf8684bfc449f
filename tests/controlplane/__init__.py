"""A real Kubernetes for tests, demo and bench: the upstream programs as plain processes, built from pinned Go modules
where the machine does not have them, each in a folder of the caller's and gone at the end of its `with`.

    with (
        Registry.start(folder / "registry", {"alice": password}) as registry,
        ControlPlane.start(folder / "cluster") as cluster,
        Node.start(folder / "node", cluster, [registry]),
    ):
        cluster.kubectl("get", "nodes")

Where things are:

    cluster       ControlPlane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler; users and their access
    node          Node: containerd and kubelet; inside is its process 1, nodefiles its configuration, cgroups its cgroup
    registry      Registry: private, with TLS and passwords; image makes and pushes what lies in it
    network       Network: instead of this machine's loopback one of the cluster's own, where pods have addresses
    coredns       a DNS server that says what a test wants
    networked     Networked: all of these in such a network
    webhookimage  the webhook's own image, built by `make image` with an unpacked buildah
    release       Release: that image installed into a Networked cluster by the chart, which helm renders
    webhook       or, without pods and Helm, as a process under what the chart came to (installed.yaml)
    api, kinds    Api: a client of the API server that speaks dicts
    fixtures      `cluster`, `registry`, `node` and `networked` for pytest
    binaries      where programs come from: tools lists them, gobuild and debian make them, cache keeps them
    components, kubeconfig, pki                         what cluster is put together from
    process, waiting, ports, machine, progress, errors  used by all of them
    go/           the Go modules: kubernetes, containerd, registry (with our guard), coredns, network (CNI plug-ins),
                  images (app, peer and pause), helm3, helm4, certmanager (its controllers in one program)
"""
