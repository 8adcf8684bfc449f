"""The verdict: one cause, the evidence for it, and what to do. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from webhook.commands.doctor.advice import ADVICE, NOT_COREDNS
from webhook.commands.doctor.asking import Asked
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.evidence import HERE, HOSTS_FILE
from webhook.commands.doctor.finding import BY_WEBHOOK, FOR_WANT, Finding, find
from webhook.commands.doctor.looked import ROLES, THE_NODE, Evidence
from webhook.commands.doctor.reach import Reach, Row
from webhook.commands.doctor.rows import looked_rows, rows
from webhook.commands.pods import Pod
from webhook.commands.podsecrets import PodSecret
from webhook.core import hostport
from webhook.core.faults import Fault, Layer, layer
from webhook.core.registry import repository
from webhook.core.shown import quoted, some

RUNTIME = "the runtime's own proxy, CA certificates and hosts.toml on the node"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`code` None: nothing wrong was found; `unseen`: but something that was wanted could not be looked at. `rows`:
    evidence, a label and a text each. `todo`: for this cause only.
    """

    code: Fault | None
    image: str
    title: str
    rows: tuple[Row, ...]
    todo: tuple[str, ...] = ()
    not_looked: tuple[str, ...] = ()
    node: str = ""
    container: str = ""
    unseen: bool = False


def judge(case: Case, evidence: Evidence) -> Verdict:
    found = find(case, evidence)
    shown = tuple(rows(case, evidence, found))
    name, image = quoted(case.pod), quoted(case.image)
    if found is None:
        title, unseen = _well(case, evidence.asked), evidence.missed
        unseen = unseen or (evidence.asked is not None and not evidence.asked.works)
        return Verdict(None, case.image, title, shown, (), _not_looked(evidence), case.node, case.container, unseen)
    fields = _fields(case, evidence, found)
    what = found.why or ADVICE[found.fault].what.format_map(_with_role(fields, found))
    title = f"{name} cannot pull {image}: {what}" if case.pod else f"{image} cannot be pulled: {what}"
    todo = (*_todo(case, evidence, found, fields), *_doubt(evidence, found))
    return Verdict(found.fault, case.image, title, shown, todo, _not_looked(evidence), case.node, case.container)


def _well(case: Case, asked: Asked | None) -> str:
    name, image = quoted(case.pod), quoted(case.image)
    if asked is not None and asked.works:
        return f"{image} can be pulled, as far as the registry was asked"
    title = f"Nothing wrong was found with {f'{name} and its image ' if case.pod else ''}{image}"
    if asked is not None:
        return f"{title}, but the registry could not be asked from here"
    return title if case.pod or case.entries else f"{title}, but it must be public: no pull secret has an entry for it"


def _with_role(fields: dict[str, str], found: Finding) -> dict[str, str]:
    """A host that the name of the image does not show needs a word."""
    words = found.words
    if words is None or (found.way is not None and found.way.host != words.host):
        return fields
    if words.mirror:
        return fields | {"host": f"{fields['host']} (a mirror)"}
    if not Layer.RUNTIME < layer(found.fault) < Layer.REGISTRY:
        return fields
    return fields | {"host": f"{fields['host']}{ROLES[words.role]}"}


def _fields(case: Case, evidence: Evidence, found: Finding, there: str = "the node") -> dict[str, str]:
    """All safe to print."""
    words, way = found.words, found.way
    host = way.host if way is not None else (words.host if words is not None and words.host else _host(case.image))
    secret = found.secret
    right = way.right.address if way is not None and way.right is not None else ""
    once_more = "The kubelet then tries again by itself."
    if secret is not None and secret.name and case.account:
        once_more = "The list of a pod cannot change: after a change in the service account create the pod again."
    names = way.used.names if way is not None and way.used is not None else (words.names if words is not None else ())
    issuer = way.used.issuer if way is not None and way.used is not None else ""
    asked = evidence.asked
    at = words.host if words is not None and words.host and words.host != _host(case.image) else ""
    status = words.status if words is not None else 0
    pod = "the pod" if case.pod else "such a pod"
    give = f"Give owner {quoted(case.owner)} a credential" if case.owner else f"Give {pod} a pull secret"
    foreign = words is not None and words.role != "registry"
    return {
        "where": f"node {quoted(case.node)}" if case.node else "its node",
        "there": there,
        "not_coredns": NOT_COREDNS,
        "host": quoted(host),
        "server": f" ({quoted(words.server)})" if words is not None and words.server else "",
        "address": f" at {quoted(words.address)}" if words is not None and words.address else "",
        "name": quoted(hostport.split(host)[0]),
        "repository": quoted(repository(case.image)),
        "secret": f"the Secret {quoted(secret.name)}" if secret is not None else "one of its pull secrets",
        "secret_why": _why_passed(secret),
        "from_account": f" in the service account {quoted(case.account)}" if case.account else "",
        "list": f"the list of the service account {quoted(case.account)}" if case.account else "the pod's template",
        "once_more": once_more,
        "ours": case.ours,
        "give": give,
        "another": _another(case),
        "log_in": "" if case.entries else f"Or {give[0].lower()}{give[1:]} for it: registries allow more to a user.",
        "problem": next((f"{quoted(one.name)}: {_sentence(one.problem)}" for one in case.secrets if one.problem), ""),
        "to_whom": "to this credential" if case.entries else "without a credential",
        "show_it": "give the credential the right to read it" if case.entries else f"give {pod} a pull secret for it",
        "of_a_mirror": _of_a_mirror(evidence),
        "no_host": (
            f"If there is no {quoted(host)}, the registry names a wrong host: ask those who run it."
            if foreign
            else f"If {quoted(host)} is no registry, correct the name."
        ),
        "credential": _credential(case),
        "right": right,
        "culprit": _culprit(way, there),
        "names": f" ({some(names)})" if names else "",
        "issuer": f" ({quoted(issuer)})" if issuer else "",
        "more_by_node": _more_by_node(way, evidence),
        "status": f" ({status})" if status else "",
        "at_host": f" (at {quoted(at)})" if at else "",
        "platform": f" ({quoted(case.platform)}{_has(asked)})" if case.platform else "",
        "kind": _sentence(asked.hint) if asked is not None else "",
    }


def _culprit(way: Reach | None, there: str) -> str:
    """Who gives the wrong address."""
    if way is None or way.used is None:
        return ""
    if HOSTS_FILE in way.used.given_by:
        return (
            f"Correct or remove the line for {quoted(way.host)} in /etc/hosts of {there}: {way.used.address} is wrong."
        )
    servers = some([one for one in way.used.given_by if one != HERE])
    who = f"The resolver {servers}" if servers else "The resolver"
    return f"{who} gives {way.used.address}, which is wrong: it is tampered with, or out of date."


def _more_by_node(way: Reach | None, evidence: Evidence) -> str:
    """Of an address at which somebody else answers."""
    if evidence.node is None:
        return "Look from the node: --node shows which address it takes." if THE_NODE in evidence.not_looked else ""
    if way is None or way.used is None:
        return ""
    used = way.used
    givers = ", ".join("its hosts file" if one == HOSTS_FILE else quoted(one) for one in used.given_by if one != HERE)
    seen = evidence.here.probed.hosts if evidence.here is not None else ()
    same = any(one.address == used.address and "wrong name" in one.faults for host in seen for one in host.endpoints)
    said = [f"The node has {used.address} from {givers}."] if givers else []
    if same:
        said.append("This machine finds the same there, so the certificate of that host itself may be wrong.")
    return " ".join(said)


def _of_a_mirror(evidence: Evidence) -> str:
    """A mirror that has no such image hides why the registry was not reached."""
    asked = evidence.asked
    if evidence.node is not None or (asked is not None and asked.fault is Fault.IMAGE_NOT_FOUND):
        return ""
    more = "--node looks" if asked is not None else "--ask and --node look"
    return f"If the node uses a mirror for it, these may be the mirror's words: {more} at the registry itself."


def _another(case: Case) -> str:
    """A credential in place of the one that was used."""
    secret = case.entries[0][1] if case.entries else case.ours
    if secret != case.ours:
        return f"Write another credential into the Secret {quoted(secret)}, one"
    return f"Give {f'owner {quoted(case.owner)}' if case.owner else 'the owner'} another credential, one"


def _sentence(words: str) -> str:
    end = "" if words.endswith(("?", ".")) else "."
    return f"{words[0].upper()}{words[1:]}{end}" if words else ""


def _has(asked: Asked | None) -> str:
    return f"; it is there for {some(asked.platforms)}" if asked is not None and asked.platforms else ""


def _host(image: str) -> str:
    return repository(image).partition("/")[0]


def _why_passed(secret: PodSecret | None) -> str:
    if secret is None:
        return ""
    return f"its type {quoted(secret.type)} is not one of a pull secret" if secret.type else secret.problem


def _credential(case: Case) -> str:
    if not case.entries:
        return "whoever has no credential"
    key, secret = case.entries[0]
    whose = f"the credential of {quoted(case.owner)}" if secret == case.ours and case.owner else "the credential"
    return f"{whose} for {quoted(key)} in {quoted(secret)}"


def _todo(case: Case, evidence: Evidence, found: Finding, fields: dict[str, str]) -> Iterator[str]:
    own = ADVICE[found.fault].todo
    if found.words is not None and found.words.mirror and found.way is not None and found.way.host == found.words.host:
        own = ADVICE[Fault.MIRROR_FAILS].todo
    if found.way is not None and evidence.node is not None and (words := evidence.node.clock.words):
        yield f"On {fields['where']}: {words}."
    if (found.fault in BY_WEBHOOK or not own) and case.next_step and (found.why or found.fault not in FOR_WANT):
        yield _sentence(case.next_step)
        return
    for line in own:
        if text := line.format_map(fields):
            yield text
    if not own:
        yield f"{_another(case).removesuffix(', one')}; the kubelet then tries again by itself."
    if case.naming.mirror:
        yield from _at_mirror(case, found)


def _at_mirror(case: Case, found: Finding) -> Iterator[str]:
    """What else can be done for an image that has its name by a mirror."""
    if found.fault is Fault.TLS_UNKNOWN_CA:
        yield "Or use how: node with nodeCaFile for this mirror, or leave it out of the configuration."
    elif Layer.RUNTIME < layer(found.fault) <= Layer.REGISTRY:
        yield "Or create the pod again: while the mirror does not answer, its images keep their names."
    elif found.fault is Fault.IMAGE_NOT_FOUND:
        yield f"Look whether the mirror has {quoted(case.naming.was)} of the registry: the webhook does not ask."


def _doubt(evidence: Evidence, found: Finding) -> Iterator[str]:
    bare = found.words is not None and found.words.fault is Fault.TOKEN_NO_ACCESS
    if bare and found.fault in FOR_WANT and evidence.asked is None:
        yield "A 403 may also be of something before the registry: --ask shows whose it is."


def _not_looked(evidence: Evidence) -> tuple[str, ...]:
    return (*evidence.not_looked, RUNTIME)


def idle(pod: Pod) -> Verdict:
    """Of a pod that waits for no image."""
    name, node = quoted(pod.metadata.name), pod.spec.node_name or ""
    if pod.over:
        title = f"{name} has ended or is being deleted, and pulls nothing"
    elif not node:
        title = f"{name} has no node yet, so nothing was pulled; kubectl describe pod shows why it is not scheduled"
    elif pod.waits:
        title = f"{name} waits, and its kubelet has said nothing yet: a runtime tries a silent registry for a minute"
    else:
        title = f"{name} waits for no image"
    return Verdict(None, "", title, (), node=node)


def judge_registry(host: str, node: str, evidence: Evidence) -> Verdict:
    """Of a registry alone: what the node sees, or this machine if no node was looked at."""
    looked = evidence.node or evidence.here
    ways = [way for _, way in looked.reaches()] if looked is not None else []
    way = next((one for one in ways if one.fault is not None), None)
    shown, place = tuple(looked_rows(evidence)), "this machine" if evidence.node is None else f"node {quoted(node)}"
    if way is None or way.fault is None:
        missed = f"; node {quoted(node)} was not looked at" if evidence.missed else ""
        title = f"{quoted(host)} is reached from {place}{missed}"
        return Verdict(None, host, title, shown, (), _not_looked(evidence), node, unseen=evidence.missed)
    found = Finding(way.fault, way=way)
    fields = _fields(Case(host, "", ""), evidence, found, "the node" if evidence.node else place) | {"where": place}
    if evidence.node is None:
        fields["not_coredns"] = ""
    title = f"Nothing can be pulled from {quoted(host)}: {ADVICE[way.fault].what.format_map(fields)}"
    todo = tuple(filter(None, (one.format_map(fields).rstrip() for one in ADVICE[way.fault].todo)))
    return Verdict(way.fault, host, title, shown, todo, _not_looked(evidence), node)
