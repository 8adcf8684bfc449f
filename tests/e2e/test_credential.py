"""`pullsecret credential` beside the running webhook: what it writes arrives in pull secrets, nothing else changes."""

import asyncio
import base64
import json
import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.objects import SECRET, stands
from controlplane.registry import Registry
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import planted
from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential.calls import SourceSecrets
from webhook.commands.credential.content import New
from webhook.config.models import Config
from webhook.core.errors import PullsecretError
from webhook.core.names import EXPIRES, NAMESPACES, OWNER, REGISTRY
from webhook.kube.cluster import Cluster

pytestmark = pytest.mark.cluster
GUIDE = Path(__file__).parents[2] / "docs" / "credentials.md"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_numbers = count(1)


@pytest.fixture
def owner(cluster: ControlPlane) -> Iterator[str]:
    """With a namespace of the same name; what others have in the cluster is other tests'."""
    name = f"holder-{next(_numbers)}"
    cluster.namespace(name, labels={OWNER: name})
    yield name
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {OWNER: None}}})
    for one in cluster.api.list("Secret", NAMESPACE, labels=OWNER):
        if name in {one["metadata"]["labels"][OWNER], one["metadata"].get("annotations", {}).get(OWNER)}:
            cluster.api.delete("Secret", one["metadata"]["name"], NAMESPACE)


def credential(cluster: ControlPlane, *arguments: str, token: str = "", config: Object | None = None) -> Ran:
    file = cluster.folder / "credential.yaml"
    file.write_text(json.dumps(config or {}))
    return command(cluster, "credential", *arguments, "--config", str(file), stdin=f"{token}\n")


def add(cluster: ControlPlane, owner: str, *more: str, token: str) -> Ran:
    arguments = ("--registry", "ghcr.io", "--username", "robot", "--password-stdin")
    return credential(cluster, "add", owner, *arguments, *more, token=token)


def rotate(cluster: ControlPlane, owner: str, *more: str, token: str, registry: str = "ghcr.io") -> Ran:
    return credential(cluster, "rotate", owner, "--registry", registry, "--password-stdin", *more, token=token)


def sources(cluster: ControlPlane, owner: str) -> list[Object]:
    return cluster.api.list("Secret", NAMESPACE, labels=f"{OWNER}={owner}")


def docker(cluster: ControlPlane, owner: str, name: str, *registries: str, **metadata: Any) -> Object:
    """A source Secret of several registries, as a platform writes it."""
    auths = {registry: {"username": "robot", "password": planted.token()} for registry in registries}
    meta = {"name": name, "namespace": NAMESPACE, "labels": {OWNER: owner}} | metadata
    content = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    return cluster.api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": meta,
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": content},
        }
    )


def auths(secret: Object | None) -> dict[str, Any]:
    if secret is None:
        return {}
    found: dict[str, Any] = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
    return found


def test_from_the_first_token_to_the_last(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    first, second = planted.token(), planted.token()
    dry = add(cluster, owner, "--dry-run", token=first)
    assert (dry.code, sources(cluster, owner)) == (0, [])
    assert f"would be created in {NAMESPACE}: {owner}, ghcr.io" in dry.out
    assert f"the pull secret would have it in {owner}" in dry.out

    done = add(cluster, owner, "--expires", "90d", token=first)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "the pull secret has it in 1 of 1 namespace"
    before = stands(cluster, owner, first, within=1)
    (source,) = sources(cluster, owner)
    name = source["metadata"]["name"]
    assert name.startswith(f"{owner}-ghcr-io-")
    (manager,) = source["metadata"]["managedFields"]
    assert manager["manager"] == "pullsecret-credential"

    again = add(cluster, owner, token=second)
    assert (again.code, again.out) == (1, "")
    assert f"has a credential for ghcr.io already, in source Secret {name}" in again.err

    found = credential(cluster, "list", "--owner", owner, "-o", "json")
    (one,) = json.loads(found.out)["credentials"]
    assert (one["secret"], one["used_in"], one["preferred"], one["problem"]) == (name, 1, "yes", "")
    assert one["expires"] == source["metadata"]["annotations"][EXPIRES]

    silent = rotate(cluster, owner, token=second)
    assert (silent.code, silent.out) == (1, "")
    assert "say when the new one ends with --expires" in silent.err
    done = rotate(cluster, owner, "--expires", "never", token=second)
    assert (done.code, done.out.splitlines()[-1]) == (0, "the pull secret has it in 1 of 1 namespace"), done.err
    after = stands(cluster, owner, second, within=1)
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert auths(after)["ghcr.io"]["username"] == "robot"
    (rotated,) = sources(cluster, owner)
    assert rotated["metadata"]["uid"] == source["metadata"]["uid"]
    assert EXPIRES not in rotated["metadata"]["annotations"]
    assert first not in json.dumps(rotated)

    asked = credential(cluster, "rm", owner)
    assert asked.code == 2
    assert f"{owner}: the pull secret is deleted, with ghcr.io" in asked.out
    assert "say --yes" in asked.err
    dry = credential(cluster, "rm", owner, "--dry-run")
    assert (dry.code, sources(cluster, owner)) == (0, [rotated])
    done = credential(cluster, "rm", owner, "--yes")
    assert (done.code, sources(cluster, owner)) == (0, [])
    deleted, later = done.out.splitlines()[-2:]
    assert deleted == f"source Secret {name} deleted (ghcr.io)"
    assert "counts for 10 seconds more" in later
    gone = credential(cluster, "rm", owner, "--yes")
    assert (gone.code, gone.out) == (2, "")
    assert f"no source Secret is for owner {owner}" in gone.err


def test_of_several_registries_the_others_stay(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    token, marks = planted.token(), {"platform/team": "7", LAST_APPLIED: planted.token()}
    before = docker(cluster, owner, owner, "ghcr.io", "quay.io", annotations=marks)
    done = rotate(cluster, owner, token=token)
    assert (done.code, done.err.count("warning")) == (0, 0), done.err
    source = cluster.api.get("Secret", owner, NAMESPACE)
    assert source is not None
    assert auths(source)["quay.io"] == auths(before)["quay.io"]
    assert auths(source)["ghcr.io"]["password"] == token
    assert source["metadata"]["annotations"] == {"platform/team": "7"}  # kubectl's own had the old token
    stands(cluster, owner, token, within=1)

    done = credential(cluster, "rm", owner, "--registry", "ghcr.io", "--yes")
    assert (done.code, done.err) == (0, "")
    assert f"{owner}: the pull secret loses ghcr.io" in done.out
    until(lambda: {*auths(cluster.api.get("Secret", SECRET, owner))} == {"quay.io"}, "only the other one", within=10)
    source = cluster.api.get("Secret", owner, NAMESPACE)
    assert auths(source) == {"quay.io": auths(before)["quay.io"]}


def test_without_a_namespace_it_says_how_to_get_one(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    other = f"{owner}x@example.com"  # no value of a label
    done = add(cluster, other, "--namespaces", "team-a,team-b-*", token=planted.token())
    assert (done.code, done.err) == (0, "")
    assert f"no namespace has the owner {other} yet" in done.out
    marks = [
        one["metadata"].get("annotations", {}) for one in cluster.api.list("Secret", NAMESPACE, labels=f"{OWNER}=")
    ]
    limited = {OWNER: other, REGISTRY: "ghcr.io", NAMESPACES: "team-a,team-b-*"}
    assert [one for one in marks if one.get(OWNER) == other] == [limited]
    assert credential(cluster, "rm", other, "--yes").code == 0

    near = f"{owner[:-1]}{owner[-1]}s"
    done = add(cluster, near, token=planted.token())
    assert f"no namespace has the owner {near} yet; did you mean {owner}?" in done.out
    assert f"kubectl label namespace NAME {OWNER}={near}" in done.out
    missed = rotate(cluster, owner, token=planted.token())
    assert (missed.code, missed.out) == (2, "")
    assert f"no source Secret is for owner {owner}; did you mean {near}?" in missed.err
    assert credential(cluster, "rm", near, "--yes").code == 0


def test_nothing_of_others_is_overwritten(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{owner}-app", "namespace": NAMESPACE}}
    before = cluster.api.create(foreign)
    docker(cluster, "somebody", f"{owner}-somebody", "quay.io")
    for name, why in (
        (f"{owner}-app", "exists already in namespace pullsecret-webhook, and is no source Secret"),
        (f"{owner}-somebody", "is a source Secret of somebody for quay.io"),
        ("pullsecret-webhook-ca", "is no name for a source Secret"),
        ("../x", "is no name for a source Secret"),
    ):
        refused = add(cluster, owner, "--name", name, token=planted.token())
        assert (refused.code, refused.out) == (1, "")
        assert why in refused.err
    refused = rotate(cluster, owner, "--name", f"{owner}-somebody", token=planted.token())
    assert (refused.code, refused.out) == (2, "")
    assert f"is not a source Secret of {owner}" in refused.err
    assert cluster.api.get("Secret", f"{owner}-app", NAMESPACE) == before
    for name in (f"{owner}-app", f"{owner}-somebody"):
        cluster.api.delete("Secret", name, NAMESPACE)


def test_what_the_webhook_would_not_use_is_refused_before_anything_is_written(
    cluster: ControlPlane, webhook: Webhook, owner: str
) -> None:
    for token, more, code, why in (
        (f"{planted.token()} ", (), 2, "begins or ends with a line break or a space"),
        ("", (), 2, "standard input is empty"),
        (planted.token(), ("--namespaces", "Team A"), 2, "is no namespace"),
        (planted.token(), ("--expires", "soon"), 2, "nor a duration such as 90d"),
        (planted.token(), ("--expires", "2020-01-01"), 1, "is written nowhere"),
    ):
        refused = add(cluster, owner, *more, token=token)
        assert (refused.code, refused.out) == (code, ""), refused.err
        assert why in refused.err
    extra = add(cluster, owner, planted.token(), token=planted.token())
    assert extra.code == 2
    assert "A password is no argument" in extra.err
    assert sources(cluster, owner) == []


def test_what_may_be_a_mistake_is_told(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    """And a Secret that something else writes may not stay as it is."""
    fine_grained = f"github_pat_{planted.token()}"
    labels = {OWNER: owner, "reconcile.external-secrets.io/managed": "true"}
    docker(cluster, owner, owner, "ghcr.io", "quay.io", labels=labels)
    done = rotate(cluster, owner, "--expires", "30d", token=fine_grained)
    assert done.code == 0
    for words in (
        "warning: the password for ghcr.io: it looks like a fine-grained personal access token of GitHub",
        f"warning: source Secret {owner}: External Secrets writes it, and may write the old credential again",
        f"warning: the time in source Secret {owner} counts for quay.io too",
    ):
        assert words in done.err


def test_one_of_several_is_chosen_by_name(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    limits = {NAMESPACES: owner}
    docker(cluster, owner, f"{owner}-limited", "ghcr.io", annotations=limits)
    docker(cluster, owner, f"{owner}-open", "ghcr.io")
    token = planted.token()
    refused = rotate(cluster, owner, token=token)
    assert (refused.code, refused.out) == (1, "")
    assert f"{owner}-limited for {owner}; {owner}-open for all namespaces" in refused.err
    done = rotate(cluster, owner, "--name", f"{owner}-open", token=token)
    assert done.code == 0, done.err
    assert f"there is another credential for ghcr.io in source Secret {owner}-limited, which stays" in done.err
    assert auths(cluster.api.get("Secret", f"{owner}-open", NAMESPACE))["ghcr.io"]["password"] == token


def test_a_broken_one_is_repaired(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    deployed.give(cluster.api, owner, f"{planted.token()}\n")
    shown = credential(cluster, "list", "--owner", owner)
    assert shown.code == 1
    assert "line break or a space" in shown.out
    token = planted.token()
    done = rotate(cluster, owner, token=token)
    assert done.code == 0, done.err
    stands(cluster, owner, token, within=1)


def test_while_another_is_broken_nothing_arrives(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    deployed.give(cluster.api, owner, f"{planted.token()}\n")
    cluster.api.patch("Secret", owner, {"metadata": {"annotations": {REGISTRY: "quay.io"}}}, NAMESPACE)
    done = add(cluster, owner, token=planted.token())
    assert done.code == 1
    assert f"the pull secrets stay as they are: source Secret {owner} is broken: the password for quay.io" in done.out
    assert cluster.api.get("Secret", SECRET, owner) is None


def test_somebody_elses_pull_secret_is_not_waited_for(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    name = f"{owner}-second"
    cluster.namespace(name)
    cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": name}})
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {OWNER: owner}}})
    done = add(cluster, owner, token=planted.token())
    assert done.code == 1
    assert done.out.splitlines()[-1] == (
        f"the pull secret has it in 1 of 2 namespaces; in {name} the Secret {SECRET} is not the webhook's: "
        "see pullsecret adopt --all --dry-run"
    )
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {OWNER: None}}})


def test_nobodys_concurrent_change_is_lost(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    docker(cluster, owner, owner, "ghcr.io")

    async def late(delete: bool) -> str:
        async with Cluster.connect(str(cluster.kubeconfig)) as api:
            calls = SourceSecrets(ClusterView(api, Config()))
            seen = await calls.get(owner, owner)
            cluster.api.patch("Secret", owner, {"metadata": {"annotations": {"x": str(delete)}}}, NAMESPACE)
            with pytest.raises(PullsecretError) as refused:
                await (calls.delete(seen) if delete else calls.change(seen, {"new": ""}, {}))
            return str(refused.value)

    for delete in (False, True):
        assert asyncio.run(late(delete)) == f"source Secret {owner} has just changed; run this command again"
    source = cluster.api.get("Secret", owner, NAMESPACE)
    assert source is not None
    assert (source["metadata"]["annotations"], [*source["data"]]) == ({"x": "True"}, [".dockerconfigjson"])


def test_one_that_cannot_change(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    docker(cluster, owner, owner, "ghcr.io")
    cluster.api.patch("Secret", owner, {"immutable": True}, NAMESPACE)
    refused = rotate(cluster, owner, token=planted.token())
    assert (refused.code, refused.out) == (1, "")
    assert f"source Secret {owner} is immutable; remove it with pullsecret credential rm" in refused.err


def test_who_may_not_is_told_what(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    eve = ("--kubeconfig", str(cluster.user_kubeconfig("eve")))
    for arguments, code in ((("list",), 3), (("rm", owner, "--yes"), 1), (("test", owner), 3)):
        refused = credential(cluster, *arguments, *eve)
        assert (refused.code, refused.out) == (code, "")
        assert f"eve may not list secrets in the namespace {NAMESPACE}" in refused.err
    reader = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader", "namespace": NAMESPACE},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "get"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reader", "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    }
    cluster.api.apply(reader)
    cluster.api.apply(binding)
    docker(cluster, owner, owner, "ghcr.io")
    until(lambda: credential(cluster, "list", "--owner", owner, *eve).code == 0, "eve may read", within=10)
    assert "could not be read: namespaces" in credential(cluster, "list", "--owner", owner, *eve).out
    for refused in (
        add(cluster, owner, "--name", f"{owner}-x", *eve, token=planted.token()),
        rotate(cluster, owner, *eve, token=planted.token()),
        credential(cluster, "rm", owner, "--yes", *eve),
    ):
        assert refused.code == 1
        assert "eve may not " in refused.err
        assert f"secrets in the namespace {NAMESPACE}" in refused.err
    cluster.api.delete("RoleBinding", "reader", NAMESPACE)


def test_a_webhook_that_reads_no_source_secrets(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    config = {"sources": [{"from": "http", "url": "https://tokens.example.com/{owner}"}]}
    arguments = ("--registry", "ghcr.io", "--username", "robot", "--password-stdin")
    refused = credential(cluster, "add", owner, *arguments, token=planted.token(), config=config)
    assert (refused.code, refused.out) == (2, "")
    assert "reads no source Secrets" in refused.err
    assert sources(cluster, owner) == []


def test_beside_other_sources_it_says_that_it_does_not_see_all(
    cluster: ControlPlane, webhook: Webhook, owner: str
) -> None:
    config = {"sources": [{"from": "secrets"}, {"from": "http", "url": "https://tokens.example.com/{owner}"}]}
    docker(cluster, owner, owner, "ghcr.io")
    removed = credential(cluster, "rm", owner, "--dry-run", config=config)
    assert (removed.code, "warning: the webhook has other sources too" in removed.err) == (0, True)
    assert "the webhook has other sources too" in credential(cluster, "list", "--owner", owner, config=config).out


def test_on_a_terminal_it_asks_before_it_removes(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    docker(cluster, owner, owner, "ghcr.io")
    for answer, code, left in (("n", 1, 1), ("", 1, 1), ("y", 0, 0)):
        config = str(cluster.folder / "credential.yaml")
        ran = command(cluster, "credential", "rm", owner, "--config", config, stdin=f"{answer}\n", typed=True)
        assert (ran.code, len(sources(cluster, owner))) == (code, left), ran.err
        assert "Remove it? [y/N]" in ran.err
        assert ("nothing was removed" in ran.out) == bool(left)


def test_what_is_left_must_not_be_broken(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    """Because the webhook would leave the pull secrets as they are, also with what is to leave them."""
    before = docker(cluster, owner, owner, "ghcr.io", "quay.io")
    broken = {"auths": {**auths(before), "quay.io": {"identitytoken": planted.token()}}}
    content = base64.b64encode(json.dumps(broken).encode()).decode()
    before = cluster.api.patch("Secret", owner, {"data": {".dockerconfigjson": content}}, NAMESPACE)
    refused = credential(cluster, "rm", owner, "--registry", "ghcr.io", "--yes")
    assert (refused.code, refused.out) == (1, "")
    assert f"source Secret {owner}: without ghcr.io it would be broken (the entry for quay.io has only" in refused.err
    assert cluster.api.get("Secret", owner, NAMESPACE) == before
    assert credential(cluster, "rm", owner, "--name", owner, "--yes").code == 0


@pytest.mark.parametrize("how", ["text", "json"])
def test_a_registry_is_asked_from_here(
    cluster: ControlPlane, webhook: Webhook, owner: str, registry: Registry, how: str
) -> None:
    place = ("--registry", registry.address)
    added = credential(
        cluster, "add", owner, *place, "--username", "alice", "--password-stdin", token=registry.users["alice"]
    )
    assert added.code == 0, added.err

    def tested(*more: str) -> tuple[int, str, str]:
        ran = credential(cluster, "test", owner, *more, "-o", how)
        assert ran.err == ""
        if how == "json":
            (one,) = json.loads(ran.out)["credentials"]
            return ran.code, one["result"], one["why"] + one["hint"]
        return ran.code, ran.out.partition(": ")[2].partition(" (")[0].strip(), ran.out

    trusting = (*place, "--ca-file", str(registry.ca))
    assert tested(*trusting)[:2] == (0, "works")
    code, _, why = tested(*place)
    assert (code, "its certificate is not trusted" in why, "--ca-file" in why) == (1, True, True)
    code, _, why = tested()
    assert (code, "it has a private address" in why, "name it with --registry" in why) == (1, True, True)
    assert rotate(cluster, owner, registry=registry.address, token=planted.token()).code == 0
    code, _, why = tested(*trusting)
    assert (code, "HTTP 401" in why, "a classic personal access token" in why) == (1, True, False)


def test_the_examples_of_the_guide(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    """Each command, and what it prints. What the registry says is another matter: ghcr.io is not asked."""
    (steps,) = re.findall(r"```console\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    spaces = [f"{owner}-a", f"{owner}-b"]
    for name in spaces:
        cluster.namespace(name, labels={OWNER: owner})
    cluster.api.patch("Namespace", owner, {"metadata": {"labels": {OWNER: None}}})
    secret = New(owner, "ghcr.io", "", "").name
    meant = {New("alice", "ghcr.io", "", "").name: secret, "alice": owner, "team-a, team-b": ", ".join(spaces)}
    for old, new in meant.items():
        steps = steps.replace(old, new)
    verbs = []
    for call, prints in re.findall(r"^\$ pullsecret (.*)\n((?:[^$].*\n)*)", steps, re.MULTILINE):
        _, verb, *arguments = call.removesuffix(" < token").split()
        verbs.append(verb)
        with patch.dict(os.environ, deployed.TRUSTS_NOBODY):
            ran = credential(cluster, verb, *arguments, token=planted.token())
        if verb == "test":
            assert ran.out.partition(": ")[0] == prints.partition(": ")[0]
        elif verb == "list":
            (head, row, end), said = prints.splitlines(), ran.out.splitlines()
            assert (said[0].split(), said[-1]) == (head.split(), end)
            assert [said[1].split()[place] for place in (0, 1, 2, 5, 6)] == [
                row.split()[place] for place in (0, 1, 2, 5, 6)
            ]
        else:
            assert (ran.code, ran.out) == (0, prints), ran.err
    assert verbs == ["add", "list", "test", "rotate", "rm"]
    for name in spaces:
        cluster.api.patch("Namespace", name, {"metadata": {"labels": {OWNER: None}}})
