"""Why a pod cannot pull an image: what the kubelet says, held against the entries of the pull secret. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from webhook.commands.pods import Stuck
from webhook.core.names import DISABLED, INJECT
from webhook.core.pulls import Said, end, lowest
from webhook.core.registry import matching, repository
from webhook.core.shown import quoted, some

Cause = Literal[
    "unreadable-secret",
    "invalid-name",
    "address",
    "certificate",
    "connection",
    "rate-limit",
    "registry-fails",
    "not-served",
    "opted-out",
    "unknown-owner",
    "limited",
    "no-secret",
    "no-entry",
    "no-reference",
    "refused",
    "denied",
    "not-found",
    "retry",
    "other",
]
_ELSEWHERE: Mapping[Said, tuple[Cause, str]] = {
    Said.NO_NAME: ("invalid-name", "this is no valid name of an image"),
    Said.ADDRESS: ("address", "the node cannot resolve the name of {who}"),
    Said.CERTIFICATE: ("certificate", "the node does not trust the certificate of {who}"),
    Said.CONNECTION: ("connection", "the node does not reach {who}"),
    Said.BUSY: ("rate-limit", "{who} has too many requests (429)"),
    Said.BROKEN: ("registry-fails", "{who} fails"),
    Said.OTHER: ("other", "the kubelet gives another reason"),
}
"""Where credentials play no part."""
_BLIND: Mapping[Said, tuple[Cause, str]] = {
    Said.UNAUTHORIZED: ("refused", "{who} refuses a credential ({status})"),
    Said.FORBIDDEN: ("denied", "{who} denies this image: the credential has no right to it, or there is none"),
    Said.NOT_FOUND: ("not-found", "{who} says 404: there is no such image, or no right to it"),
    Said.UNSENT: ("no-entry", "the kubelet has no credential for this image"),
}


@dataclass(frozen=True, slots=True)
class About:
    """A namespace and its pull secret. `unserved`: why the webhook does not serve it. `entries`: registries of the
    entries in the Secret, None without a Secret; `refused`, `limited`: those that are not in it, because the registry
    refuses the owner's credential, or because it is limited to other namespaces. `unknown_owner`: that no source knows
    the owner; `why_none`: why there is no Secret. `unparsable`: pull secrets that the kubelet cannot parse. `blind`:
    the Secret may not be read.
    """

    secret: str
    owner: str = ""
    unserved: str = ""
    entries: tuple[str, ...] | None = None
    ours: bool = True
    refused: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()
    unknown_owner: str = ""
    why_none: str = ""
    unparsable: tuple[str, ...] = ()
    blind: bool = False

    @property
    def credential(self) -> str:
        if self.owner and self.ours:
            return f"the credential of {quoted(self.owner)}"
        return f"the credential in {self.secret}, which is not the webhook's,"


@dataclass(frozen=True, slots=True)
class FailingPod:
    """`reason`, `said`: the kubelet's own words. `cause`, `why`: what they mean."""

    pod: str
    container: str
    image: str
    reason: str
    said: str
    cause: Cause
    why: str
    node: str = ""


def failing(one: Stuck, about: About) -> FailingPod:
    cause, why = _why(one, about)
    return FailingPod(one.pod, one.container, one.image, one.reason, one.said, cause, why, one.node)


def _why(one: Stuck, about: About) -> tuple[Cause, str]:
    if one.what is Said.UNREADABLE:
        return "unreadable-secret", _unreadable(one, about)
    if (elsewhere := _ELSEWHERE.get(one.what)) is not None:
        cause, words = elsewhere
        words = words.format(who=_who(one))
        return cause, f"{words}: {quoted(end(one.said))}" if one.said else words
    if (about.unserved or one.opted_out) and (own := _of_own(one, about)) is not None:
        return own
    if about.unserved:
        return "not-served", about.unserved
    if one.opted_out:
        return "opted-out", f"its label {INJECT}: {DISABLED} opts it out"
    return _of_words(one, about) if about.blind else _of_secret(one, about)


def _of_own(one: Stuck, about: About) -> tuple[Cause, str] | None:
    """A pod that the webhook leaves alone may have pull secrets of its own. None: they are not what is wrong."""
    own = [name for name in one.pull_secrets if name != about.secret]
    if not own or one.what is Said.UNSENT or one.what not in _BLIND:
        return None
    cause, words = _blind(one)
    return cause, f"{words}; the webhook leaves the pod alone, and its pull secrets are {some(own)}"


def _of_words(one: Stuck, about: About) -> tuple[Cause, str]:
    """Without a look at the Secret."""
    if about.secret not in one.pull_secrets:
        return "no-reference", f"it has no reference to {about.secret}"
    return _blind(one)


def _blind(one: Stuck) -> tuple[Cause, str]:
    cause, words = _BLIND.get(one.what, ("other", "the kubelet does not say why"))
    return cause, words.format(status=_refused_with(one), who=_who(one))


def _who(one: Stuck) -> str:
    """Who says so. What a mirror says that the node asks hides what the registry itself says."""
    found = lowest(one.words)
    return f"the mirror {quoted(found.host)}" if found and found.mirror else "the registry"


def _refused_with(one: Stuck) -> int:
    """Token services refuse with 403 too. 401: what it is if the runtime does not say."""
    found = lowest(one.words)
    return found.status if found and found.status else 401


def _unreadable(one: Stuck, about: About) -> str:
    bad = [name for name in one.pull_secrets if name in about.unparsable]
    which = some(bad) if bad else f"one of its pull secrets ({some(one.pull_secrets)})"
    return f"the kubelet cannot parse {which}, and then tries no credential at all; repair or remove it"


def _of_secret(one: Stuck, about: About) -> tuple[Cause, str]:
    host, image = repository(one.image).partition("/")[0], one.image
    found = matching(about.entries or (), image)
    if found:
        return _of_entry(one, about, found[0])
    if refused := matching(about.refused, image):
        return "refused", f"the registry refuses {about.credential} for {quoted(refused[0])}, which is left out"
    if limited := matching(about.limited, image):
        return "limited", f"{about.credential} for {quoted(limited[0])} is limited to other namespaces"
    if about.entries is None:
        return ("unknown-owner", about.unknown_owner) if about.unknown_owner else ("no-secret", about.why_none)
    near = any(entry.partition("/")[0] == host for entry in about.entries)
    name = quoted(repository(image) if near else host)
    has = f"it has {some(about.entries)}" if about.entries else "it has none"
    return "no-entry", f"the pull secret has no entry for {name}; {has}"


def _of_entry(one: Stuck, about: About, entry: str) -> tuple[Cause, str]:
    if about.secret not in one.pull_secrets:
        return "no-reference", f"it has no reference to {about.secret}"
    others = [name for name in one.pull_secrets if name != about.secret]
    too = f"; it also has the pull secrets {some(others)}" if others else ""
    match one.what:
        case Said.UNAUTHORIZED:
            return "refused", f"{_who(one)} refuses {about.credential} for {quoted(entry)} ({_refused_with(one)}){too}"
        case Said.FORBIDDEN:
            return (
                "denied",
                f"{_who(one)} denies {about.credential} this image: it has no right to it, or there is none",
            )
        case Said.NOT_FOUND:
            return "not-found", (
                f"the entry for {quoted(entry)} matches, and {_who(one)} says 404: there is no such image, or the "
                "credential has no right to it"
            )
        case Said.UNSENT:
            return "retry", (
                f"the kubelet had no credential when it tried last; the entry for {quoted(entry)} matches, so the next "
                "try has one"
            )
        case _:
            return "other", f"the kubelet does not say why; the entry for {quoted(entry)} matches{too}"
