"""The one cause, the lowest broken layer: from what the kubelet says, what the API server shows, what the registry
answers, and what was seen on the node. Pure.

What is said above a broken layer is its consequence. What was seen from here is not what the node sees: it is told, and
names a working address, but it is never the cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from webhook.commands.doctor.asking import Asked
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.evidence import HostSeen
from webhook.commands.doctor.looked import Evidence
from webhook.commands.doctor.reach import Reach
from webhook.commands.podsecrets import PodSecret
from webhook.commands.pullcause import Cause
from webhook.core import hostport
from webhook.core.faults import Fault, Layer, layer
from webhook.core.imagename import image_name
from webhook.core.pulls import lowest
from webhook.core.runtimewords import Words

OF_WEBHOOK: dict[Cause, Fault] = {
    "not-served": Fault.NAMESPACE_NOT_SERVED,
    "opted-out": Fault.POD_OPTED_OUT,
    "unknown-owner": Fault.OWNER_UNKNOWN,
    "limited": Fault.OWNER_LIMITED,
    "no-secret": Fault.SECRET_MISSING,
    "no-reference": Fault.SECRET_NO_REFERENCE,
    "refused": Fault.CREDENTIAL_REFUSED,
    "no-entry": Fault.SECRET_NO_ENTRY,
}
"""What the webhook knows of a pull that had no credential."""
_WITHOUT = frozenset(
    {
        Fault.CREDENTIAL_NONE,
        Fault.CREDENTIAL_REFUSED,
        Fault.TOKEN_ANONYMOUS,
        Fault.TOKEN_REFUSED,
        Fault.TOKEN_NO_ACCESS,
    }
)
"""What registries say to those who have no credential, or not the right one."""
BY_WEBHOOK = frozenset(OF_WEBHOOK.values()) | {Fault.TOKEN_REFUSED, Fault.CREDENTIAL_NONE}
"""Where the next step is the webhook's to say."""
_UNSURE = frozenset(
    {Fault.IMAGE_NOT_FOUND, Fault.MIRROR_FAILS, Fault.PULL_TIMED_OUT, Fault.NOT_KNOWN, Fault.REGISTRY_NONE}
)
"""What the runtime also says if the layers below are broken: of several mirrors it names one error only."""
FOR_WANT = frozenset(OF_WEBHOOK.values()) | {Fault.SECRET_WRONG_TYPE}
"""There is no credential for the image."""
_SEEN_ON_THE_NODE = frozenset({Fault.DNS_WRONG_ADDRESS, Fault.CLOCK_WRONG})
"""What no runtime says: it takes more than one address, or a second clock, to see it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`way`: where the way to the registry breaks, as the node sees it; `secret`: the one that is wrong; `why`: instead
    of the fault's own words.
    """

    fault: Fault
    words: Words | None = None
    way: Reach | None = None
    secret: PodSecret | None = None
    why: str = ""


def find(case: Case, evidence: Evidence) -> Finding | None:
    """None: nothing wrong was found."""
    return _of_way(evidence, _of_registry(case, evidence.asked, _said(case)))


def _said(case: Case) -> Finding | None:
    """From the kubelet's words and the API server alone."""
    words = lowest(case.words)
    if words is None:
        unsaid = Finding(Fault.NOT_KNOWN, why="the kubelet does not say why") if case.reason else None
        return _of_image(case) or unsaid
    if words.mirror:
        return Finding(Fault.MIRROR_FAILS, words)
    if words.fault is Fault.SECRET_UNREADABLE:
        return Finding(words.fault, words, secret=_first(case.secrets, "fails"))
    if words.fault is Fault.IMAGE_NEVER_PULLED and case.there:
        return Finding(Fault.IMAGE_NEEDS_CREDENTIAL, words)
    if words.fault in _WITHOUT and not case.entries:
        return _without(case, Finding(words.fault, words))
    if words.fault in (Fault.CREDENTIAL_NONE, Fault.TOKEN_ANONYMOUS):
        why = "the kubelet had no credential when it tried last; now it has one, so the next try has one too"
        return Finding(Fault.CREDENTIAL_NONE, words, why=why)
    return Finding(words.fault, words)


def _of_image(case: Case) -> Finding | None:
    """Nothing has failed yet. A name that nobody can read fails everywhere, and a pull secret that nobody can parse
    fails every pull. A pod without any credential can still pull what is public.
    """
    if image_name(case.image) is None:
        return Finding(Fault.IMAGE_NAME_INVALID)
    broken = _first(case.secrets, "fails")
    return Finding(Fault.SECRET_UNREADABLE, secret=broken) if broken is not None else None


def _without(case: Case, said: Finding) -> Finding:
    """No entry matches. A Secret of the pod's own that is wrong comes before what the webhook did not do."""
    own = [one for one in case.secrets if one.name != case.ours]
    if (missing := _first(own, "missing")) is not None:
        return replace(said, fault=Fault.SECRET_MISSING, secret=missing)
    if (passed := _first(own, "passes over")) is not None:
        return replace(said, fault=Fault.SECRET_WRONG_TYPE, secret=passed)
    fault = OF_WEBHOOK.get(case.cause) if case.cause is not None else None
    if fault is not None and (not own or fault is not Fault.NAMESPACE_NOT_SERVED):
        return replace(said, fault=fault, why=case.why)
    return replace(said, fault=Fault.SECRET_NO_ENTRY) if own else said


def _first(secrets: Sequence[PodSecret], state: str) -> PodSecret | None:
    return next((one for one in secrets if one.state == state), None)


def _of_registry(case: Case, asked: Asked | None, said: Finding | None) -> Finding | None:
    """What the registry answers now, and to this image, is newer and more exact than what it said to the kubelet. That
    it is not reached from here says nothing about the node.
    """
    if asked is None or asked.fault is None or layer(asked.fault) < Layer.REGISTRY:
        return said
    wants = said is not None and said.fault in FOR_WANT and not case.entries
    if said is not None and (
        asked.fault in (said.fault, Fault.NOT_KNOWN) or (layer(said.fault) < Layer.REGISTRY and not wants)
    ):
        return said
    # A pull secret is not what is missing where a registry fails for everybody; but some say 404 of what is private.
    if wants and asked.fault in _WITHOUT | {Fault.IMAGE_NOT_FOUND}:
        return said
    found = Finding(asked.fault, said.words if said is not None else None)
    return _without(case, found) if asked.fault in _WITHOUT and not case.entries else found


def _is_at(seen: HostSeen, host: str) -> bool:
    """`host`: as the runtime writes it, mostly without a usual port."""
    name, port = hostport.split(host)
    return name == seen.host and (int(port) == seen.port if port else seen.port in (443, 80))


def _of_way(evidence: Evidence, said: Finding | None) -> Finding | None:
    """What the node's probe saw below."""
    if evidence.node is None:
        return said
    broken = [
        (seen, way)
        for seen, way in evidence.node.reaches()
        # Which CAs the runtime knows beside those of the probe is not seen: if it does not say so itself, this is none.
        if way.fault is not None and (way.fault is not Fault.TLS_UNKNOWN_CA or said is None or said.fault is way.fault)
    ]
    host = said.words.host if said is not None and said.words is not None else ""
    named = [way for seen, way in broken if _is_at(seen, host)]
    # Where blobs come from is often only guessed, and a pull that fails before has not been there.
    way = next(iter([*named, *(way for seen, way in broken if seen.role != "blobs" or said is None)]), None)
    if way is None or way.fault is None:
        return said
    if said is None:
        return Finding(way.fault, way=way)
    if (
        Layer.RUNTIME < layer(said.fault) < Layer.REGISTRY
        or said.fault in _UNSURE
        or (said.words is not None and said.words.partial)
    ):
        # In the same layer the runtime's own words count: it asked at another time, and with another patience.
        newer = layer(way.fault) != layer(said.fault) or way.fault in _SEEN_ON_THE_NODE
        return Finding(way.fault if newer else said.fault, said.words, way)
    return said
