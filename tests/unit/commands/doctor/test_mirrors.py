"""What doctor says and does where nodes ask mirrors: whose credential it shows a registry, and who sees which."""

import pytest

from support import planted
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.examine import credential_for
from webhook.commands.doctor.looked import Evidence
from webhook.commands.doctor.verdict import judge
from webhook.commands.podsecrets import PodSecret
from webhook.core.credential import Credential
from webhook.core.faults import Fault
from webhook.core.mirror import MirrorRule
from webhook.core.runtimewords import Words

OWN, THEIRS = planted.token(), planted.token()
RULES = (MirrorRule("ghcr.io", "mirror.test"),)
WRITTEN = (
    Credential("ghcr.io", "alice", OWN),
    Credential("ghcr.io/alice", "alice", THEIRS),
    Credential("mirror.test/alice", "alice", THEIRS),
)
ENTRIES = (("ghcr.io/alice", "ghcr-secret"), ("ghcr.io", "ghcr-secret"))


def test_the_password_of_a_mirror_is_not_shown_to_the_registry() -> None:
    case = Case("ghcr.io/alice/app", "team", "ghcr-secret", entries=ENTRIES, owner="alice")
    secret = PodSecret("ghcr-secret", "takes", credentials=WRITTEN)
    assert credential_for(case, [secret], RULES) == WRITTEN[0]
    assert credential_for(case, [secret], ()) == WRITTEN[1]  # then it is a credential like others


@pytest.mark.parametrize("entries", [ENTRIES, ()])
def test_that_mirrors_see_the_credentials_for_the_registry_is_told(entries: tuple[tuple[str, str], ...]) -> None:
    words = (Words(Fault.CREDENTIAL_REFUSED, host="mirror.test", mirror=True),)
    case = Case("ghcr.io/alice/app", "team", "ghcr-secret", "p", reason="ErrImagePull", words=words, entries=entries)
    found = judge(case, Evidence(None, None, None, ()))
    assert any("these are the words of a mirror" in text for _, text in found.rows)
    shown = any("shows mirrors the credentials for the registry too" in text for _, text in found.rows)
    assert shown == bool(entries)
