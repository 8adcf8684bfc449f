"""`pullsecret credential rotate`: another token in the source Secret that has the old one. The rest of it stays."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from webhook.commands import writers
from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential import arrival, content
from webhook.commands.credential.add import doubts, not_over
from webhook.commands.credential.calls import SourceSecrets
from webhook.commands.credential.holdings import Holdings, Names, NotThere, holdings, needs_source
from webhook.commands.credential.voice import Voice
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import CredentialError, PullsecretError
from webhook.core.merge import merged
from webhook.core.names import EXPIRES, ISSUED
from webhook.core.shown import command, quoted, some
from webhook.kube.cluster import SecretObject
from webhook.sources.secret import SourceSecret, read

Changes = tuple[dict[str, Any], dict[str, str | None]]
"""Of its data, and of its annotations."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """`username` None: the old one. `expires`: when the new token ends; None: never. `expiry_given`: is that said at
    all? `name`: of the source Secret; None: the one that is preferred.
    """

    owner: str
    registry: str
    password: str = field(repr=False)
    username: str | None = None
    expires: datetime | None = None
    expiry_given: bool = False
    name: str | None = None


async def run(view: ClusterView, new: Rotation, now: datetime, voice: Voice, *, dry_run: bool) -> bool:
    """Returns whether all is well. Raises PullsecretError."""
    needs_source(view)
    Credential(new.registry, new.username or "old", new.password)  # before anything else: it may be a mistake
    mine, names = await holdings(view, new.owner)
    name = new.name or await _chosen(view, mine, names, new.registry, now)
    calls = SourceSecrets(view, dry_run=dry_run)
    seen = await calls.get(name, new.owner)
    if issuer := writers.issuer(seen.metadata):
        now_told = command(f"kubectl annotate secret {{}} -n {{}} {ISSUED}-", name, view.config.namespace)
        raise PullsecretError(
            f"the issuer {quoted(issuer)} writes source Secret {name} and renews it by itself"
            f"{now_told and f'; for another credential at once: {now_told}'}"
        )
    try:
        (data, annotations), after = _changed(seen, new)
    except CredentialError as e:
        raise PullsecretError(f"source Secret {name}: {e}") from None
    credential = next(c for c in after.credentials or () if _is_new(c, new))
    not_over(credential, now)
    for one in (*doubts(credential), *_warnings(name, seen, after, new, mine)):
        voice.warning(one)
    await calls.change(seen, data, annotations)
    verb = "would get" if dry_run else "has"
    voice.result(f"source Secret {name} {verb} another credential of {quoted(new.owner)} for {quoted(new.registry)}")
    expected = arrival.expected(view, mine.with_secret(name, after), credential, names, now)
    return await arrival.told(view, expected, voice, dry_run=dry_run)


async def _chosen(view: ClusterView, mine: Holdings, names: Names, registry: str, now: datetime) -> str:
    """The name of the source Secret whose credential for the registry is preferred. Raises PullsecretError."""
    if not mine.secrets:
        raise names.no_secret(mine.owner)
    found = mine.of_registry(registry)
    if len({tuple(sorted(c.namespaces)) for _, c in found}) > 1:
        each = "; ".join(f"{name} for {some(c.namespaces) if c.namespaces else 'all namespaces'}" for name, c in found)
        raise PullsecretError(
            f"{quoted(mine.owner)} has several for {quoted(registry)}: {each}; choose one of these source Secrets with "
            "--name"
        )
    if found:
        everywhere = Credentials(tuple(replace(c, namespaces=()) for _, c in found))
        return merged(everywhere, "", now).items[0].origin.name
    broken = [name for name in sorted(mine.secrets) if await _broken_one(view, mine, name, registry)]
    if len(broken) == 1:
        return broken[0]
    if broken:
        raise PullsecretError(f"{some(broken)} are broken source Secrets for it; choose one of them with --name")
    has = sorted({c.registry for one in mine.secrets.values() for c in one.credentials or ()})
    raise NotThere(
        f"{quoted(mine.owner)} has no credential for {quoted(registry)}{f', but for {some(has)}' if has else ''}; use "
        "pullsecret credential add"
    )


async def _broken_one(view: ClusterView, mine: Holdings, name: str, registry: str) -> bool:
    """Has it one for the registry that cannot be used?"""
    if not mine.secrets[name].problems:
        return False
    seen = await SourceSecrets(view).get(name, mine.owner)
    try:
        return any(content.same_key(one.registry, registry) for one in content.entries(seen))
    except CredentialError:
        return False


def _changed(seen: SecretObject, new: Rotation) -> tuple[Changes, SourceSecret]:
    """What to write, and how the webhook reads the Secret after that. Raises CredentialError."""
    ended = (seen.metadata.annotations or {}).get(EXPIRES)
    if ended is not None and not new.expiry_given:
        raise CredentialError(
            f"its old credential ends at {quoted(ended)}; say when the new one ends with --expires, or --expires never"
        )
    data = content.with_login(seen, new.registry, new.username, new.password)
    annotations = content.expiry(new.expires) if new.expiry_given else {}
    before, after = read(seen), content.read_back(content.patched(seen, data, annotations), new.owner)
    if before.credentials is not None and content.others(before, new.registry) != content.others(after, new.registry):
        raise CredentialError(content.UNREADABLE)
    return (data, annotations), after


def _is_new(c: Credential, new: Rotation) -> bool:
    return content.same_key(c.registry, new.registry) and c.password == new.password


def _warnings(name: str, seen: SecretObject, after: SourceSecret, new: Rotation, mine: Holdings) -> Iterator[str]:
    """What is to be done besides."""
    yield from after.problems
    if who := writers.writer(seen.metadata):
        yield f"source Secret {name}: {who}, and may write the old credential again; change it there too"
    rest = sorted({registry for registry, _ in content.others(after, new.registry)})
    if new.expiry_given and rest:
        yield f"the time in source Secret {name} counts for {some(rest)} too"
    if more := sorted({other for other, _ in mine.of_registry(new.registry)} - {name}):
        yield f"there is another credential for {quoted(new.registry)} in source Secret {some(more)}, which stays"
