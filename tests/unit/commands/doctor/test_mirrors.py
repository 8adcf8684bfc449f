"""What doctor says and does where nodes ask mirrors: whose credential it shows a registry, and who sees which."""

from dataclasses import replace

import pytest

from support import planted
from webhook.commands.doctor.case import Case
from webhook.commands.doctor.examine import credential_for
from webhook.commands.doctor.looked import Evidence
from webhook.commands.doctor.verdict import judge
from webhook.commands.imagenames import Naming
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


AT = Case(
    "m.test/ghcr/alice/app:1",
    "team",
    "ghcr-secret",
    "p",
    reason="ErrImagePull",
    entries=(("m.test", "ghcr-secret"),),
    owner="alice",
    naming=Naming("ghcr.io/alice/app:1", "m.test/ghcr"),
)


@pytest.mark.parametrize(
    ("fault", "todo"),
    [
        (
            Fault.TLS_UNKNOWN_CA,
            "Or use how: node with nodeCaFile for this mirror, or leave it out of the configuration.",
        ),
        (Fault.TCP_REFUSED, "Or create the pod again: while the mirror does not answer, its images keep their names."),
        (Fault.DNS_SILENT, "Or create the pod again: while the mirror does not answer, its images keep their names."),
        (
            Fault.REGISTRY_BROKEN,
            "Or create the pod again: while the mirror does not answer, its images keep their names.",
        ),
        (
            Fault.IMAGE_NOT_FOUND,
            "Look whether the mirror has ghcr.io/alice/app:1 of the registry: the webhook does",
        ),
        (Fault.PLATFORM_MISSING, ""),
    ],
)
def test_an_image_that_has_its_name_by_a_mirror(fault: Fault, todo: str) -> None:
    case = replace(AT, words=(Words(fault, host="m.test"),))
    found, plain = (judge(one, Evidence()) for one in (case, replace(case, naming=Naming())))
    assert found.code is fault
    said = "it was ghcr.io/alice/app:1; the webhook gave it its name at the mirror m.test/ghcr"
    assert ("mirrors", said) in found.rows
    assert not [label for label, _ in plain.rows if label == "mirrors"]
    assert [*found.todo[: len(plain.todo)]] == [*plain.todo]
    assert [text.startswith(todo) for text in found.todo[len(plain.todo) :]] == [True] * bool(todo)


def test_why_an_image_keeps_the_name_that_cannot_be_pulled() -> None:
    naming = Naming(why=("it is not pulled from m.test: the mirror does not answer", "or so"))
    case = replace(AT, image="ghcr.io/alice/app:1", naming=naming, words=(Words(Fault.TCP_REFUSED, host="ghcr.io"),))
    found = judge(case, Evidence())
    assert [row for row in found.rows if row[1] in naming.why] == [("mirrors", naming.why[0]), ("", naming.why[1])]
    assert not [text for text in found.todo if text.startswith("Or create")]
