"""Issuers around the real API server: which replica leads, and the Secrets in which it keeps what was minted."""

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane import plain
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.webhook import NAMESPACE, Webhook
from support import anylogin, harborserver, planted, vendorserver
from support.connected import connected
from webhook.core.credential import Credential
from webhook.core.errors import WriteConflict
from webhook.core.issued import Earlier, Issued, secret_name
from webhook.core.metrics import Metrics
from webhook.core.names import EARLIER, GENERATION, ISSUER, OWNER
from webhook.core.names import ISSUED as ISSUED_AT
from webhook.kube import lease
from webhook.kube.cluster import Cluster, SecretObject
from webhook.kube.issuedsecrets import IssuedSecrets
from webhook.kube.lease import Lease
from webhook.kube.reflector import Health
from webhook.sources.secret import read

pytestmark = pytest.mark.cluster
PREFIX = "pullsecret_webhook"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"DURATION_SECONDS": 3, "RENEW_SECONDS": 0.3, "GIVE_UP_SECONDS": 1.0}.items():
        monkeypatch.setattr(lease, name, seconds)


class Replica:
    """`led`: how often it began. `ends`: what it does when it is told to stop."""

    def __init__(self, cluster: Cluster, name: str, me: str) -> None:
        self.lease, self.led, self.leading = Lease(cluster, NAMESPACE, name, me), 0, False
        self.task = asyncio.create_task(self.lease.run(self._lead))

    async def _lead(self) -> None:
        self.led, self.leading = self.led + 1, True
        try:
            await asyncio.sleep(3600)
        finally:
            self.leading = False

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def until(what: Callable[[], bool], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not what():  # noqa: ASYNC110  # what is awaited sets no event
            await asyncio.sleep(0.02)


def on(cluster: ControlPlane, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connected(cluster.kubeconfig) as api:
            await scenario(api)

    asyncio.run(run())


@pytest.mark.usefixtures("fast")
def test_one_replica_leads_and_another_takes_over(installed: ControlPlane) -> None:
    async def scenario(api: Cluster) -> None:
        one, other = Replica(api, "taken-over", "one"), Replica(api, "taken-over", "other")
        await until(lambda: one.leading or other.leading)
        first, second = (one, other) if one.leading else (other, one)
        await asyncio.sleep(4)  # longer than the Lease lasts
        assert first.leading
        assert first.lease.leads()
        assert not second.leading
        assert not second.lease.leads()
        assert (first.led, second.led) == (1, 0)
        await first.stop()  # it gives the Lease back
        began = asyncio.get_running_loop().time()
        await until(lambda: second.leading)
        assert asyncio.get_running_loop().time() - began < 2
        await second.stop()
        found = installed.api.get("Lease", "taken-over", NAMESPACE)
        assert found is not None
        assert found["spec"]["holderIdentity"] == ""
        assert found["spec"]["leaseTransitions"] >= 1

    on(installed, scenario)


@pytest.mark.usefixtures("fast")
def test_who_cannot_renew_stops_before_another_one_begins(
    installed: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(api: Cluster) -> None:
        one = Replica(api, "partition", "one")
        await until(lambda: one.leading)
        other = Replica(api, "partition", "other")
        both = list[bool]()

        async def watched() -> None:
            while True:
                both.append(one.leading and other.leading)
                await asyncio.sleep(0.01)

        watch = asyncio.create_task(watched())

        async def no_answer(*_: Any, **__: Any) -> bool:
            return False

        monkeypatch.setattr(one.lease, "_take", no_answer)
        await until(lambda: other.leading)
        assert not one.leading
        assert not one.lease.leads()
        watch.cancel()
        assert not any(both)
        await one.stop()
        assert other.leading
        await other.stop()

    on(installed, scenario)


@pytest.mark.usefixtures("fast")
def test_who_sees_that_another_one_has_the_lease_stops_at_once(
    installed: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a person has edited it. It is taken again when its holder does not renew it."""
    monkeypatch.setattr(lease, "GIVE_UP_SECONDS", 60.0)

    async def scenario(api: Cluster) -> None:
        one = Replica(api, "edited", "one")
        await until(lambda: one.leading)
        theirs = {"holderIdentity": "other", "renewTime": "2099-01-01T00:00:00.000000Z"}
        installed.api.patch("Lease", "edited", {"spec": theirs}, NAMESPACE)
        await until(lambda: not one.leading)
        assert not one.lease.leads()
        await until(lambda: one.leading)
        assert one.led == 2
        await one.stop()

    on(installed, scenario)


@pytest.mark.usefixtures("fast")
def test_what_the_leader_says_is_in_the_lease_and_what_others_say_stays(installed: ControlPlane) -> None:
    def annotations() -> dict[str, str]:
        found = installed.api.get("Lease", "annotated", NAMESPACE) or {}
        return dict(found.get("metadata", {}).get("annotations") or {})

    async def scenario(api: Cluster) -> None:
        one = Replica(api, "annotated", "one")
        await until(lambda: one.leading)
        assert annotations() == {}
        installed.api.patch("Lease", "annotated", {"metadata": {"annotations": {"theirs": "1"}}}, NAMESPACE)
        one.lease.annotations = {"ours": "first"}
        await until(lambda: annotations() == {"theirs": "1", "ours": "first"})
        one.lease.annotations = {"ours": "second"}
        await until(lambda: annotations() == {"theirs": "1", "ours": "second"})
        installed.api.patch("Lease", "annotated", {"metadata": {"annotations": {"ours": "forged"}}}, NAMESPACE)
        await until(lambda: annotations() == {"theirs": "1", "ours": "second"})
        await one.stop()
        other = Replica(api, "annotated", "other")
        await until(lambda: other.leading)
        assert annotations() == {"theirs": "1", "ours": "second"}  # until the other one knows more
        await other.stop()
        found = await lease.held(api, NAMESPACE, "annotated")
        assert found is not None
        assert found.annotations["ours"] == "second"

    on(installed, scenario)


@pytest.mark.usefixtures("fast")
def test_work_that_ends_by_itself_is_begun_again(installed: ControlPlane) -> None:
    async def scenario(api: Cluster) -> None:
        begun = list[float]()

        async def fails() -> None:
            begun.append(asyncio.get_running_loop().time())
            raise ValueError("our own bug")

        held = Lease(api, NAMESPACE, "fails", "one")
        with pytest.raises(ValueError, match="our own bug"):
            await held.run(fails)
        assert len(begun) == 1
        assert not held.leads()

    on(installed, scenario)


async def synced(api: Cluster, issuer: str) -> tuple[IssuedSecrets, asyncio.Task[None]]:
    secrets = IssuedSecrets(api, NAMESPACE, issuer)
    task = asyncio.create_task(secrets.run(Health("issued secrets", Metrics(), lambda _notice: None, view=secrets)))
    await secrets.synced.wait()
    return secrets, task


def minted(generation: int, **more: Any) -> Issued:
    return Issued(generation, NOW, NOW + timedelta(hours=1), **more)


@pytest.mark.parametrize("owner", ["alice", "alice@example.com"])
def test_what_was_minted_is_kept_and_read_as_a_source_secret(installed: ControlPlane, owner: str) -> None:
    issuer = f"kept-{len(owner)}"
    name = secret_name(issuer, owner)

    async def scenario(api: Cluster) -> None:
        secrets, task = await synced(api, issuer)
        assert secrets.found(owner) == (False, None)
        first = Credential("r.test/alice/", "alice", planted.token())
        await secrets.write(owner, minted(1, handle="robot-1"), (first,))
        assert secrets.found(owner) == (True, minted(1, handle="robot-1"))
        uid = (installed.api.get("Secret", name, NAMESPACE) or {})["metadata"]["uid"]
        following = minted(2, earlier=(Earlier("robot-1", NOW),))
        second = Credential("r.test/alice/", "alice", planted.token())
        await secrets.write(owner, following, (second,))
        await secrets.write(owner, minted(2), None)  # its content stays
        seen = installed.api.get("Secret", name, NAMESPACE)
        assert seen is not None
        assert seen["metadata"]["uid"] == uid
        assert seen["metadata"]["labels"][ISSUER] == issuer
        assert not {"pullsecret-webhook/handle", "pullsecret-webhook/earlier"} & {*seen["metadata"]["annotations"]}
        other, watching = await synced(api, issuer)
        assert other.found(owner) == (True, minted(2))
        assert [*other.owners()] == [owner]
        await other.remove(owner)
        assert installed.api.get("Secret", name, NAMESPACE) is None
        await until(lambda: not secrets.found(owner)[0])
        task.cancel()
        watching.cancel()
        await asyncio.gather(task, watching, return_exceptions=True)
        source = read(msgspec.convert(seen, SecretObject))
        assert source.owner == owner
        assert source.problems == ()
        assert [(c.registry, c.login, c.expires) for c in source.credentials or ()] == [
            ("r.test/alice/", second.login, NOW + timedelta(hours=1))
        ]

    on(installed, scenario)


def test_a_secret_that_another_one_has_changed_is_not_written_over(installed: ControlPlane) -> None:
    async def scenario(api: Cluster) -> None:
        mine, task = await synced(api, "raced")
        theirs, watching = await synced(api, "raced")
        watching.cancel()  # it sees nothing new
        c = Credential("r.test/alice/", "alice", planted.token())
        await theirs.confirm("alice")
        await mine.write("alice", minted(1), (c,))
        await mine.confirm("alice")
        with pytest.raises(WriteConflict):
            await theirs.confirm("alice")
        with pytest.raises(WriteConflict):
            await theirs.write("alice", minted(1), (c,))
        known = mine.get("alice")
        assert known is not None
        theirs.learn("alice", known)
        await mine.write("alice", minted(2), (c,))
        with pytest.raises(WriteConflict):
            await theirs.confirm("alice")
        with pytest.raises(WriteConflict):
            await theirs.write("alice", minted(2), (c,))
        with pytest.raises(WriteConflict):
            await theirs.remove("alice")
        assert mine.found("alice") == (True, minted(2))
        name = secret_name("raced", "alice")
        installed.api.patch("Secret", name, {"metadata": {"labels": {ISSUER: None}}}, NAMESPACE)
        await until(lambda: not mine.found("alice")[0])
        with pytest.raises(WriteConflict, match=f"{name} .* lacks the label {ISSUER}=raced; give it both back"):
            await mine.write("alice", minted(1), (c,))
        installed.api.patch("Secret", name, {"metadata": {"labels": {ISSUER: "raced"}}}, NAMESPACE)
        await until(lambda: mine.found("alice") == (True, minted(2)))
        await mine.remove("alice")
        task.cancel()
        await asyncio.gather(task, watching, return_exceptions=True)

    on(installed, scenario)


# -- the process --


@dataclass(frozen=True)
class Issuers:
    """`start`: another replica."""

    cluster: ControlPlane
    registry: str
    config: Path
    kubeconfig: Path
    port: dict[str, int] = field(default_factory=dict)

    def doctor(self) -> dict[str, Any]:
        """What it finds of the issuers."""
        said = command(self.cluster, "doctor", "cluster", "-o", "json", "--config", str(self.config)).out
        return {one["name"]: one for one in json.loads(said)["checks"] if one["section"] == "Issuers"}

    def page(self, name: str, path: str) -> str:
        """Of a replica: what it answers."""
        try:
            return plain.get(f"http://127.0.0.1:{self.port[name]}{path}").text
        except httpx.TransportError:
            return ""

    @contextmanager
    def start(self, name: str) -> Iterator[Child]:
        config = yaml.safe_load(self.config.read_text())
        config["server"] = {"address": "127.0.0.1", "metricsPort": free_port()}
        self.port[name] = config["server"]["metricsPort"]
        file = self.cluster.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config))
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "webhook",
            "issue",
            "--config",
            file,
            "--kubeconfig",
            self.kubeconfig,
        ]
        with Child(name, command, log=self.cluster.folder / f"{name}.log") as child:
            yield child

    def issued(self, owner: str) -> Object | None:
        return self.cluster.api.get("Secret", secret_name("registry", owner), NAMESPACE)

    def generation(self, owner: str) -> str:
        found = self.issued(owner)
        return found["metadata"]["annotations"]["pullsecret-webhook/generation"] if found else ""

    def pulls(self, namespace: str) -> set[str]:
        """Keys of the pull secret there."""
        found = self.cluster.api.get("Secret", "ghcr-secret", namespace)
        if found is None:
            return set()
        return {*json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))["auths"]}


@pytest.fixture(scope="module")
def issuers(installed: ControlPlane, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuers]:
    folder = tmp_path_factory.mktemp("issuers")
    key = folder / "key.pem"
    key.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with anylogin.serving() as registry:
        host, config = registry.host, folder / "issuers.yaml"
        issuer = {"issue": "registry", "registry": host, "keyFile": str(key), "owners": "minted-.*"}
        config.write_text(yaml.safe_dump({"issuers": [issuer], "registries": [{"host": host, "plain": True}]}))
        yield Issuers(installed, host, config, installed.service_account(NAMESPACE, "pullsecret-webhook-issuer"))


def it_is_listed_and_left_to_its_issuer(issuers: Issuers) -> None:
    def credential(*arguments: str, stdin: str = "") -> Ran:
        return command(issuers.cluster, "credential", *arguments, "--config", str(issuers.config), stdin=stdin)

    (row,) = json.loads(credential("list", "--owner", "minted-alice", "-o", "json").out)["credentials"]
    assert (row["secret"], row["issued"]["issuer"]) == (secret_name("registry", "minted-alice"), "registry")
    issued, renewed, ends = map(
        datetime.fromisoformat, (row["issued"]["issued"], row["issued"]["renewed"], row["expires"])
    )
    assert timedelta(hours=12) <= renewed - issued <= timedelta(hours=14.4)
    assert ends - issued == timedelta(hours=24)
    where = f"{issuers.registry}/minted-alice/"
    refused = credential(
        "rotate", "minted-alice", "--registry", where, "--password-stdin", "--expires", "1d", stdin=planted.token()
    )
    assert refused.code == 1
    assert f"the issuer registry writes source Secret {row['secret']} and renews it by itself" in refused.err
    assert f"kubectl annotate secret {row['secret']} -n {NAMESPACE} pullsecret-webhook/issued-" in refused.err
    told = credential("rm", "minted-alice", "--dry-run")
    assert "the issuer registry writes it, and mints another one" in told.err
    minted_and_next = f"registry: credential 1, of {issued:%Y-%m-%d %H:%M}, ends {ends:%Y-%m-%d %H:%M}, the next from "
    for words in (("explain", "namespace", "minted-alice"), ("status", "-n", "minted-alice", "-o", "wide")):
        assert minted_and_next in command(issuers.cluster, *words, "--config", str(issuers.config)).out
    seen = command(issuers.cluster, "status", "-n", "minted-alice", "-o", "json", "--config", str(issuers.config))
    (line,) = json.loads(seen.out)["namespaces"]
    assert line["issued"] == [row["issued"]]


def test_owners_get_credentials_and_another_replica_mints_none_again(issuers: Issuers) -> None:
    cluster = issuers.cluster
    cluster.namespace("minted-alice", labels={OWNER: "minted-alice"})
    cluster.namespace("stored-bob", labels={OWNER: "stored-bob"})
    with issuers.start("issue-one") as one:
        cluster.wait(lambda: issuers.generation("minted-alice") == "1", "a credential is minted")
        key = f"{issuers.registry}/minted-alice/"
        cluster.wait(lambda: key in issuers.pulls("minted-alice"), "the pull secret has it")
        before = issuers.issued("minted-alice")
        it_is_listed_and_left_to_its_issuer(issuers)

        def checked() -> dict[str, Any] | None:
            found = issuers.doctor()
            return found if found["registry"]["result"] != "unknown" else None

        found = cluster.wait(checked, "the Lease has what its check came to")
        assert (found["leader"]["result"], found["rights"]["result"]) == ("right", "right")
        assert found["registry"]["why"].startswith("works; checked at ")
        assert found["owners of registry"]["result"] == "right"
        assert found["issuer replicas"]["why"].endswith(f"in {NAMESPACE} is missing")  # it is a process here
        with issuers.start("issue-two") as two:
            two.until(lambda: issuers.page("issue-two", "/readyz") == "ok\n", "it is ready, and waits", within=20)
            assert f"{PREFIX}_issuer_leads 0.0" in issuers.page("issue-two", "/metrics")
            assert f"{PREFIX}_issuer_leads 1.0" in (page := issuers.page("issue-one", "/metrics"))
            assert f'{PREFIX}_issuer_up{{issuer="registry"}} 1.0' in page
            assert f"{PREFIX}_issuer_up{{" not in issuers.page("issue-two", "/metrics")
            assert f'{PREFIX}_issuer_results_total{{issuer="registry",result="issued"}} 1.0' in page
            assert f'{PREFIX}_issuer_owners{{issuer="registry",state="fresh"}} 1.0' in page
            assert f'{PREFIX}_issued_first_end_timestamp_seconds{{issuer="registry"}}' in page
            one.stop()
            two.until(lambda: "leading" in two.log.read_text(), "it leads", within=20)
            cluster.namespace("minted-carol", labels={OWNER: "minted-carol"})
            cluster.wait(lambda: issuers.generation("minted-carol") == "1", "a new owner has one")
            assert issuers.issued("minted-alice") == before
            assert issuers.issued("stored-bob") is None
            log = one.log.read_text() + two.log.read_text()
    assert log.count('"leading"') == 2
    found = before or {}
    password = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))["auths"][key]["password"]
    assert password not in log


def test_what_cannot_be_minted_is_told_and_others_go_on(issuers: Issuers) -> None:
    cluster = issuers.cluster
    cluster.namespace("odd", annotations={}, labels={OWNER: "minted-Odd"})
    cluster.namespace("minted-dave", labels={OWNER: "minted-dave"})
    with issuers.start("issue-odd"):
        cluster.wait(lambda: issuers.generation("minted-dave") == "1", "the other owner has one")

        def events() -> dict[str, Object] | None:
            found = [*cluster.api.list("Event", NAMESPACE), *cluster.api.list("Event", "odd")]
            failed = [one for one in found if one["reason"] == "IssueFailed"]
            return {one["metadata"]["namespace"]: one for one in failed} if len(failed) > 1 else None

        told = cluster.wait(events, "Events say why, to the tenant too")
        assert told.keys() == {NAMESPACE, "odd"}
        for one in told.values():
            assert "minted-Odd" in one["note"]
            assert "cannot be part of a repository's name" in one["note"]
        assert (told["odd"]["regarding"]["kind"], told["odd"]["regarding"]["name"]) == ("Namespace", "odd")
        found = issuers.doctor()
        assert found["owners of registry"]["why"].startswith("it gives 1 owner no new credential; an Event in")
        assert found["registry"]["result"] == "right"  # that is the owner's trouble
        page = issuers.page("issue-odd", "/metrics")
        assert f'{PREFIX}_issuer_owners{{issuer="registry",state="failing"}} 1.0' in page
        for verb in (("status", "-n", "odd"), ("explain", "namespace", "odd")):
            said = command(cluster, *verb, "--config", str(issuers.config)).out
            assert f"an Event in {NAMESPACE} says: " in said
            assert "issuer registry, owner minted-Odd: no new credential: " in said
    assert issuers.issued("minted-Odd") is None


def test_a_robot_of_harbor_says_whose_it_is_and_is_made_anew_by_hand(issuers: Issuers, tmp_path: Path) -> None:
    cluster, authority, name = issuers.cluster, trustme.CA(), secret_name("harbor", "robots-alice")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with harborserver.threaded(vendorserver.tls(authority)) as harbor:
        username, password = harbor.login(harbor.robot("issuer", harborserver.ISSUER_RIGHTS))
        (tmp_path / "user").write_text(username)
        (tmp_path / "password").write_text(password)
        issuer = {
            "issue": "harbor",
            "registry": harbor.host,
            "createProject": True,
            "usernameFile": str(tmp_path / "user"),
            "passwordFile": str(tmp_path / "password"),
            "owners": "robots-.*",
        }
        registry = {"host": harbor.host, "caFile": str(tmp_path / "ca.pem")}
        config = tmp_path / "issuers.yaml"
        config.write_text(yaml.safe_dump({"issuers": [issuer], "registries": [registry]}))
        cluster.namespace("robots-alice", labels={OWNER: "robots-alice"})
        with replace(issuers, config=config).start("issue-harbor") as child:
            key = f"{harbor.host}/robots-alice/"
            cluster.wait(lambda: key in issuers.pulls("robots-alice"), "the pull secret has it")
            anew = {"metadata": {"annotations": {ISSUED_AT: None}}}
            cluster.api.patch("Secret", name, anew, namespace=NAMESPACE)
            cluster.wait(lambda: len(harbor.of("robots-alice")) == 2, "there is another robot")
            found = cluster.wait(
                lambda: _with_generation(cluster.api.get("Secret", name, NAMESPACE), "2"), "and it is stored"
            )
        said = child.log.read_text()
    kube_system = cluster.api.get("Namespace", "kube-system") or {}
    first, second = harbor.of("robots-alice")
    for number, robot in enumerate((first, second), 1):
        assert robot.name.startswith(f"robots-alice+{kube_system['metadata']['uid'][:8]}-{number}-")
        assert robot.secret not in said
    assert password not in said
    entry = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))["auths"][key]
    assert (entry["username"], entry["password"]) == harbor.login(second)
    assert first.name.partition("+")[2] in found["metadata"]["annotations"][EARLIER]


def test_an_issuer_that_fails_its_check_is_known_before_anybody_needs_it(issuers: Issuers, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text(planted.token())
    issuer = {
        "issue": "registry",
        "registry": "registry.test",
        "keyFile": str(key),
        "owners": "nobody",
        "name": "bad",
    }
    config = tmp_path / "issuers.yaml"
    config.write_text(yaml.safe_dump({"issuers": [issuer]}))
    mine = replace(issuers, config=config)

    def doctored() -> dict[str, Any] | None:
        found = mine.doctor()["bad"]
        return found if found["result"] != "unknown" else None

    with mine.start("issue-bad") as child:
        found = issuers.cluster.wait(doctored, "the Lease has what its check came to")
        assert found["result"] == "wrong"
        assert f"it has no key to sign with: {key}" in found["why"]
        assert f'{PREFIX}_issuer_up{{issuer="bad"}} 0.0' in mine.page("issue-bad", "/metrics")
    assert child.log.read_text().count("an issuer fails its check") == 1
    assert not planted.leaks(child.log.read_text() + found["why"])


def _with_generation(found: Object | None, generation: str) -> Object | None:
    return found if found and found["metadata"]["annotations"].get(GENERATION) == generation else None
