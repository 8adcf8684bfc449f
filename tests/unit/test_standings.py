"""A tenant is told of trouble and of its end; and how many namespaces stand how."""

from datetime import UTC, datetime, timedelta

from webhook.core.credential import Credential, Credentials, Refusal
from webhook.core.notice import Notice
from webhook.core.pullsecret import ExistingSecret, Fingerprint, Leave, Namespace, Plan, Planner, Write
from webhook.standings import Standings

TEAM = Namespace("team", "uid", 1, "alice")
GOOD = Credentials((Credential("ghcr.io", "alice", "x"),))
PLANNER = Planner("ghcr-secret", Fingerprint(b""))


class Scene:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.told: list[Notice] = []
        self.standings = Standings("ghcr-secret", lambda: self.now, self.told.append)

    def left(self, credentials: Credentials | None, existing: ExistingSecret | None = None) -> list[str]:
        """The reasons that were told since."""
        self.told.clear()
        self.standings.left(TEAM, PLANNER(TEAM, credentials, existing, self.now), existing)
        return [one.reason for one in self.told]

    def right(self) -> list[str]:
        write = PLANNER(TEAM, GOOD, None, self.now).step
        assert isinstance(write, Write)
        standing = ExistingSecret("team", "uid", 1, True, True, False, False, "alice", write.digest, ("ghcr.io",))
        return self.left(GOOD, standing)

    def count(self, standing: str) -> int:
        return self.standings.counts()[standing]


def test_the_end_of_trouble_is_told_once() -> None:
    scene = Scene()
    assert scene.right() == []
    assert scene.left(Credentials()) == ["NoCredential"]
    assert (scene.count("no_credential"), scene.count("right")) == (1, 0)
    assert scene.right() == ["PullSecretRight"]
    assert scene.right() == []
    scene.standings.failed("team")
    assert scene.count("failed") == 1
    assert scene.right() == ["PullSecretRight"]


def test_the_end_of_a_refusal_is_told_too() -> None:
    scene = Scene()
    (good,) = GOOD.items
    refused = Plan(Leave(), refused=(Credential("ghcr.io", "a", good.password, refusal=Refusal("HTTP 401")),))
    scene.standings.left(TEAM, refused, None)
    assert scene.told == []
    assert scene.right() == ["PullSecretRight"]


def test_a_withdrawal_is_told_by_itself_for_a_while() -> None:
    scene = Scene()
    scene.standings.withdrawn("team")
    assert scene.left(Credentials()) == []
    scene.now += timedelta(minutes=61)
    assert scene.left(Credentials()) == ["NoCredential"]
    assert scene.right() == ["PullSecretRight"]


def test_one_that_is_not_served_any_more_is_forgotten() -> None:
    scene = Scene()
    scene.left(Credentials())
    unowned = Namespace("team", "uid", 2, None)
    scene.standings.left(unowned, PLANNER(unowned, Credentials(), None, scene.now), None)
    assert scene.right() == []
    scene.standings.gone("team")
    assert not any(scene.standings.counts().values())


def test_what_is_another_replicas_is_told_and_not_counted() -> None:
    """Such as after a review: this replica would not see how it ends."""
    scene = Scene()
    scene.standings.mine = lambda _name: False
    assert scene.left(Credentials()) == ["NoCredential"]
    scene.standings.failed("team")
    scene.standings.withdrawn("team")
    assert set(scene.standings.counts().values()) == {0}
