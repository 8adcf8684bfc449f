"""Which credential `doctor --ask` shows a registry, where the pull secret has one for a mirror under the same name."""

from support import planted
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.examine import credential_for
from webhook.commands.podsecrets import PodSecret
from webhook.core.credential import Credential
from webhook.core.mirror import MirrorRule

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
