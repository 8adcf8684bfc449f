"""`pullsecret credential test`: asks registries from here, with the webhook's own client, whether credentials of source
Secrets work there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from webhook.checks.registryclient import RegistryClient, Said
from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential.content import same_key
from webhook.commands.credential.holdings import Names, NotThere
from webhook.commands.registries import closing, from_here
from webhook.core.check import WORDS, Check, Why
from webhook.core.credential import Credential
from webhook.core.shown import quoted, some
from webhook.core.tokenkind import hint

Result = Literal["works", "refused", "unknown", "broken"]
_SAID: dict[Result, str] = {
    "works": "works",
    "refused": "the registry refuses it",
    "unknown": "the registry does not say whether it works",
    "broken": "is broken",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one credential. `hint`: what else is known. Broken: the webhook does not use the Secret at all."""

    owner: str
    registry: str
    secret: str
    result: Result
    why: str = ""
    hint: str = ""

    @property
    def works(self) -> bool:
        return self.result == "works"

    @property
    def line(self) -> str:
        why = f" ({self.why})" if self.why else ""
        place = f"source Secret {self.secret}"
        about = f"{quoted(self.registry)}, {place}" if self.registry else place
        return f"{about}: {_SAID[self.result]}{why}{self.hint and f'; {self.hint}'}"


async def run(
    view: ClusterView, owner: str, registry: str | None, name: str | None, ca_file: str | None
) -> Sequence[Asked]:
    """`registry` None: all, but at private addresses only those that the configuration names; the one that is named
    here may have one. `name`: of a source Secret. `ca_file`: the CA certificates to trust. Raises PullsecretError.
    """
    sources = await view.source_secrets()
    if owner not in sources:
        raise Names(frozenset(sources), frozenset()).no_secret(owner)
    secrets = {key: one for key, one in sources[owner].items() if name in {None, key}}
    if not secrets:
        raise NotThere(f"{quoted(owner)} has no source Secret {quoted(name or '')}, but {some([*sources[owner]])}")
    found = [
        (key, c)
        for key, one in sorted(secrets.items())
        for c in one.credentials or ()
        if registry is None or same_key(c.registry, registry)
    ]
    broken = [
        Asked(owner, "", key, "broken", "; ".join(one.problems)) for key, one in sorted(secrets.items()) if one.problems
    ]
    if not found and not broken:
        has = sorted({c.registry for one in secrets.values() for c in one.credentials or ()})
        raise NotThere(f"{quoted(owner)} has no credential for {quoted(registry or '')}, but for {some(has)}")
    asking = RegistryClient(from_here(view.config, registry, ca_file), lambda: datetime.now(UTC), ca_file)
    async with closing(asking) as client:
        return [*[_asked(owner, key, c, await client.ask(c)) for key, c in found], *broken]


def _asked(owner: str, name: str, c: Credential, said: Said) -> Asked:
    result = Check(said.why, 0).result
    hints = [said.hint]
    if result == "refused":
        hints.append(hint(c.registry, c.password))
    if said.why == Why.PRIVATE:
        hints.append("name it with --registry to ask it all the same")
    if said.why == Why.CERTIFICATE:
        hints.append("name the file with its CA certificates with --ca-file")
    return Asked(owner, c.registry, name, result, WORDS[said.why], "; ".join(filter(None, hints)))
