"""For each fault: what it is, in a sentence, and what to do about this fault only. Pure.

`{where}` is the node by name or `its node`, `{there}` just `the node`; or both are `this machine`. `{host}` is the host
at which it happens; the others are as `verdict.py` fills them in.
All values are safe to print.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from webhook.core.faults import Fault


@dataclass(frozen=True, slots=True)
class Advice:
    """`what` follows `cannot pull IMAGE: `. `todo`: a line each."""

    what: str
    todo: tuple[str, ...]


_RESOLVER = "a resolver that nobody on the way can answer for: systemd-resolved with DNSOverTLS=yes, or another by TLS"
_MIRROR = "a mirror near the node: registries.yaml (K3s) or hosts.toml (containerd)"
NOT_COREDNS = "CoreDNS does not help: nodes do not ask it."
_NETWORK = "Look at {there}'s firewall, security group, routes and proxy for {host}."
_CA = "Give the runtime of each node the CA: hosts.toml (containerd), registries.yaml (K3s), or the node's own store."
_WAIT = "The kubelet tries again by itself, at the latest after five minutes."

ADVICE: Mapping[Fault, Advice] = {
    Fault.IMAGE_NAME_INVALID: Advice(
        "this is no valid name of an image",
        ("Correct the name: small letters, digits, and . _ - between them; a tag behind the last colon.",),
    ),
    Fault.IMAGE_SHORT_NAME: Advice(
        "{where} does not know in which registry an image without one is",
        ("Write the image with its registry, such as docker.io/library/nginx for nginx.",),
    ),
    Fault.IMAGE_NEVER_PULLED: Advice(
        "it is not on {where}, and its imagePullPolicy is Never",
        ("Load the image onto the node, or set imagePullPolicy to IfNotPresent.",),
    ),
    Fault.IMAGE_NEEDS_CREDENTIAL: Advice(
        "it is on {where}, but the pod has no credential with which it may use it",
        (
            "Since Kubernetes 1.35 a pod needs a credential of its own for an image that was pulled with one.",
            "Give the pod a pull secret that may pull {repository}, then create it again.",
        ),
    ),
    Fault.SECRET_UNREADABLE: Advice(
        "{secret} cannot be parsed, and the kubelet then tries no credential at all",
        ("Repair or remove {secret}{from_account}.", "{once_more}"),
    ),
    Fault.SECRET_MISSING: Advice(
        "{secret} is missing in the namespace",
        (
            "Create {secret}: the kubelet then tries again by itself.",
            "Or take its name out of {list}, and create the pod again.",
        ),
    ),
    Fault.SECRET_WRONG_TYPE: Advice(
        "the kubelet passes over {secret}: {secret_why}",
        ("Create {secret} again with kubectl create secret docker-registry: the type of a Secret cannot change.",),
    ),
    Fault.SECRET_NO_ENTRY: Advice(
        "no pull secret of the pod has an entry for it",
        ("{problem}", "{give} for {repository}, or correct the name of the image."),
    ),
    Fault.SECRET_NO_REFERENCE: Advice("the pod has no reference to {ours}", ()),
    Fault.NAMESPACE_NOT_SERVED: Advice("the webhook leaves the namespace alone", ()),
    Fault.POD_OPTED_OUT: Advice("the pod is opted out of the webhook", ()),
    Fault.OWNER_UNKNOWN: Advice("no source knows the owner of the namespace", ()),
    Fault.OWNER_LIMITED: Advice("the owner's credential is limited to other namespaces", ()),
    Fault.RUNTIME_PROXY: Advice(
        "the HTTP proxy of the runtime on {where} does not work",
        (
            (
                "Look at HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the runtime's service on the node (systemctl cat"
                " containerd); each is an address such as http://proxy.example:3128."
            ),
            "Then restart that service.",
        ),
    ),
    Fault.RUNTIME_CA_FILE: Advice(
        "the runtime on {where} cannot read a file of certificates that its configuration names",
        ("Look at `ca` in hosts.toml below certs.d on the node: the file that it names must exist there.",),
    ),
    Fault.RUNTIME_FAILS: Advice(
        "the container runtime on {where} fails by itself",
        ("Look at its log on the node (journalctl -u containerd) and at its disk.",),
    ),
    Fault.NODE_BUSY: Advice(
        "the kubelet of {where} pulls too many images at once (pull QPS)",
        (f"Wait, or raise registryPullQPS in the kubelet's configuration. {_WAIT}",),
    ),
    Fault.NODE_DISK_FULL: Advice(
        "the disk of {where} is full",
        ("Make room on the node: old images, logs, or a larger disk for the runtime.",),
    ),
    Fault.DNS_NO_SUCH_NAME: Advice(
        "{where} finds no address of {host}: its resolver{server} says that there is no such name",
        (
            "{no_host}",
            "Else {there}'s resolver must know it. {not_coredns}",
        ),
    ),
    Fault.DNS_FAILS: Advice(
        "the resolver of {where}{server} fails for {host}",
        ("Look at {there}'s /etc/resolv.conf and at the server that it names. {not_coredns}",),
    ),
    Fault.DNS_SILENT: Advice(
        "the resolver of {where}{server} does not answer",
        ("Look at {there}'s /etc/resolv.conf, and whether it reaches port 53 of its servers. {not_coredns}",),
    ),
    Fault.DNS_WRONG_ADDRESS: Advice(
        "on {where} {host} has the wrong address",
        (
            "{culprit}",
            f"What else helps there: {_RESOLVER}; or {_MIRROR}. {{not_coredns}}",
            "Until then, in /etc/hosts of {there}:  {right} {name}    (right from there just now; it may change)",
        ),
    ),
    Fault.TCP_REFUSED: Advice(
        "{host}{address} refuses the connection of {where}",
        ("Is the registry up, and is this its port?", _NETWORK),
    ),
    Fault.TCP_SILENT: Advice("{host}{address} does not answer {where}", (_NETWORK,)),
    Fault.TCP_NO_ROUTE: Advice("{where} has no route to {host}{address}", (_NETWORK,)),
    Fault.TCP_CUT: Advice(
        "the connection of {where} to {host} is cut off",
        (f"Something on the way ends it: a firewall, a proxy, or a broken registry. {_NETWORK}",),
    ),
    Fault.CLOCK_WRONG: Advice(
        "the clock of {where} is wrong, so that it takes a good certificate for an invalid one",
        ("Set {there}'s clock, and look why its time service (chrony, systemd-timesyncd) does not.",),
    ),
    Fault.TLS_NONE: Advice(
        "{host} does not speak TLS",
        (
            "Give the registry TLS, or correct the port in the name of the image.",
            "A registry without TLS must be named in the runtime's configuration (hosts.toml with http://).",
        ),
    ),
    Fault.TLS_SILENT: Advice(
        "{host} takes the connection of {where} and then does not answer the TLS handshake",
        (f"Packets get lost: often a wrong MTU, or a firewall that looks into TLS. {_NETWORK}",),
    ),
    Fault.TLS_WRONG_NAME: Advice(
        "what answers {where} at {host} has the certificate of another host{names}",
        (
            ("Somebody else answers: the resolver or /etc/hosts gives a wrong address, or a proxy stands between."),
            "{more_by_node}",
        ),
    ),
    Fault.TLS_EXPIRED: Advice(
        "the certificate of {host} has expired",
        ("Those who run {host} must renew it.", "Or {there}'s clock is wrong: look there with date."),
    ),
    Fault.TLS_NOT_YET_VALID: Advice(
        "the certificate of {host} is not valid yet",
        ("Mostly {there}'s clock is behind: look there with date.", "Or {host} has a certificate of the future."),
    ),
    Fault.TLS_UNKNOWN_CA: Advice(
        "{where} does not know the CA of {host}{issuer}",
        (
            f"If this is the registry's own CA: {_CA[0].lower()}{_CA[1:]}",
            "If it is not, a proxy reads the traffic. Give the nodes its CA, or let {host} go around it.",
        ),
    ),
    Fault.TLS_FAILS: Advice(
        "the TLS handshake of {where} with {host} fails",
        ("The two do not agree on TLS: a version, a client certificate, or a proxy between. Read what is said.",),
    ),
    Fault.REGISTRY_RATE_LIMIT: Advice(
        "{host} says that there are too many requests (429)",
        (f"Wait. {_WAIT}", "{log_in}"),
    ),
    Fault.REGISTRY_BROKEN: Advice("{host} fails{status}", (f"Ask those who run {{host}}. {_WAIT}",)),
    Fault.REGISTRY_BLOCKED: Advice(
        "{host} answers, but not to {where}{status}",
        (("It, or a proxy before it, blocks addresses, countries or images. Try another network, or use a mirror."),),
    ),
    Fault.REGISTRY_NONE: Advice(
        "what answers at {host} is no registry",
        (
            (
                "A login page, a proxy or a web server answers. Correct the image's name, or look what stands between"
                " {there} and the registry."
            ),
        ),
    ),
    Fault.MIRROR_FAILS: Advice(
        "a mirror that {where} is told to use fails",
        ("Look at hosts.toml or registries.yaml on the node, and at that mirror.",),
    ),
    Fault.TOKEN_REFUSED: Advice("the token service of the registry, {host}, refuses the credential", ()),
    Fault.TOKEN_ANONYMOUS: Advice(
        "the registry gives it to nobody without a credential, and the pod has none for it",
        ("{give} for {repository}, or correct the name of the image.",),
    ),
    Fault.TOKEN_FAILS: Advice("the token service of the registry, {host}, fails", (f"Ask those who run it. {_WAIT}",)),
    Fault.CREDENTIAL_NONE: Advice(
        "the kubelet had no credential for it",
        ("{give} for {repository}.",),
    ),
    Fault.CREDENTIAL_REFUSED: Advice("the registry refuses {credential}", ()),
    Fault.TOKEN_NO_ACCESS: Advice(
        "{credential} may not read it",
        (
            (
                "{another} that may read {repository}, or correct the image's name: registries say the same of images"
                " that do not exist."
            ),
            "{kind}",
        ),
    ),
    Fault.IMAGE_NOT_FOUND: Advice(
        "the registry has no such image, or does not show it {to_whom}",
        ("Correct the name of the image or its tag, or {show_it}.", "{of_a_mirror}"),
    ),
    Fault.PLATFORM_MISSING: Advice(
        "it has no build for {where}{platform}",
        ("Build it for that platform too, or place the pod on another node (kubernetes.io/arch).",),
    ),
    Fault.FORMAT_TOO_OLD: Advice(
        "it is in a format that runtimes no longer read (schema 1)",
        ("Build or push it again with a tool of today.",),
    ),
    Fault.BLOB_REFUSED: Advice(
        "the registry gives its manifest, and refuses its layers{at_host}",
        ("Ask those who run the registry: its storage refuses. A link to it may have ended: try again.",),
    ),
    Fault.CONTENT_GONE: Advice(
        "the registry has its manifest, and not what it names",
        ("Push the image again; a clean-up or a broken mirror may have removed its parts.",),
    ),
    Fault.CONTENT_CUT: Advice(
        "the download is cut off{at_host}",
        (f"Something on the way ends it: a proxy with a limit, or a broken registry. {_WAIT}",),
    ),
    Fault.CONTENT_DAMAGED: Advice(
        "what the registry sends is not what the manifest names",
        ("Push the image again; if it happens with all images, look at the registry's storage or at a proxy's cache.",),
    ),
    Fault.SIGNATURE_REFUSED: Advice(
        "{where} takes only images that are signed as its policy wants, and this one is not",
        ("Sign the image, or look at the runtime's policy on the node (policy.json of CRI-O).",),
    ),
    Fault.PULL_TIMED_OUT: Advice(
        "the pull takes longer than it may",
        ("Look with --node whether the registry and the host of its layers are reached, and how fast.",),
    ),
    Fault.NOT_KNOWN: Advice(
        "the kubelet gives a reason that is not known here",
        ("Look with --ask and --node at the layers below, or into the log of the runtime on the node.",),
    ),
}
