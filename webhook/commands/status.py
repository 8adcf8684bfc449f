"""`pullsecret status`: has each namespace the right pull secret, and if not, why? Which pods cannot pull, and why?

Reads only from the cluster and writes nothing. Keeps only what is shown, so that thousands of namespaces fit into
memory; of a credential only its registry and what that said about it. Of databases and HTTP services it shows the
webhook's recent Events.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from webhook.commands import health, issuedby, pods, pullevents
from webhook.commands.cluster_view import FINGERPRINT, ClusterView, outlook, usable
from webhook.commands.health import Finding
from webhook.commands.pullcause import FailingPod
from webhook.commands.verdict import Judge, Line, Pods, Seen, unserved
from webhook.config.sourceconfig import SecretsSource
from webhook.core.errors import PullsecretError
from webhook.core.pullsecret import Namespace, Planner
from webhook.core.shown import MAX_NAMED, counted, cut, few, needs_attention, quoted, some
from webhook.core.times import to_the_minute
from webhook.kube.cluster import AccountObject, Forbidden
from webhook.kube.listing import listed
from webhook.kube.recent_events import recent_warnings

MAX_FAILING = 10
"""Images that cannot be pulled which are told of one namespace. JSON has all."""
WIDE = ("PODS", "OWNER RULE", "UID")
MAX_CELL_CHARS = 64
"""Characters of a cell of the table. JSON is not cut."""
PULL_SECRETS, SOURCE_SECRETS = "the pull secret", "source Secrets"
"""What a tenant may not read, perhaps."""
_RESULTS = {"works": "works", "refused": "refused", "unknown": "not known", "unasked": "not asked"}
Unknown = tuple[str, str]
"""A registry, and why it is not known whether a credential works there."""


@dataclass(frozen=True, slots=True)
class Report:
    """`webhook`: is it well? `sources`: its recent warnings about sources as a whole. `unread`: what the user may not
    read.
    """

    lines: Sequence[Line]
    sources: Sequence[str] = ()
    webhook: Sequence[Finding] = ()
    unread: Sequence[str] = ()
    problems_only: bool = False

    def of(self, owner: str | None, *, problems_only: bool) -> "Report":
        """`owner`: only the namespaces of this one. `problems_only`: shows only those that need attention."""
        lines = [line for line in self.lines if owner is None or line.owner == owner]
        return replace(self, lines=lines, problems_only=problems_only)

    @property
    def shown(self) -> Sequence[Line]:
        return [line for line in self.lines if line.needs_a_human or not self.problems_only]

    @property
    def needs_a_human(self) -> bool:
        return any(line.needs_a_human for line in self.lines) or any(one.result == "wrong" for one in self.webhook)

    @property
    def document(self) -> dict[str, Any]:
        """For JSON: all that the text has."""
        return {
            "needs_a_human": self.needs_a_human,
            "webhook": self.webhook,
            "unread": self.unread,
            "sources": self.sources,
            "namespaces": [{"needs_a_human": line.needs_a_human, **asdict(line)} for line in self.shown],
        }


async def run(
    view: ClusterView, namespace: str | None, now: datetime, webhook: Sequence[Finding] | None = None
) -> Report:
    """`namespace` None: all served namespaces. `webhook`: what has been found of it already."""
    config, reader = view.config, view.reader
    if webhook is None:
        webhook = await health.findings(view, now)
    name, checks, mirrors = config.pull_secret.name, await view.checks(), config.mirror_rules
    if namespace is not None:
        object_ = await view.namespace_object(namespace)
        space, rules = reader.namespace(object_), {namespace: view.rule(object_)}
        if not space.served:
            found = await _pods(view, namespace, {namespace})
            line = unserved(space, view.why_unserved(space), found.get(namespace, Pods()), name)
            return Report([line], webhook=webhook, unread=_unread(view, webhook))
        spaces, mistaken = {namespace: space}, list[Namespace]()
        secret = await view.may(PULL_SECRETS, view.pull_secret(namespace), None)
        seen = {} if secret is None else {namespace: Seen.of(secret, reader, checks, mirrors)}
    else:
        try:
            spaces, mistaken, rules = await view.served()
        except Forbidden as e:
            raise PullsecretError(f"{e}; name a namespace that you may read with -n") from None
        seen = {
            one.metadata.namespace: Seen.of(one, reader, checks, mirrors)
            async for one in view.pull_secrets()
            if one.metadata.namespace in spaces
        }
    sources = await view.may(SOURCE_SECRETS, view.source_secrets(), {})
    warnings = await recent_warnings(view.cluster, config, namespace, now, view.cannot_read)
    issued = await view.may(SOURCE_SECRETS, view.issued(), {}) if config.issuers or warnings.not_issued else {}
    issuedby.drop_what_is_over(warnings, issued)
    found = await _pods(view, namespace, {*spaces, *(of.name for of in mistaken)})
    asked = all(isinstance(source, SecretsSource) for source in config.sources)
    planner = Planner(name, FINGERPRINT, when_withdrawn=config.pull_secret.when_withdrawn, mirrors=mirrors)
    why_unasked = "status cannot query sources other than Secrets"
    if SOURCE_SECRETS in view.unread:
        asked, why_unasked = False, "an administrator can see whether the owner has a credential"
    judge = Judge(
        planner,
        now,
        warnings,
        asked,
        checks,
        why_unasked,
        blind=PULL_SECRETS in view.unread,
        mirrors_of=config.mirrors_of,
    )
    lines = [
        replace(
            judge(of, one, usable(sources, of), found.get(of.name, Pods()), outlook(sources, of)),
            rule=rules[of.name],
            issued=issuedby.of_owner(of.owner, config, issued),
            uid=one.existing.uid if one is not None else "",
        )
        for of, one in ((of, seen.get(of.name)) for of in spaces.values())
    ]
    lines += [unserved(of, "", found.get(of.name, Pods()), name) for of in mistaken]
    newest = sorted(warnings.of_source.values(), key=lambda one: one.at, reverse=True)
    outages = () if asked else [f"{to_the_minute(one.at)} {one}" for one in newest]
    return Report(lines, outages, webhook, _unread(view, webhook))


def _unread(view: ClusterView, webhook: Sequence[Finding]) -> Sequence[str]:
    hidden = [one.part for one in webhook if one.result == "unknown"]
    return [*view.unread, *([f"the webhook's {', '.join(hidden)}"] if hidden else [])]


async def _pods(view: ClusterView, namespace: str | None, wanted: Container[str]) -> dict[str, Pods]:
    found = await view.may("pods", pods.read(view, namespace, wanted), {})
    if namespace is not None:  # Events of a whole cluster are too many
        for one in found.values():
            one.stuck = await pullevents.told(view, namespace, one.stuck)
    barring: dict[str, set[str]] = {}
    if any(one.lacking for one in found.values()):
        barring = await view.may("service accounts", _barring(view, namespace, found), {})
    bad = await pods.unparsable(view, found)
    return {
        space: Pods(one.stuck, one.lacking, frozenset(barring.get(space, ())), bad.get(space, ()))
        for space, one in found.items()
    }


async def _barring(view: ClusterView, namespace: str | None, wanted: Container[str]) -> dict[str, set[str]]:
    """Accounts that forbid the reference, by namespace."""
    found: dict[str, set[str]] = {}
    path = pods.within(namespace, "serviceaccounts")
    async for one in listed(view.cluster, "service accounts", path, AccountObject):
        if one.metadata.namespace in wanted and view.reader.account(one).refuses(view.config.pull_secret.name):
            found.setdefault(one.metadata.namespace, set()).add(one.metadata.name)
    return found


def text(report: Report, *, wide: bool = False) -> str:
    """What is wrong with the webhook itself, the warnings about sources, then the table with problems and notes below
    each row, then the summary. `wide`: with more columns, and the nodes of pods that cannot pull.
    """
    lines = report.shown
    rows = [("NAMESPACE", "OWNER", "SECRET", "EXPIRES", "WRITTEN", "REGISTRIES", *(WIDE if wide else ()))]
    for line in lines:
        expires_at, written = to_the_minute(line.expires), to_the_minute(line.written)
        owner = quoted(line.owner, MAX_CELL_CHARS) if line.owner else "-"
        more = (_pods_cell(line), line.rule or "-", line.uid or "-") if wide else ()
        rows.append((quoted(line.namespace), owner, line.state, expires_at, written, _registries(line), *more))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out, unknown = [], Counter(one for line in lines for one in _unknown(line))
    for row, about in zip(rows, (None, *lines), strict=True):
        out.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if about is not None:
            notes = (
                about.problem,
                about.note,
                *_unknown_text(about, unknown),
                *failing_text(about, nodes=wide),
                *pods_text(about),
                *(issuedby.text(about.issued) if wide else ()),
            )
            out += [f"  {one}" for one in notes if one]
    above = [f"the webhook: {one.why}" for one in report.webhook if one.result == "wrong"]
    last = summary(report.lines) + ("; the webhook itself needs it too" if above else "")
    if report.unread:
        above.append(f"could not be read: {'; '.join(report.unread)}; an administrator can")
    table = out if lines or not report.problems_only else ()
    return "\n".join([*above, *report.sources, *table, *_unmirrored(lines), last])


def summary(lines: Sequence[Line]) -> str:
    states = Counter(line.state for line in lines)
    without = sum(len(line.pods_without) + len(line.pods_barred) for line in lines)
    cannot = sum(len({one.pod for one in line.pods_failing}) for line in lines)
    attention = sum(line.needs_a_human for line in lines)
    served = len(lines) - states["unserved"]
    failing = f"{counted(cannot, 'pod')} cannot pull; " if cannot else ""
    withdrawn = f"{states['withdrawn']} withdrawn, " if states["withdrawn"] else ""
    refused = f"{states['refused']} with a refused credential, " if states["refused"] else ""
    return (
        f"{counted(served, 'namespace')}: {states['right']} right, {states['none']} without a known credential, "
        f"{withdrawn}{refused}{states['wrong']} wrong; {failing}"
        f"{counted(without, 'pod')} without the reference; {needs_attention(attention)}"
    )


def _registries(line: Line) -> str:
    """With what they said; first those that refuse a credential."""
    said: dict[str, list[str]] = {registry: [] for registry in line.registries}
    for one in line.checks:
        said.setdefault(one.registry, []).append(_RESULTS[one.result])
    refused = {one.registry for one in line.checks if one.result == "refused"}
    first = sorted(said, key=lambda registry: registry not in refused)[:MAX_NAMED]
    cells = (f"{quoted(one)} ({', '.join(dict.fromkeys(said[one]))})".removesuffix(" ()") for one in first)
    return cut([*cells], len(said)) or "-"


def _unknown(line: Line) -> list[Unknown]:
    return list(dict.fromkeys((one.registry, one.why) for one in line.checks if one.result == "unknown"))


def _unknown_text(line: Line, left: Counter[Unknown]) -> Sequence[str]:
    """Each once: a cluster without a way out to a registry has the same in all namespaces."""
    texts = []
    for registry, why in _unknown(line):
        if number := left.pop((registry, why), 0):
            more = f" (the same in {number - 1:,} more namespaces)" if number > 1 else ""
            texts.append(f"the registry {quoted(registry)} does not say whether the credential works: {why}{more}")
    return few(texts)


def _unmirrored(lines: Sequence[Line]) -> list[str]:
    """Once for each mirror: an owner lacks the credential in all namespaces, and perhaps most owners do."""
    owners: dict[str, dict[str, None]] = {}
    for line in lines:
        for mirror in line.unmirrored:
            owners.setdefault(mirror, {})[line.owner or ""] = None
    return [
        f"owners without a credential for the mirror {mirror}: {some([*found])}" for mirror, found in owners.items()
    ]


def pods_text(line: Line) -> list[str]:
    texts = []
    if line.pods_without:
        texts.append(f"pods without the reference: {some(line.pods_without)}; create them again")
    if line.pods_barred:
        texts.append(
            f"pods without the reference, because their service account forbids it: {some(line.pods_barred)}; "
            f"add the pull secret to the imagePullSecrets of {some(line.accounts_barring)}, then create the pods again"
        )
    return texts


def failing_text(line: Line, *, nodes: bool = False) -> Sequence[str]:
    """Once for all pods of one image and cause, as those of a Deployment are. `nodes`: also, on which nodes."""
    same: dict[tuple[str, str, str], list[FailingPod]] = {}
    for one in line.pods_failing:
        same.setdefault((one.image, one.reason, one.why), []).append(one)
    texts = []
    for (image, reason, why), found in same.items():
        where = f" on {some([*dict.fromkeys(one.node for one in found if one.node)])}" if nodes else ""
        pods = some([*dict.fromkeys(one.pod for one in found)])
        texts.append(f"{pods}{where} cannot pull {quoted(image)} ({quoted(reason)}): {why}")
    return few(texts, MAX_FAILING)


def _pods_cell(line: Line) -> str:
    cannot, without = len({one.pod for one in line.pods_failing}), len(line.pods_without) + len(line.pods_barred)
    return ", ".join([f"{cannot} cannot pull"] * bool(cannot) + [f"{without} without it"] * bool(without)) or "-"
