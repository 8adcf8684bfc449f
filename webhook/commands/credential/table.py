"""`pullsecret credential list`: the credentials in source Secrets, where each is used, and what its registry said."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential.holdings import NAMESPACES_UNREAD, Holdings, Names
from webhook.commands.verdict import REFUSES, Answer, Entry
from webhook.config.sourceconfig import SecretsSource
from webhook.core.credential import Credential, Credentials
from webhook.core.issued import IssuedBy
from webhook.core.pullsecret import SOON, Namespace, refused_at
from webhook.core.shown import counted, needs_attention, quoted, some
from webhook.core.times import to_the_minute
from webhook.sources.secret import SourceSecret

MAX_CELL_CHARS = 48
"""Characters of a cell. JSON is not cut."""
ISSUED = "ISSUER", "GENERATION", "ISSUED", "NEXT"
"""More columns, if any credential was issued."""
NONE_ISSUED: Mapping[str, IssuedBy] = {}
Preferred = Literal["yes", "partly", "no", "unknown"]
_CHECKS = {"works": "works", "refused": "refused", "unknown": "not known", "unasked": "not asked"}
"""What the registry said, as in `status`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One credential, or one Secret that is broken: then only `problem` says more. `namespaces`: to which it is
    limited. `used_in`: how many namespaces have it in their pull secret; None: they may not be read. `preferred`: is it
    the first of its registry there? `check`: what the registry said to the webhook; None: that is not known.
    `issued`: if an issuer mints it.
    """

    owner: str | None
    registry: str
    secret: str
    expires: datetime | None = None
    namespaces: tuple[str, ...] = ()
    used_in: int | None = None
    preferred: Preferred = "unknown"
    check: Answer | None = None
    problem: str = ""
    note: str = ""
    issued: IssuedBy | None = None

    @property
    def needs_a_human(self) -> bool:
        return bool(self.problem)


@dataclass(frozen=True, slots=True)
class Table:
    """`unread`: what the user may not read. `elsewhere`: do credentials come from other sources, too?"""

    rows: Sequence[Row]
    unread: Sequence[str] = ()
    elsewhere: bool = False

    @property
    def needs_a_human(self) -> bool:
        return any(row.needs_a_human for row in self.rows)

    @property
    def document(self) -> dict[str, Any]:
        """For JSON: all that the text has."""
        credentials = [{"needs_a_human": row.needs_a_human, **asdict(row)} for row in self.rows]
        return {"needs_a_human": self.needs_a_human, "unread": self.unread, "credentials": credentials}


async def run(view: ClusterView, owner: str | None, now: datetime) -> Table:
    """`owner` None: of all."""
    owners: dict[str, dict[str, SourceSecret]] = {}
    nobodys: list[Row] = []
    async for name, secret in view.each_source_secret():
        if secret.owner is not None:
            owners.setdefault(secret.owner, {})[name] = secret
        elif owner is None:
            nobodys.append(Row(None, "", name, problem="; ".join(secret.problems)))
    if owner is not None and owner not in owners:
        raise Names(frozenset(owners), frozenset()).no_secret(owner)
    issued = await view.issued()
    checks, served = await view.checks(), await view.may("namespaces", view.served(), None)
    spaces: dict[str, dict[str, Namespace]] = {}
    for space in (served[0] if served is not None else {}).values():
        spaces.setdefault(space.owner or "", {})[space.name] = space
    rows = list[Row]()
    for one in sorted(owners) if owner is None else [owner]:
        mine = None if served is None else spaces.get(one, {})
        rows += rows_of(Holdings(one, owners[one], mine, checks, view.config.mirror_rules), now, issued)
    elsewhere = not all(isinstance(source, SecretsSource) for source in view.config.sources)
    return Table([*rows, *nobodys], [*view.unread], elsewhere)


def rows_of(held: Holdings, now: datetime, issued: Mapping[str, IssuedBy] = NONE_ISSUED) -> list[Row]:
    """Sorted by registry and Secret; broken Secrets last. `issued`: by Secret."""
    known = held.known
    rows = _known_rows(held, known, now, issued) if isinstance(known, Credentials) else _unknown_rows(held)
    rows = [replace(row, issued=issued.get(row.secret)) for row in rows]
    for name, secret in sorted(held.secrets.items()):
        if secret.problems:
            then = "" if secret.credentials is not None else "; until it is repaired, the pull secrets stay as they are"
            rows.append(Row(held.owner, "", name, problem=f"{'; '.join(secret.problems)}{then}"))
        if secret.mistake:
            rows.append(Row(held.owner, "", name, note=secret.mistake))
    return rows


def _unknown_rows(held: Holdings) -> list[Row]:
    """While a Secret of the owner is broken: what is used was decided before."""
    return [
        Row(held.owner, c.registry, name, c.expiry, c.namespaces)
        for name, secret in sorted(held.secrets.items())
        for c in secret.credentials or ()
    ]


def _known_rows(held: Holdings, known: Credentials, now: datetime, issued: Mapping[str, IssuedBy]) -> list[Row]:
    spaces = sorted(held.namespaces or ())
    found = {name: held.merged(name, now) for name in spaces or [""]}
    used = {name: one.items for name, one in found.items()}
    ended = [c for one in found.values() for c in one.expired]
    rows = []
    for c in known.items:
        mine = {name: items for name, items in used.items() if Credentials((c,)).usable_in(name).items}
        rows.append(
            Row(
                held.owner,
                c.registry,
                c.origin.name,
                c.expiry,
                c.namespaces,
                None if held.namespaces is None else sum(_among(c, mine[name]) for name in spaces if name in mine),
                _preferred(c, mine),
                None if held.checks is None else Answer.of(Entry(c.registry, held.checks.of(c))),
                _problem(c, ended=_among(c, ended), by=issued.get(c.origin.name)),
                _note(c, held, mine, now, issued.get(c.origin.name)),
            )
        )
    return rows


def _is(one: Credential, other: Credential) -> bool:
    return one == other and one.origin == other.origin


def _among(c: Credential, items: Sequence[Credential]) -> bool:
    return any(_is(c, one) for one in items)


def _first(c: Credential, items: Sequence[Credential]) -> Credential | None:
    """The preferred one for its registry."""
    return next((one for one in items if one.registry == c.registry and not one.copy_of), None)


def _preferred(c: Credential, used: Mapping[str, Sequence[Credential]]) -> Preferred:
    firsts = [(one := _first(c, items)) is not None and _is(c, one) for items in used.values()]
    if not firsts:
        return "unknown"
    return "yes" if all(firsts) else "partly" if any(firsts) else "no"


def _problem(c: Credential, *, ended: bool, by: IssuedBy | None) -> str:
    """`ended`: without another one in its place. `by`: who issues it."""
    words = []
    if c.refusal is not None:
        words.append(f"{REFUSES} {refused_at(c.registry, c.refusal)}")
    if ended and by is not None:
        words.append("it has ended, and its issuer has minted no other one; see pullsecret status")
    elif ended:
        words.append("it has ended; renew it with pullsecret credential rotate")
    return "; ".join(words)


def _note(
    c: Credential, held: Holdings, used: Mapping[str, Sequence[Credential]], now: datetime, by: IssuedBy | None
) -> str:
    words = [f"limited to {some(c.namespaces)}"] if c.namespaces else []
    if held.namespaces is not None and not held.namespaces:
        words.append("no namespace has this owner")
    elif held.namespaces is not None and not used:
        words.append("no namespace of the owner is called so")
    before = {one.origin.name for items in used.values() if (one := _first(c, items)) is not None and not _is(c, one)}
    if before and not c.left_out:
        verb = "comes first" if any(_among(c, items) for items in used.values()) else "is used instead"
        words.append(f"that of source Secret {some(sorted(before))} {verb}")
    if by is not None and by.renewed is None and by.issued is not None:
        words.append("no issuer of the configuration renews it")
    elif by is not None and by.renewed is None:
        words.append("what its issuer noted about it cannot be read, so another one is minted soon")
    elif by is None and c.expiry is not None and now < c.expiry <= now + SOON:
        words.append("it ends soon")
    return "; ".join(words)


def text(table: Table) -> str:
    minted = any(row.issued is not None for row in table.rows)
    lines = [("OWNER", "REGISTRY", "SOURCE SECRET", "ENDS", "NAMESPACES", "PREFERRED", "CHECK", *ISSUED * minted)]
    for row in table.rows:
        check = "-" if row.check is None else _CHECKS[row.check.result]
        ends = to_the_minute(row.expires)
        used = "-" if row.used_in is None else str(row.used_in)
        owner = "-" if row.owner is None else quoted(row.owner, MAX_CELL_CHARS)
        registry = quoted(row.registry, MAX_CELL_CHARS) if row.registry else "-"
        preferred = "-" if row.preferred == "unknown" else row.preferred
        more = _issued(row.issued) if minted else ()
        lines.append((owner, registry, quoted(row.secret), ends, used, preferred, check, *more))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    out = []
    for cells, about in zip(lines, (None, *table.rows), strict=True):
        out.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        if about is not None:
            out += [f"  {one}" for one in (about.problem, about.note, _why(about.check)) if one]
    if table.unread:
        out.append(f"could not be read: {some([*table.unread])}; {NAMESPACES_UNREAD}")
    if table.elsewhere:
        out.append("the webhook has other sources too; what they have is not shown")
    return "\n".join([*out, _summary(table.rows)])


def _issued(by: IssuedBy | None) -> tuple[str, ...]:
    if by is None:
        return ("-",) * len(ISSUED)
    return quoted(by.issuer, MAX_CELL_CHARS), str(by.generation or "-"), *map(to_the_minute, (by.issued, by.renewed))


def _why(check: Answer | None) -> str:
    return (
        f"the registry does not say whether it works: {check.why}"
        if check is not None and check.result == "unknown"
        else ""
    )


def _summary(rows: Sequence[Row]) -> str:
    number, owners = sum(bool(row.registry) for row in rows), len({row.owner for row in rows if row.registry})
    told = f"{counted(number, 'credential')} of {counted(owners, 'owner')}"
    return f"{told}; {needs_attention(sum(row.needs_a_human for row in rows))}"
