"""The evidence, a label and a text each, all safe to print. Pure."""

from collections.abc import Iterator
from itertools import chain, repeat

from webhook.commands.doctor.asking import Asked
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.finding import OF_WEBHOOK, Finding
from webhook.commands.doctor.looked import ROLES, Evidence, Looked
from webhook.commands.doctor.reach import Row, endpoint, is_right
from webhook.commands.doctor.reach import rows as way_rows
from webhook.commands.doctor.resolving import is_address
from webhook.commands.podsecrets import WORDS
from webhook.core.faults import Fault
from webhook.core.pulls import end
from webhook.core.shown import quoted, some


def rows(case: Case, evidence: Evidence, found: Finding | None) -> Iterator[Row]:
    if case.reason:
        whole = len(case.words) > 1 or (found is not None and found.fault is Fault.NOT_KNOWN)
        said = case.said if whole else end(case.said)
        yield (
            "the kubelet says",
            f"{quoted(case.reason)}: {said}" if said and case.said != case.reason else quoted(case.reason),
        )
    if any(one.mirror for one in case.words):
        yield "", "these are the words of a mirror, which hide what the registry itself says"
        if case.entries:
            yield "", "the runtime shows mirrors the credentials for the registry too (docs/mirrors.md)"
    if any(one.anonymous for one in case.words):
        yield "", "the runtime sent no credential"
    yield from _secret_rows(case)
    if case.why and case.cause in OF_WEBHOOK and (found is None or case.why != found.why):
        yield "webhook", case.why
    yield from zip(chain(["mirrors"], repeat("")), case.naming.text, strict=False)
    if case.there:
        yield "image", f"{quoted(case.node)} has it already"
    yield from looked_rows(evidence)
    if evidence.asked is not None:
        yield from _asked_rows(case, evidence.asked)


def looked_rows(evidence: Evidence) -> Iterator[Row]:
    """What was seen on the way."""
    if evidence.node is not None:
        yield from _node_rows(evidence.node)
    if evidence.here is not None:
        yield from _here_rows(evidence)


def _secret_rows(case: Case) -> Iterator[Row]:
    label = "pull secrets"
    for one in case.secrets:
        keys = [key for key, name in case.entries if name == one.name]
        if one.state == "takes":
            has = (
                f"{some(keys)} matches this image"
                if keys
                else f"no entry matches this image; it has {some(one.registries) or 'none'}"
            )
            problem = f"; {one.problem}" if one.problem else ""
            yield label, f"{quoted(one.name)}: the kubelet takes it, {has}{problem}"
        else:
            yield label, f"{quoted(one.name)}: {WORDS[one.state]}{one.problem and f' ({one.problem})'}"
        label = ""
    if not case.secrets:
        yield label, "none"
    elif case.account:
        yield "", f"the list is that of the service account {quoted(case.account)}"


def _node_rows(node: Looked) -> Iterator[Row]:
    label = f"{node.place}, {node.probed.at:%H:%M}"
    if words := node.clock.words:
        yield label, words
        label = ""
    for place, (seen, way) in enumerate(node.reaches()):
        if seen.role != "registry" and way.fault is None:
            right = next((one for one in seen.endpoints if is_right(one)), None)
            yield "also needed", f"{quoted(seen.host)}: right on this node{(right and f' ({right.address})') or ''}"
            continue
        label = f"{quoted(seen.host)}{ROLES[seen.role]}" if place else label
        for server, text in way_rows(seen):
            yield label, f"{server:18} {text}"
            label = ""
        if seen.cluster_dns is not None:
            given = some(seen.cluster_dns.addresses) if seen.cluster_dns.addresses else seen.cluster_dns.result
            yield "cluster DNS", f"{given}  (what pods see; pulls do not ask it)"


def _here_rows(evidence: Evidence) -> Iterator[Row]:
    here = evidence.here
    if here is None:
        return
    label = here.place
    for place, seen in enumerate(here.probed.hosts):
        for one in seen.endpoints:
            which = f"{quoted(seen.host)}: " if place else ""
            yield label, f"{which}{one.address}   {endpoint(seen, one)}"
            label = ""
        if not seen.endpoints:
            private = any(one.addresses for one in seen.answers) or is_address(seen.host)
            why = "a private address, tried only if the configuration names it" if private else "no address"
            yield label, f"{quoted(seen.host)}: {why}"
            label = ""


def _asked_rows(case: Case, asked: Asked) -> Iterator[Row]:
    label = "asked from here"
    for step in asked.steps:
        said = ", ".join(filter(None, (f"HTTP {step.status}" if step.status else "", step.words)))
        yield label, f"{step.what:10} {quoted(step.host)}: {said}"
        label = ""
    if asked.not_asked and not any(asked.not_asked in step.words for step in asked.steps):
        yield label, f"not asked: {asked.not_asked}"
    elif asked.works:
        how = "with this credential" if case.entries else "without a credential"
        yield label, f"as far as it was asked, it can be pulled from here {how}"
