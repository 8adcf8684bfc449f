"""Waits until the pull secrets of an owner have what was written into a source Secret."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from webhook.commands.cluster_view import ClusterView, PullSecretObject
from webhook.commands.credential.content import same_key
from webhook.commands.credential.holdings import NAMESPACES_UNREAD, Holdings, Names
from webhook.commands.credential.voice import Voice
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import PullsecretError
from webhook.core.names import is_ours
from webhook.core.pullsecret import HOLDS
from webhook.core.shown import counted, some

WAIT_SECONDS, LOOK_SECONDS = 20.0, 0.5
"""Seconds for all pull secrets to be right, and between two looks. The webhook needs one or two."""


@dataclass(frozen=True, slots=True)
class Expected:
    """`where`: the namespaces whose pull secret is to have the credential. `note`: why others, or all, do not get it.
    `blocked`: the note is about something that is wrong.
    """

    where: Mapping[str, Credential] = field(default_factory=dict)
    note: str = ""
    blocked: bool = False


def expected(view: ClusterView, after: Holdings, credential: Credential, names: Names, now: datetime) -> Expected:
    """`after`: the holdings with the change."""
    if after.broken:
        return Expected(note=f"the pull secrets stay as they are: {after.broken}", blocked=True)
    if after.namespaces is None:
        return Expected(note=NAMESPACES_UNREAD)
    if not after.namespaces:
        return Expected(note=names.no_namespace(after.owner, view))
    fit = [name for name in after.namespaces if Credentials((credential,)).usable_in(name).items]
    if not fit:
        limits = some(credential.namespaces)
        return Expected(note=f"it is limited to {limits}, and no namespace of the owner is called so")
    where = {name: credential for name in fit if _has(after.used(name, now), credential)}
    if left := [name for name in fit if name not in where]:
        why = "the registry has refused it twice" if after.refuses(credential) else HOLDS
        return Expected(where, f"in {some(left)} it is not used: {why}", blocked=True)
    return Expected(where)


def _has(items: tuple[Credential, ...], wanted: Credential) -> bool:
    return any(same_key(one.registry, wanted.registry) and one.login == wanted.login for one in items)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How many pull secrets have it, of how many, and what is wrong with the others."""

    there: int
    of: int
    problem: str = ""

    def __str__(self) -> str:
        told = f"the pull secret has it in {self.there} of {counted(self.of, 'namespace')}"
        return f"{told}; {self.problem}" if self.problem else told


async def arrival(view: ClusterView, where: Mapping[str, Credential], voice: Voice) -> Arrival:
    """Raises PullsecretError if a pull secret cannot be read."""
    clock = asyncio.get_running_loop().time
    until, missing, foreign, told = clock() + WAIT_SECONDS, dict(where), list[str](), -1
    while True:
        for name in sorted(missing):
            secret = await view.pull_secret(name)
            if secret is not None and not is_ours(secret.metadata.labels):
                foreign.append(name)
                del missing[name]
            elif secret is not None and _arrived(secret, missing[name]):
                del missing[name]
        there = len(where) - len(missing) - len(foreign)
        if not missing or clock() >= until:
            return Arrival(there, len(where), _problem(view, sorted(missing), foreign))
        if there != told:
            voice.progress(f"the pull secret has it in {there} of {len(where)} ...")
            told = there
        await asyncio.sleep(LOOK_SECONDS)


def _arrived(secret: PullSecretObject, wanted: Credential) -> bool:
    credentials, _ = secret.credentials
    return _has(credentials, wanted)


def _problem(view: ClusterView, missing: list[str], foreign: list[str]) -> str:
    name, words = view.config.pull_secret.name, []
    if foreign:
        words.append(f"in {some(foreign)} the Secret {name} is not the webhook's: see pullsecret adopt --all --dry-run")
    if missing:
        words.append(f"not yet in {some(missing)} after {WAIT_SECONDS:g} seconds: see pullsecret status")
    return "; ".join(words)


async def told(view: ClusterView, found: Expected, voice: Voice, *, dry_run: bool) -> bool:
    """Waits, and tells what came of it. Returns whether all is well."""
    if found.note:
        voice.result(found.note)
    if dry_run or not found.where:
        if found.where:
            voice.result(f"the pull secret would have it in {some(sorted(found.where))}")
        return not found.blocked
    try:
        came = await arrival(view, found.where, voice)
    except PullsecretError as e:
        voice.result(f"it is not known whether the pull secrets have it: {e}")
        return False
    voice.result(str(came))
    return not (found.blocked or came.problem)
