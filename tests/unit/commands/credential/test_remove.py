"""What namespaces are said to lose."""

from datetime import UTC, datetime
from typing import cast

import msgspec

from support import planted
from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential.holdings import Holdings
from webhook.commands.credential.remove import losses
from webhook.config.models import Config, PullSecret
from webhook.core.credential import Credential, Origin
from webhook.core.pullsecret import Namespace
from webhook.kube.cluster import Cluster
from webhook.sources.secret import SourceSecret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
VIEW = ClusterView(cast(Cluster, None), Config())
SPACES = {name: Namespace(name, name, 1, "alice") for name in ("team-a", "team-b")}


def source(name: str, *registries: str, namespaces: tuple[str, ...] = ()) -> SourceSecret:
    origin = Origin("", "pullsecret-webhook", "Secret", name)
    made = [Credential(one, name, planted.token(), namespaces=namespaces, origin=origin) for one in registries]
    return SourceSecret(1, "alice", tuple(made))


BROKEN = SourceSecret(1, "alice", None, ("it is not JSON",))


def lost(*secrets: SourceSecret, left: SourceSecret | None = None, view: ClusterView = VIEW) -> list[str]:
    """Without the first Secret, or with `left` in its place."""
    before = Holdings("alice", {f"s{number}": one for number, one in enumerate(secrets)}, SPACES)
    return [*losses(view, before, before.with_secret("s0", left), NOW)]


def test_the_last_one() -> None:
    assert lost(source("s0", "ghcr.io")) == ["team-a, team-b: the pull secret is deleted, with ghcr.io"]
    keep = msgspec.structs.replace(Config(), pull_secret=PullSecret(when_withdrawn="keep"))
    kept = lost(source("s0", "ghcr.io"), view=ClusterView(cast(Cluster, None), keep))
    assert kept == ["team-a, team-b: the pull secret stays as it is, because the configuration has whenWithdrawn: keep"]


def test_one_of_several_registries() -> None:
    found = lost(source("s0", "ghcr.io"), source("s1", "quay.io", namespaces=("team-b",)))
    assert found == [
        "team-a: the pull secret is deleted, with ghcr.io",
        "team-b: the pull secret loses ghcr.io",
    ]
    part = lost(source("s0", "ghcr.io", "quay.io"), left=source("s0", "quay.io"))
    assert part == ["team-a, team-b: the pull secret loses ghcr.io"]


def test_one_of_several_for_the_same_registry() -> None:
    found = lost(source("s0", "ghcr.io"), source("s1", "ghcr.io"))
    assert found == ["team-a, team-b: the pull secret keeps ghcr.io, with the credential of source Secret s1"]


def test_one_that_is_used_nowhere() -> None:
    assert lost(source("s0", "ghcr.io", namespaces=("other",))) == ["no namespace loses anything"]


def test_beside_a_broken_one_nothing_is_lost_yet() -> None:
    (words,) = lost(source("s0", "ghcr.io"), BROKEN)
    assert words.startswith("the pull secrets stay as they are, also with what is removed: source Secret s1 is broken")
    (words,) = lost(BROKEN, source("s1", "ghcr.io"))
    assert words == "what the namespaces lose is not known, because source Secret s0 is broken: it is not JSON"
