"""`pullsecret credential add`: a new source Secret. It overwrites nothing."""

from collections.abc import Iterator
from datetime import datetime

from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential import arrival, content
from webhook.commands.credential.calls import SourceSecrets
from webhook.commands.credential.holdings import Holdings, holdings, needs_source
from webhook.commands.credential.voice import Voice
from webhook.core.credential import Credential
from webhook.core.errors import PullsecretError
from webhook.core.registry import why_unmatched
from webhook.core.shown import quoted, some
from webhook.core.times import to_the_minute
from webhook.core.tokenkind import doubt


async def run(
    view: ClusterView, new: content.New, name: str | None, now: datetime, voice: Voice, *, dry_run: bool
) -> bool:
    """`name`: of the source Secret. Returns whether all is well. Raises PullsecretError."""
    needs_source(view)
    content.checked_owner(new.owner)
    secret = name or new.name
    body = content.created(new, view.config.namespace, secret)
    found = content.read_back(body, new.owner)
    (credential,) = found.credentials or ()
    not_over(credential, now)
    for one in doubts(credential):
        voice.warning(one)
    mine, names = await holdings(view, new.owner)
    if name is None:
        _nothing_like_it(mine, credential)
    await SourceSecrets(view, dry_run=dry_run).create(body)
    verb = "would be created" if dry_run else "created"
    voice.result(
        f"source Secret {secret} {verb} in {view.config.namespace}: {quoted(new.owner)}, {quoted(new.registry)}"
    )
    expected = arrival.expected(view, mine.with_secret(secret, found), credential, names, now)
    return await arrival.told(view, expected, voice, dry_run=dry_run)


def not_over(c: Credential, now: datetime) -> None:
    """Raises PullsecretError."""
    if c.expired(now) and c.expiry is not None:
        raise PullsecretError(f"a credential that ended at {to_the_minute(c.expiry)} is written nowhere")


def doubts(c: Credential) -> Iterator[str]:
    """What is probably a mistake."""
    if why := why_unmatched(c.registry):
        yield f"{quoted(c.registry)} matches hardly any image: {why}"
    if looks := doubt(c.registry, c.password):
        yield f"the password for {quoted(c.registry)}: {looks}"


def _nothing_like_it(mine: Holdings, c: Credential) -> None:
    same = [name for name, one in mine.of_registry(c.registry) if sorted(one.namespaces) == sorted(c.namespaces)]
    if same:
        raise PullsecretError(
            f"{quoted(mine.owner)} has a credential for {quoted(c.registry)} already, in source Secret "
            f"{some(list(dict.fromkeys(same)))}; to replace it use pullsecret credential rotate, to have another one "
            "beside it choose a name with --name"
        )
