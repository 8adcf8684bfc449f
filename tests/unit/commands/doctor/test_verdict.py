"""One cause, from what the kubelet says, what the API server has, what the registry answers, and what a node sees."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from webhook.commands.doctor import report
from webhook.commands.doctor.advice import ADVICE
from webhook.commands.doctor.asking import Asked, Step
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.evidence import HERE, HOSTS_FILE, Answer, Endpoint, HostSeen, Probed, Role
from webhook.commands.doctor.looked import ROLES, THE_NODE, Evidence, Looked
from webhook.commands.doctor.verdict import Verdict, idle, judge, judge_registry
from webhook.commands.pods import Pod
from webhook.commands.podsecrets import PodSecret
from webhook.core import pulls
from webhook.core.credential import Credential
from webhook.core.faults import Fault

NOW = datetime(2026, 1, 2, 10, 42, tzinfo=UTC)
IMAGE = "ghcr.io/acme/app:1"
PULL = f'failed to pull and unpack image "{IMAGE}": failed to resolve image: '
HEAD = f'{PULL}failed to do request: Head "https://ghcr.io/v2/acme/app/manifests/1": '
STATUS = f"{PULL}unexpected status from HEAD request to https://ghcr.io/v2/acme/app/manifests/1: "
NO_BASIC = (
    f"{PULL}pull access denied, repository does not exist or may require authorization: authorization failed: no basic "
    "auth credentials"
)
TWO = f"[{STATUS}401 Unauthorized, {STATUS}403 Forbidden / denied]"
NAME = "tls: failed to verify certificate: x509: certificate is valid for *.github.io, *.github.com, not ghcr.io"
BACKING_OFF = f'Back-off pulling image "{IMAGE}"'
MIRRORED = (
    f'{PULL}failed to do request: Head "https://mirror.example/v2/acme/app/manifests/1?ns=%5BREDACTED%5D": dial tcp '
    "127.0.0.1:1: connect: connection refused"
)
NOT_FOUND = f"{PULL}{IMAGE}: not found"


def case(text: str = "", reason: str = "ErrImagePull", **more: Any) -> Case:
    words = pulls.heard(reason, text) if text else ()
    said = pulls.text(text) if text else ""
    base = Case(IMAGE, "team-a", "ghcr-secret", "web", "c", "k3s-1", reason if text else "", said, words)
    return replace(base, **more)


def secret(name: str = "ghcr-secret", *keys: str, state: Any = "takes", **more: Any) -> PodSecret:
    return PodSecret(name, state, credentials=tuple(Credential(key, "user", "planted") for key in keys), **more)


HAS: dict[str, Any] = {"secrets": (secret("ghcr-secret", "ghcr.io"),), "entries": (("ghcr.io", "ghcr-secret"),)}
OTHER: dict[str, Any] = {"secrets": (secret("own", "harbor.example"),)}


def endpoint(address: str, *given: str, **more: Any) -> Endpoint:
    right: dict[str, Any] = {"tcp": "open", "tls": "right", "status": 401, "registry": True}
    return Endpoint(address, given, **(right | more))


WRONG: dict[str, Any] = {"tls": "wrong name", "faults": ("wrong name",), "names": ("*.github.io",), "registry": False}
DNS = "10.0.0.2:53"
OPAQUE = secret("own", state="passes over", type="Opaque")
NEVER, BASE64 = "Container image is not present with pull policy of Never", "illegal base64 data at input byte 0"


def node(*endpoints: Endpoint, role: Role = "registry", answers: tuple[Answer, ...] | None = None) -> Looked:
    given = tuple(one.address for one in endpoints if DNS in one.given_by)
    found = (Answer(DNS, "addresses", given),) if answers is None else answers
    return Looked(
        "node k3s-1",
        Probed(NOW, (HostSeen("ghcr.io" if role == "registry" else "blobs.example", 443, role, found, endpoints),)),
    )


REACHED = node(endpoint("1.1.1.1", DNS))
POISONED = node(endpoint("1.1.1.1", DNS, **WRONG), endpoint("2.2.2.2", HERE))
NO_BLOBS = node(endpoint("1.1.1.1", DNS, tcp="silent"), role="blobs")


def asked(fault: Fault | None, **more: Any) -> Asked:
    return Asked("ghcr.io", (Step("manifest", "ghcr.io", 403, "denied", fault),), fault, works=fault is None, **more)


@pytest.mark.parametrize(
    ("about", "evidence", "code"),
    [
        (case(), Evidence(), None),
        (case(HEAD + NAME), Evidence(), Fault.TLS_WRONG_NAME),
        (case(HEAD + NAME), Evidence(POISONED), Fault.DNS_WRONG_ADDRESS),
        # The node reaches it now: the runtime has its own proxy and CAs, so what it says still counts.
        (case(HEAD + NAME), Evidence(REACHED), Fault.TLS_WRONG_NAME),
        # Nobody has tried to pull yet.
        (case(), Evidence(POISONED), Fault.DNS_WRONG_ADDRESS),
        # What the registry itself said is above what the probe finds wrong, such as a private CA.
        (case(STATUS + "401 Unauthorized", **HAS), Evidence(POISONED), Fault.CREDENTIAL_REFUSED),
        # Newer words of the registry count, but some say 404 to those who have no credential.
        (case(STATUS + "401 Unauthorized", **HAS), Evidence(asked=asked(Fault.TOKEN_NO_ACCESS)), Fault.TOKEN_NO_ACCESS),
        (case(STATUS + "401 Unauthorized", **HAS), Evidence(asked=asked(Fault.IMAGE_NOT_FOUND)), Fault.IMAGE_NOT_FOUND),
        (case(NO_BASIC, **OTHER), Evidence(asked=asked(Fault.IMAGE_NOT_FOUND)), Fault.SECRET_NO_ENTRY),
        (case(NO_BASIC, **OTHER), Evidence(asked=asked(Fault.TOKEN_ANONYMOUS)), Fault.SECRET_NO_ENTRY),
        (case(NO_BASIC, **OTHER), Evidence(asked=asked(Fault.REGISTRY_BROKEN)), Fault.REGISTRY_BROKEN),
        # A host of blobs that nobody has named is a cause only if nothing else is.
        (case(), Evidence(NO_BLOBS), Fault.TCP_SILENT),
        (case(NOT_FOUND, **HAS), Evidence(NO_BLOBS), Fault.IMAGE_NOT_FOUND),
        # A mirror's error hides what the registry itself says.
        (case(MIRRORED, **HAS), Evidence(), Fault.MIRROR_FAILS),
        (case(MIRRORED, **HAS), Evidence(asked=asked(Fault.CREDENTIAL_REFUSED)), Fault.CREDENTIAL_REFUSED),
        # But "not found" may be a mirror's.
        (case(NOT_FOUND, **HAS), Evidence(POISONED), Fault.DNS_WRONG_ADDRESS),
        (case(NOT_FOUND, **HAS), Evidence(asked=asked(Fault.CREDENTIAL_REFUSED)), Fault.CREDENTIAL_REFUSED),
        (case(NOT_FOUND, **HAS), Evidence(asked=asked(Fault.IMAGE_NOT_FOUND)), Fault.IMAGE_NOT_FOUND),
        (case(NOT_FOUND), Evidence(), Fault.IMAGE_NOT_FOUND),
        # That a registry is not reached from here says nothing about the node.
        (case(STATUS + "401 Unauthorized", **HAS), Evidence(asked=asked(Fault.TCP_SILENT)), Fault.CREDENTIAL_REFUSED),
        (case(HEAD + NAME), Evidence(asked=asked(Fault.CREDENTIAL_REFUSED)), Fault.TLS_WRONG_NAME),
        # Nor does an answer to us that is not known.
        (case(STATUS + "401 Unauthorized", **HAS), Evidence(asked=asked(Fault.NOT_KNOWN)), Fault.CREDENTIAL_REFUSED),
        (case(), Evidence(asked=asked(Fault.NOT_KNOWN)), Fault.NOT_KNOWN),
        (case(), Evidence(asked=asked(Fault.TCP_SILENT)), None),
        (case(), Evidence(asked=asked(Fault.PLATFORM_MISSING)), Fault.PLATFORM_MISSING),
        (case(STATUS + "403 Forbidden", **HAS), Evidence(asked=asked(Fault.REGISTRY_BLOCKED)), Fault.REGISTRY_BLOCKED),
        # A registry that takes the credential now has not taken it when the kubelet tried.
        (case(STATUS + "403 Forbidden", **HAS), Evidence(asked=asked(None)), Fault.TOKEN_NO_ACCESS),
        # Without a credential.
        (case(NO_BASIC), Evidence(), Fault.CREDENTIAL_NONE),
        (case(NO_BASIC, **OTHER), Evidence(), Fault.SECRET_NO_ENTRY),
        (case(STATUS + "403 Forbidden", **OTHER), Evidence(), Fault.SECRET_NO_ENTRY),
        (case(NO_BASIC, secrets=(secret("own", state="missing"),)), Evidence(), Fault.SECRET_MISSING),
        (case(NO_BASIC, secrets=(OPAQUE,)), Evidence(), Fault.SECRET_WRONG_TYPE),
        (case(NO_BASIC, cause="not-served", why="it is opted out"), Evidence(), Fault.NAMESPACE_NOT_SERVED),
        (case(NO_BASIC, cause="unknown-owner", why="no source"), Evidence(), Fault.OWNER_UNKNOWN),
        (case(NO_BASIC, cause="no-reference", why="it is older"), Evidence(), Fault.SECRET_NO_REFERENCE),
        # The pod's own pull secret counts before a webhook that leaves the namespace alone.
        (case(NO_BASIC, cause="not-served", why="no owner", **OTHER), Evidence(), Fault.SECRET_NO_ENTRY),
        (case(NO_BASIC, **HAS), Evidence(), Fault.CREDENTIAL_NONE),
        # An image that is there, for pods that have a credential.
        (case(NEVER, "ErrImageNeverPull"), Evidence(), Fault.IMAGE_NEVER_PULLED),
        (
            case(NEVER, "ErrImageNeverPull", there=True),
            Evidence(),
            Fault.IMAGE_NEEDS_CREDENTIAL,
        ),
        (case(TWO, **HAS), Evidence(), Fault.CREDENTIAL_REFUSED),
        (case(BASE64, BASE64), Evidence(), Fault.SECRET_UNREADABLE),
        # It breaks every pull, also one that nobody has tried yet.
        (case(secrets=(secret("own", state="fails"),)), Evidence(), Fault.SECRET_UNREADABLE),
        (case("something new"), Evidence(), Fault.NOT_KNOWN),
        (case(BACKING_OFF, "ImagePullBackOff"), Evidence(), Fault.NOT_KNOWN),
        (case(BACKING_OFF, "ImagePullBackOff"), Evidence(asked=asked(None)), Fault.NOT_KNOWN),
        (case(BACKING_OFF, "ImagePullBackOff"), Evidence(POISONED), Fault.DNS_WRONG_ADDRESS),
        (case("something new"), Evidence(POISONED), Fault.DNS_WRONG_ADDRESS),
    ],
)  # fmt: skip
def test_the_lowest_broken_layer_is_the_cause(about: Case, evidence: Evidence, code: Fault | None) -> None:
    verdict = judge(about, evidence)
    assert verdict.code is code
    assert "{" not in report.text(verdict)
    assert (code is None) == (not verdict.todo)


HERE_RIGHT = Looked(
    "this machine", Probed(NOW, (HostSeen("ghcr.io", 443, "registry", (), (endpoint("2.2.2.2", HERE),)),))
)
BLOBS = HostSeen("blobs.example", 443, "blobs", (Answer(DNS, "addresses", ("3.3.3.3",)),), (endpoint("3.3.3.3", DNS),))
NOT_ASKED = ("the registry (--ask)",)


def test_a_poisoned_resolver_as_people_read_it() -> None:
    seen = Looked("node k3s-1", Probed(NOW, (*POISONED.probed.hosts, BLOBS)))
    verdict = judge(case(HEAD + NAME, **HAS), Evidence(seen, HERE_RIGHT, None, NOT_ASKED))
    assert (
        report.text(verdict)
        == """\
web cannot pull ghcr.io/acme/app:1: on node k3s-1 ghcr.io has the wrong address.   [DNS-WRONG-ADDRESS]

  the kubelet says       ErrImagePull: tls: failed to verify certificate: x509: certificate is valid for *.github.io, \
*.github.com, not ghcr.io
  pull secrets           ghcr-secret: the kubelet takes it, ghcr.io matches this image
  node k3s-1, 10:42      hosts file         no line for ghcr.io
                         10.0.0.2:53        1.1.1.1   port 443 answers; certificate of *.github.io: not ghcr.io's
                         not given here     2.2.2.2   certificate right, HTTP 401 as it should
  also needed            blobs.example: right on this node (3.3.3.3)
  this machine           2.2.2.2   certificate right, HTTP 401 as it should

What to do:
  The resolver 10.0.0.2:53 gives 1.1.1.1, which is wrong: it is tampered with, or out of date.
  What else helps there: a resolver that nobody on the way can answer for: systemd-resolved with
    DNSOverTLS=yes, or another by TLS; or a mirror near the node: registries.yaml (K3s) or hosts.toml
    (containerd). CoreDNS does not help: nodes do not ask it.
  Until then, in /etc/hosts of the node:  2.2.2.2 ghcr.io    (right from there just now; it may change)

Not looked at: the registry (--ask); the runtime's own proxy, CA certificates and hosts.toml on the node."""
    )


def test_a_wrong_line_in_the_hosts_file_is_named() -> None:
    answers = (Answer(HOSTS_FILE, "addresses", ("1.1.1.1",)),)
    seen = node(endpoint("1.1.1.1", HOSTS_FILE, **WRONG), endpoint("2.2.2.2", HERE), answers=answers)
    verdict = judge(case(HEAD + NAME), Evidence(seen))
    assert verdict.code is Fault.DNS_WRONG_ADDRESS
    assert verdict.todo[0] == ("Correct or remove the line for ghcr.io in /etc/hosts of the node: 1.1.1.1 is wrong.")


def test_an_unreadable_secret_as_people_read_it() -> None:
    why = "auth for harbor.old.example is not the base64 of username:password"
    secrets = (secret("legacy", state="fails", problem=why), secret("ghcr-secret", "ghcr.io"))
    words = "illegal base64 data at input byte 0"
    about = case(words, words, secrets=secrets, entries=HAS["entries"], account="builder")
    assert (
        report.text(judge(about, Evidence(not_looked=NOT_ASKED)))
        == """\
web cannot pull ghcr.io/acme/app:1: the Secret legacy cannot be parsed, and the kubelet then tries no credential at \
all.   [SECRET-UNREADABLE]

  the kubelet says       "illegal base64 data at input byte 0"
  pull secrets           legacy: the kubelet cannot parse it, and then tries no credential at all (auth for \
harbor.old.example is not the base64 of username:password)
                         ghcr-secret: the kubelet takes it, ghcr.io matches this image
                         the list is that of the service account builder

What to do:
  Repair or remove the Secret legacy in the service account builder.
  The list of a pod cannot change: after a change in the service account create the pod again.

Not looked at: the registry (--ask); the runtime's own proxy, CA certificates and hosts.toml on the node."""
    )


@pytest.mark.parametrize("fault", [*Fault])
def test_each_fault_has_advice_that_can_be_filled_in(fault: Fault) -> None:
    assert fault in ADVICE
    about = case("something new", owner="alice", platform="linux/amd64", **HAS)
    verdict = judge(
        about, Evidence(asked=asked(fault) if fault.value.startswith(("TOKEN", "IMAGE", "REGISTRY")) else None)
    )
    assert "{" not in report.text(verdict)


def test_the_host_that_the_runtime_names_is_looked_at_first() -> None:
    both = replace(POISONED, probed=Probed(NOW, (*POISONED.probed.hosts, *NO_BLOBS.probed.hosts)))
    for host in ("blobs.example", "blobs.example:443"):
        text = f'{PULL}failed to do request: Get "https://{host}/a": dial tcp 1.1.1.1:443: i/o timeout'
        assert judge(case(text), Evidence(both)).code is Fault.TCP_SILENT


def test_a_registry_alone() -> None:
    wrong = judge_registry("ghcr.io", "k3s-1", Evidence(POISONED))
    assert wrong.code is Fault.DNS_WRONG_ADDRESS
    assert wrong.title == "Nothing can be pulled from ghcr.io: on node k3s-1 ghcr.io has the wrong address"
    assert judge_registry("ghcr.io", "k3s-1", Evidence(REACHED)).code is None


NO_NAME = (Answer(DNS, "no such name"),)
LINE = (Answer(HOSTS_FILE, "addresses", ("1.1.1.1",)),)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (node(answers=NO_NAME), Fault.DNS_NO_SUCH_NAME),
        (node(answers=(Answer(DNS, "fails"),)), Fault.DNS_FAILS),
        (node(answers=(Answer(DNS, "silent"),)), Fault.DNS_SILENT),
        (POISONED, Fault.DNS_WRONG_ADDRESS),
        (
            node(endpoint("1.1.1.1", HOSTS_FILE, **WRONG), endpoint("2.2.2.2", HERE), answers=LINE),
            Fault.DNS_WRONG_ADDRESS,
        ),
        (node(endpoint("1.1.1.1", DNS, tcp="silent")), Fault.TCP_SILENT),
        (node(endpoint("1.1.1.1", DNS, tls="expired", faults=("expired",))), Fault.TLS_EXPIRED),
    ],
)
def test_without_a_node_no_node_is_blamed(seen: Looked, code: Fault) -> None:
    here = judge_registry("ghcr.io", "", Evidence(here=replace(seen, place="this machine")))
    assert here.code is code
    assert "this machine" in f"{here.title} {here.todo}"
    assert "node" not in f"{here.title} {here.todo}".replace("a mirror near the node", "")
    on_node = judge_registry("ghcr.io", "k3s-1", Evidence(seen))
    assert "node" in f"{on_node.title} {on_node.todo}"
    assert "this machine" not in f"{on_node.title} {on_node.todo}"


ALONE = case(pod="")
GIVEN, REFUSED = (Answer(DNS, "addresses", ("127.0.0.1",)),), endpoint("127.0.0.1", DNS, tcp="refused")
UNKNOWN = node(endpoint("1.1.1.1", DNS, tls="unknown CA", faults=("unknown CA",)))


@pytest.mark.parametrize(
    ("about", "evidence", "title"),
    [
        (replace(ALONE, **HAS), Evidence(), f"Nothing wrong was found with {IMAGE}"),
        (
            ALONE,
            Evidence(),
            f"Nothing wrong was found with {IMAGE}, but it must be public: no pull secret has an entry",
        ),
        (ALONE, Evidence(asked=asked(None)), f"{IMAGE} can be pulled, as far as the registry was asked"),
        (
            ALONE,
            Evidence(asked=Asked("ghcr.io", (Step("challenge", "ghcr.io", words="?", fault=Fault.DNS_NO_SUCH_NAME),))),
            f"Nothing wrong was found with {IMAGE}, but the registry could not be asked from here",
        ),
        (case(**HAS), Evidence(), f"Nothing wrong was found with web and its image {IMAGE}"),
    ],
)
def test_no_more_is_said_than_was_seen(about: Case, evidence: Evidence, title: str) -> None:
    found = judge(about, evidence)
    assert found.code is None
    assert found.title.startswith(title)


@pytest.mark.parametrize("image", ["", "a b", "ghcr.io/UPPER/x", "https://ghcr.io/acme/app:1", "ghcr.io/x@sha256:123"])
def test_an_image_with_a_name_that_is_none(image: str) -> None:
    assert judge(replace(ALONE, image=image), Evidence()).code is Fault.IMAGE_NAME_INVALID


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (NOT_FOUND, Fault.IMAGE_NOT_FOUND),
        (MIRRORED, Fault.MIRROR_FAILS),
        (f"{HEAD}dial tcp 1.1.1.1:443: i/o timeout", Fault.TCP_SILENT),
        (
            f"{HEAD}tls: failed to verify certificate: x509: certificate signed by unknown authority",
            Fault.TLS_UNKNOWN_CA,
        ),
    ],
)
def test_a_ca_that_only_the_probe_does_not_know_is_no_cause(said: str, code: Fault) -> None:
    assert judge(case(said, **HAS), Evidence(UNKNOWN)).code is code


NO_OWNER: dict[str, Any] = {"cause": "not-served", "why": "the namespace has no owner", "next_step": "give it one"}


@pytest.mark.parametrize(
    ("about", "todo"),
    [
        (case(NO_BASIC, **OTHER, **NO_OWNER), "Give the pod a pull secret for ghcr.io/acme/app, or"),
        (case(NO_BASIC, owner="alice", **OTHER), "Give owner alice a credential for ghcr.io/acme/app, or"),
        (
            case(NO_BASIC, secrets=(secret("own", problem="the entry has only an identitytoken"),)),
            "own: The entry has only an identitytoken.",
        ),
        (
            case(NO_BASIC, secrets=(secret("own", state="missing"),)),
            "Or take its name out of the pod's template, and create the pod again.",
        ),
        (
            case(NO_BASIC, secrets=(secret("own", state="missing"),), account="default"),
            "Or take its name out of the list of the service account default, and create the pod again.",
        ),
        (
            case(f"{STATUS}403 Forbidden / denied", **HAS),
            "Give the owner another credential, one that may read ghcr.io",
        ),
        (
            case(f"{STATUS}403 Forbidden", secrets=(secret("own", "ghcr.io"),), entries=(("ghcr.io", "own"),)),
            "Write another credential into the Secret own, one that may read ghcr.io/acme/app",
        ),
        (
            case(f"{STATUS}401 Unauthorized", secrets=(secret("own", "ghcr.io"),), entries=(("ghcr.io", "own"),)),
            "Write another credential into the Secret own; the kubelet then tries again by itself.",
        ),
        (case(NOT_FOUND), "Correct the name of the image or its tag, or give the pod a pull secret for it."),
        (
            case(NOT_FOUND, **HAS),
            "Correct the name of the image or its tag, or give the credential the right to read it.",
        ),
        (case(NOT_FOUND, **HAS), "If the node uses a mirror for it, these may be the mirror's words: --ask and --node"),
    ],
)
def test_the_next_step_is_one_that_can_be_taken(about: Case, todo: str) -> None:
    assert [one for one in judge(about, Evidence(not_looked=(THE_NODE,))).todo if one.startswith(todo)]


def test_somebody_else_answers_and_the_node_was_looked_at() -> None:
    about, wrong = case(HEAD + NAME), node(endpoint("1.1.1.1", DNS, **WRONG))
    assert judge(about, Evidence(not_looked=(THE_NODE,))).todo[-1].startswith("Look from the node: --node")
    assert "Look from the node" not in " ".join(judge(about, Evidence(not_looked=("the node (no right)",))).todo)
    assert judge(about, Evidence(wrong)).todo[-1] == "The node has 1.1.1.1 from 10.0.0.2:53."
    here = replace(wrong, place="this machine")
    assert "This machine finds the same there" in judge(about, Evidence(wrong, here)).todo[-1]


def test_a_host_that_the_image_does_not_name_is_explained() -> None:
    said = (
        f"{PULL}failed to authorize: failed to fetch anonymous token: Get "
        '"https://auth.example/token?scope=x": dial tcp: lookup auth.example: no such host'
    )
    found = judge(case(said), Evidence())
    assert found.code is Fault.DNS_NO_SUCH_NAME
    assert "finds no address of auth.example (its token service):" in found.title
    assert found.todo[0] == "If there is no auth.example, the registry names a wrong host: ask those who run it."
    both = replace(REACHED, probed=Probed(NOW, (*REACHED.probed.hosts, *NO_BLOBS.probed.hosts)))
    assert f"blobs.example{ROLES['blobs']}" in report.text(judge(case(), Evidence(both)))


def test_a_mirror_is_called_so() -> None:
    seen = Looked("node k3s-1", Probed(NOW, (HostSeen("mirror.example", 443, "registry", GIVEN, (REFUSED,)),)))
    found = judge(case(MIRRORED), Evidence(seen))
    assert found.code is Fault.TCP_REFUSED
    assert "mirror.example (a mirror) at 127.0.0.1:1 refuses" in found.title
    assert found.todo == ADVICE[Fault.MIRROR_FAILS].todo


def test_names_are_not_broken_at_hyphens() -> None:
    name = f"{'a-' * 60}a.example"
    assert name in report.text(Verdict(Fault.NOT_KNOWN, IMAGE, "title", (), (f"Look at {name} there.",)))


@pytest.mark.parametrize(
    ("more", "words"), [({}, "from here without a credential"), (HAS, "from here with this credential")]
)
def test_with_what_it_was_asked(more: dict[str, Any], words: str) -> None:
    assert words in report.text(judge(case(pod="", **more), Evidence(asked=asked(None))))


def test_too_many_requests() -> None:
    said = f"{STATUS}429 Too Many Requests"
    assert judge(case(said, **HAS), Evidence()).todo[-1].startswith("Wait. ")
    assert judge(case(said, owner="alice"), Evidence()).todo[-1].startswith("Or give owner alice a credential for it")


def test_a_long_label_has_a_line_of_its_own() -> None:
    rows = (("pkg-containers.githubusercontent.com", "words"), ("node", "others"))
    text = report.text(Verdict(None, IMAGE, "title", rows))
    assert text == f"title.\n\n  pkg-containers.githubusercontent.com\n{'':25}words\n  node{'':19}others"
    assert report.text(Verdict(None, IMAGE, "title", ())) == "title."


def test_the_document() -> None:
    found = report.document([judge(case(), Evidence()), judge(case(HEAD + NAME), Evidence(POISONED))])
    assert found["cause"] == "DNS-WRONG-ADDRESS"
    assert [one["code"] for one in found["verdicts"]] == [None, "DNS-WRONG-ADDRESS"]
    assert found["verdicts"][1]["layer"] == "dns"
    assert found["verdicts"][1]["evidence"][0]["what"] == "the kubelet says"
    assert "planted" not in str(found)


@pytest.mark.parametrize(
    ("status", "spec", "words"),
    [
        ({"phase": "Running"}, {"nodeName": "n1"}, "web waits for no image"),
        ({"phase": "Succeeded"}, {"nodeName": "n1"}, "web has ended or is being deleted"),
        ({"phase": "Pending"}, {}, "web has no node yet"),
        ({"phase": "Pending"}, {"nodeName": "n1"}, "its kubelet has said nothing yet"),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
            {"nodeName": "n1"},
            "its kubelet has said nothing yet",
        ),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            {"nodeName": "n1"},
            "web waits for no image",
        ),
    ],
)  # fmt: skip
def test_a_pod_that_waits_for_no_image(status: dict[str, Any], spec: dict[str, Any], words: str) -> None:
    pod = msgspec.convert({"metadata": {"name": "web", "namespace": "team-a"}, "spec": spec, "status": status}, Pod)
    verdict = idle(pod)
    assert verdict.code is None
    assert words in verdict.title


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "dial tcp 1.1.1.1:443: connect: connection refused",
            "ghcr.io at 1.1.1.1:443 refuses the connection of node k3s-1",
        ),
        ("dial tcp 1.1.1.1:443: i/o timeout", "ghcr.io at 1.1.1.1:443 does not answer node k3s-1"),
        ("dial tcp 1.1.1.1:443: connect: no route to host", "node k3s-1 has no route to ghcr.io at 1.1.1.1:443"),
        (
            "dial tcp: lookup ghcr.io on 10.0.0.2:53: no such host",
            "node k3s-1 finds no address of ghcr.io: its resolver (10.0.0.2:53) says that there is no such name",
        ),
        (
            "dial tcp: lookup ghcr.io on 10.0.0.2:53: server misbehaving",
            "the resolver of node k3s-1 (10.0.0.2:53) fails for ghcr.io",
        ),
    ],
)  # fmt: skip
def test_the_address_and_the_resolver_that_the_runtime_names_are_named(text: str, what: str) -> None:
    assert judge(case(HEAD + text), Evidence()).title == f"web cannot pull {IMAGE}: {what}"
