"""The safety net: what the API server does by itself while no replica answers; it is never in the webhook's way."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, deployment, names, pod, stands
from controlplane.ports import free_port
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import goldencase, planted
from support.goldenreal import FILES, send, set_up

pytestmark = pytest.mark.cluster
OWNER, INJECT = "pullsecret-webhook/owner", "pullsecret-webhook/inject"
ENFORCED = {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}


@pytest.fixture(scope="module")
def net(binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The net is in force, and a replica runs. But it is registered at a port where nobody listens."""
    with ControlPlane.start(tmp_path_factory.mktemp("net")) as cluster:
        deployed.install(cluster, net=True)
        with deployed.running(cluster) as replica:
            cluster.replica = replica  # type: ignore[attr-defined]
            deployed.register(cluster, free_port())
            cluster.namespace("probe", labels={OWNER: "alice"})
            until(lambda: added(cluster, "probe"), "the net is in force", within=20)
            yield cluster


def added(cluster: ControlPlane, namespace: str, **spec: Any) -> list[str]:
    return names(cluster.api.create(pod(namespace, **spec), dry_run=True))


@pytest.fixture
def webhook(net: ControlPlane) -> Iterator[Webhook]:
    """The same replica, called."""
    replica: Webhook = net.replica  # type: ignore[attr-defined]
    deployed.register(net, replica.port)
    deployed.wait_called(net.api, replica.port, "probe")
    yield replica
    deployed.register(net, free_port())
    until(lambda: not alone(net), "nobody is called any more", within=10)


def alone(cluster: ControlPlane) -> list[str]:
    """What the webhook adds to a pod that the net leaves to it."""
    only = labelled(pod("probe"), "pullsecret-webhook/safety-net")
    return names(cluster.api.create(only, dry_run=True))


def account(namespace: str, name: str, **more: object) -> Object:
    metadata = more.pop("metadata", {})
    assert isinstance(metadata, dict)
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace} | metadata,
    } | more


def labelled(obj: Object, key: str, value: str = "disabled") -> Object:
    return obj | {"metadata": obj["metadata"] | {"labels": {key: value}}}


# -- while nobody answers --

WEBHOOK_ONLY = {
    "pod-union-of-its-own-account": [SECRET],
    "secret-foreign-unparsable": [SECRET],
}
"""Golden cases in which the net alone does not do what the webhook does, and what comes of it. The net cannot see what
is in a Secret."""


QUICK = {
    "pod-without-list",
    "pod-only-ours-union",
    "pod-own-entries-stay",
    "pod-union-without-doubles",
    "pod-opted-out",
    "namespace-without-owner",
    "background-opted-out",
    "deployment-own-entries-stay",
    "deployment-template-opted-out",
    "deployment-update-lost-own-stay",
    "deployment-update-never-had",
    "enforced-account-lists-ours",
    "enforced-account-of-its-own",
    "secret-foreign-opaque",
}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.slow) for path in FILES],
    ids=lambda path: path.stem,
)
def test_the_net_does_what_the_webhook_would(net: ControlPlane, path: Path) -> None:
    team = f"down-{path.stem}"
    case = goldencase.load(path, team=team, alice=f"alice-{path.stem}", bob=f"bob-{path.stem}")
    set_up(net, case, team)
    if case.review is None:
        return
    wanted = goldencase.names(goldencase.patched(case.review, case.expect.patch))
    # The API server's view of namespaces and accounts is a watch, too.
    review = msgspec.structs.replace(case.review, dry_run=True)
    expected = WEBHOOK_ONLY.get(path.stem, wanted)
    if review.operation == "CREATE":
        until(lambda: goldencase.names(send(net, review, team)) == expected, f"{expected} is in it", within=3)
    assert goldencase.names(send(net, case.review, team)) == expected


def test_a_template_that_was_patched_costs_no_pod_its_accounts_secrets(net: ControlPlane) -> None:
    """ServiceAccount admission fills only empty lists: it skips the pods of such a template."""
    net.namespace("patched", labels={OWNER: "alice"})
    net.api.apply(account("patched", "default", imagePullSecrets=[{"name": "dockerhub"}]))
    until(lambda: added(net, "patched") == ["dockerhub", SECRET], "the account is known", within=5)
    made = deployment("patched")
    made["spec"]["replicas"] = 1
    assert names(net.api.create(made)) == [SECRET]
    pods = net.wait(lambda: net.api.list("Pod", "patched"), "the Deployment's pod")
    assert names(pods[0]) == [SECRET, "dockerhub"]


def test_owners_by_name_and_what_is_excluded(net: ControlPlane) -> None:
    """The net is rendered with two owner rules, as the policies are."""
    for name, wanted in (("project-7-staging", [SECRET]), ("project-7-prod", []), (deployed.NAMESPACE, [])):
        if name != deployed.NAMESPACE:
            net.namespace(name)
        else:
            net.api.patch("Namespace", name, {"metadata": {"labels": {OWNER: "alice"}}})
        until(lambda name=name, wanted=wanted: added(net, name) == wanted, f"{wanted} in {name}", within=3)  # type: ignore[misc]


def test_nothing_else_changes_and_nothing_is_refused(net: ControlPlane) -> None:
    """What the API server adds otherwise is there without the net, too."""
    entries = [{"name": f"own-{number}"} for number in range(200)]
    lists: list[list[Object]] = [[], [{}], [{"name": "a"}, {}, {"name": "a"}], entries]
    for listed in lists:
        one = pod("probe", imagePullSecrets=listed)
        with_net = net.api.create(one, dry_run=True)["spec"]
        without = net.api.create(labelled(one, "pullsecret-webhook/safety-net"), dry_run=True)["spec"]
        assert with_net.pop("imagePullSecrets") == [*without.pop("imagePullSecrets", []), {"name": SECRET}]
        for spec in (with_net, without):  # named at random
            spec.pop("volumes"), spec["containers"][0].pop("volumeMounts")
        assert with_net == without


def fields(text: str) -> list[Object]:
    return [{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": text}]


def test_nothing_about_a_pod_keeps_it_from_the_reference(net: ControlPlane) -> None:
    """As deep, as large and as full as the API server takes it."""
    deep = '{"f:a":' * 9_980 + "{}" + "}" * 9_980
    large = "{" + ",".join(f'"f:{number:06}":{{}}' for number in range(20_000)) + "}"
    odd: dict[str, Object] = {
        deep: {"managedFields": fields("HERE")},
        large: {"managedFields": fields("HERE")},
        "labels": {"labels": {f"a/{number:05}": "" for number in range(5_000)}},
        "annotations": {"annotations": {"a": "\u2028<&" * 20_000}},
    }
    for text, metadata in odd.items():
        obj = pod("probe")
        body = json.dumps(obj | {"metadata": obj["metadata"] | metadata}).replace('"HERE"', text)
        said = net.api.raw(
            "POST",
            "/api/v1/namespaces/probe/pods",
            content=body.encode(),
            params={"dryRun": "All"},
            headers={"Content-Type": "application/json"},
        )
        assert b'"imagePullSecrets":[{"name":"ghcr-secret"}]' in said.content


def test_whoever_changes_what_the_net_is_told_is_put_right(net: ControlPlane) -> None:
    def told() -> str | None:
        found = net.api.get("ServiceAccount", deployed.SAFETY_NET, deployed.NAMESPACE)
        assert found
        text: str | None = found["metadata"].get("annotations", {}).get("pullsecret-webhook/refusing")
        return text

    right = until(told, "it is told", within=5)
    wrong: list[Object] = [{"annotations": {"pullsecret-webhook/refusing": ",x,"}}, {"annotations": None}]
    for metadata in wrong:
        net.api.patch("ServiceAccount", deployed.SAFETY_NET, {"metadata": metadata}, deployed.NAMESPACE)
        until(lambda: told() == right, "it is put right", within=5)


def test_kubectl_sees_no_difference(net: ControlPlane) -> None:
    """Applied again, with nobody to ask: no new generation, no rollout."""
    net.namespace("gitops", labels={OWNER: "alice"})
    app = deployment("gitops")
    for flags in ((), ("--server-side",)):
        app["metadata"]["name"] = "app" + "".join(flags)
        said = [net.kubectl("apply", *flags, "-f", "-", input=json.dumps(app)) for _ in range(3)]
        found = net.api.get("Deployment", app["metadata"]["name"], "gitops")
        assert found
        assert (names(found), found["metadata"]["generation"]) == ([SECRET], 1)
        assert flags or said[1:] == ["deployment.apps/app unchanged\n"] * 2
        net.kubectl("diff", *flags, "-f", "-", input=json.dumps(app))


def test_pods_of_other_accounts_get_it_when_a_controller_makes_them(net: ControlPlane) -> None:
    """And one whose account refuses it is made without: such a namespace the net leaves alone."""
    for name, more in (("plain", {}), ("strict", {"metadata": ENFORCED})):
        net.namespace(name, labels={OWNER: "alice"})
        net.api.create(account(name, "own", **more))
        app = deployment(name, serviceAccountName="own") | {"kind": "Deployment"}
        app["spec"]["replicas"] = 1
        net.api.create(app)
        made = net.wait(lambda name=name: net.api.list("Pod", name), f"a pod in {name}", within=20)  # type: ignore[misc]
        assert [names(one) for one in made] == [[] if more else [SECRET]]
    assert added(net, "plain", serviceAccountName="own") == []  # who makes pods by hand does not try again
    assert net.api.get("Deployment", "d", "plain")["spec"]["template"]["spec"].get("imagePullSecrets") is None  # type: ignore[index]


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_no_pod_is_refused_for_an_account_that_enforces(net: ControlPlane, text: str) -> None:
    name = f"enforced-{text.encode().hex()}"
    net.namespace(name, labels={OWNER: "alice"})
    until(lambda: added(net, name) == [SECRET], "the net", within=3)
    annotation = {"kubernetes.io/enforce-mountable-secrets": text}
    net.api.patch("ServiceAccount", "default", {"metadata": {"annotations": annotation}}, name)
    until(lambda: not names(net.api.create(deployment(name), dry_run=True)), "it has heard", within=3)
    assert added(net, name) == []
    net.api.patch("ServiceAccount", "default", {"imagePullSecrets": [{"name": SECRET}]}, name)
    until(lambda: added(net, name) == [SECRET], "the account lists it", within=3)


# -- with the webhook --


def test_the_webhook_supplies_what_the_net_refers_to(net: ControlPlane, webhook: Webhook) -> None:
    """An account that got pull secrets a moment ago: they are in the pod, once."""
    token = planted.token()
    deployed.give(net.api, "carol", token)
    name = "carols"
    net.namespace(name, labels={OWNER: "carol"})
    stands(net, name, token)
    for number in range(20):
        own = f"own-{number}"
        net.api.patch("ServiceAccount", "default", {"imagePullSecrets": [{"name": own}]}, name)
        assert set(added(net, name)) in (
            {own, SECRET},
            {f"own-{number - 1}", own, SECRET},
            {f"own-{number - 1}", SECRET},
        )
        until(lambda own=own: added(net, name) == [own, SECRET], "both", within=2)  # type: ignore[misc]
    assert added(net, name, imagePullSecrets=[{"name": "x"}]) == ["x", SECRET]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_with_the_net_the_webhook_answers_as_without(net: ControlPlane, webhook: Webhook, path: Path) -> None:
    team = f"up-{path.stem}"
    case = goldencase.load(path, team=team, alice=f"up-alice-{path.stem}", bob=f"up-bob-{path.stem}")
    if case.review is None or path.stem.startswith("enforced-account-un"):
        return
    set_up(net, case, team)
    wanted = goldencase.names(goldencase.patched(case.review, case.expect.patch))
    foreign = WEBHOOK_ONLY.get(path.stem, wanted) if "unparsable" in path.stem else wanted
    dry = msgspec.structs.replace(case.review, dry_run=True)
    until(lambda: goldencase.names(send(net, dry, team)) == foreign, f"{foreign} is in it", within=5)


def test_a_pattern_excludes_for_the_net_and_for_the_webhook(net: ControlPlane, webhook: Webhook) -> None:
    """The webhook itself would add it: its own configuration has no pattern."""
    deployed.register(net, webhook.port, matchConditions=[deployed.not_excluded()])
    for name in ("left-out-here", "left-in", "not-left-out"):  # the API server knows the first when it knows the last
        net.namespace(name, labels={OWNER: "alice"})
    for name, wanted in (("not-left-out", [SECRET]), ("left-in", [SECRET]), ("left-out-here", [])):
        until(lambda name=name, wanted=wanted: added(net, name) == wanted, f"{wanted} in {name}", within=3)  # type: ignore[misc]
        only = labelled(pod(name), "pullsecret-webhook/safety-net")
        assert names(net.api.create(only, dry_run=True)) == wanted


def test_no_pod_is_lost_while_the_replica_goes_and_comes(net: ControlPlane) -> None:
    net.namespace("busy", labels={OWNER: "alice"})
    until(lambda: added(net, "busy"), "the net", within=3)
    port, lost, made = free_port(), 0, 0
    deployed.register(net, port)
    for number in range(3):
        with deployed.running(net, port=port, name=f"goes-{number}") as replica:
            deployed.wait_called(net.api, port, "probe")
            for _ in range(20):
                lost, made = lost + (added(net, "busy") != [SECRET]), made + 1
            replica.child.signal(signal.SIGKILL)
            for _ in range(60):
                lost, made = lost + (added(net, "busy") != [SECRET]), made + 1
            replica.child.wait(5)
    assert (lost, made) == (0, 240)


# -- the one against the other --

ASKED, CONTROLLER = "tests/asked", "system:kube-controller-manager"
TWO = [{"name": "own"}, {"name": "own"}, {}, {"name": "a/b"}, {"name": SECRET}, {"name": "more"}]
DEFAULTS: dict[str, Object] = {
    "usual": {},
    "two": {"imagePullSecrets": TWO},
    "many": {"imagePullSecrets": [{"name": f"own-{number}"} for number in range(300)]},
    "long": {"imagePullSecrets": [{"name": "x" * 600}, {"name": "y" * 600}]},
    "enforces": {"metadata": ENFORCED, "imagePullSecrets": TWO[:1]},
    "lists": {"metadata": ENFORCED, "imagePullSecrets": TWO},
    "not": {"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "yes"}}},
    "mixed": {},
}
"""The account `default` in a namespace of alice's. There is another one, `own`; in `mixed` also one that refuses."""
SPACES: dict[str, Object] = {
    "nobody": {},
    "empty": {"labels": {OWNER: ""}},
    "noted": {"annotations": {OWNER: "alice"}},
    "odd": {"labels": {OWNER: "A.b_c-9"}},
    "out": {"labels": {OWNER: "alice", INJECT: "disabled"}},
    "in": {"labels": {OWNER: "alice", INJECT: "Disabled"}},
    "project-7-production": {"labels": {OWNER: "alice"}},
    **{name: {"labels": {OWNER: "alice"}} for name in DEFAULTS},
}


@pytest.fixture(scope="module")
def apart(net: ControlPlane) -> Iterator[dict[str, Api]]:
    """The webhook is called for what carries a label only: so one pod can be shown to either of them. By user."""
    for name, metadata in SPACES.items():
        net.namespace(name, **metadata)
        net.api.create(account(name, "own"))
        net.api.patch("ServiceAccount", "default", DEFAULTS.get(name, {}), name)
    net.api.create(account("mixed", "strict", metadata=ENFORCED))
    replica: Webhook = net.replica  # type: ignore[attr-defined]
    deployed.register(net, replica.port, objectSelector={"matchLabels": {ASKED: "yes"}})
    net.api.patch("Namespace", "mixed", {"metadata": {"labels": {"last": ""}}})
    until(lambda: Shown(net.api, pod("probe")).webhook == [SECRET], "the webhook is called", within=10)
    # Whoever has heard of what came last has heard of all.
    controller, left = net.user(CONTROLLER, ("system:masters",)), pod("mixed", serviceAccountName="own")
    until(lambda: names(controller.create(left, dry_run=True)) == [], "the net has heard", within=10)
    yield {"tina": net.api, CONTROLLER: controller}
    deployed.register(net, free_port())


class Shown:
    """What becomes of it (the names in its list, or why it is refused): with neither, with either, with both."""

    def __init__(self, api: Api, obj: Object) -> None:
        self._api, self._obj = api, obj
        alone = {"pullsecret-webhook/safety-net": "disabled"}
        self.neither, self.net = self._made(alone), self._made({})
        self.webhook, self.both = self._made(alone | {ASKED: "yes"}), self._made({ASKED: "yes"})

    def _made(self, labels: dict[str, str]) -> list[str] | str:
        metadata = self._obj["metadata"]
        obj = self._obj | {"metadata": metadata | {"labels": metadata.get("labels", {}) | labels}}
        try:
            return goldencase.names(self._api.create(obj, dry_run=True))
        except ApiError as e:
            return e.reason


def entries(count: int, name: str = "own") -> list[Object]:
    return [{"name": f"{name}-{number}"} for number in range(count)]


ENTRY = st.sampled_from(
    [{}, None, {"name": ""}, {"name": "own"}, {"name": SECRET}, {"name": "a/b"}, {"name": "<\n\u2028"}]
)
LISTS = st.one_of(
    st.sampled_from([None, [], [{"name": SECRET}], [{"name": SECRET}] * 2, entries(199), entries(201)]),
    st.lists(ENTRY, max_size=4),
)


MADE: list[Callable[..., Object]] = [pod, deployment]


@st.composite
def drawn(draw: st.DrawFn) -> Object:
    space = draw(st.sampled_from([*SPACES]))
    make = draw(st.sampled_from(MADE))
    spec: Object = {}
    if (given := draw(st.just("absent") | LISTS)) != "absent":
        spec["imagePullSecrets"] = given
    if (name := draw(st.sampled_from(["absent", "", "default", "own", "strict", None]))) != "absent":
        spec[draw(st.sampled_from(["serviceAccountName", "serviceAccount"]))] = name
    obj: Object = make(space, **spec)
    labels = draw(st.sampled_from([{}, {}, {INJECT: "disabled"}, {INJECT: ""}, {INJECT: "enabled"}]))
    if make is deployment and draw(st.booleans()):
        obj["spec"]["template"]["metadata"]["labels"] |= labels
    else:
        obj["metadata"]["labels"] = labels
    if draw(st.booleans()):
        obj["metadata"]["generateName"] = obj["metadata"].pop("name")
    obj["metadata"]["annotations"] = draw(st.sampled_from([None, {}, {"kubernetes.io/config.mirror.x": ""}]))
    return obj


def compare(api: Api, obj: Object) -> None:
    shown = Shown(api, obj)
    assert shown.net in (shown.webhook, shown.neither)
    assert shown.both == shown.webhook
    assert isinstance(shown.webhook, str) is isinstance(shown.neither, str)


TRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


@TRIED
@given(st.sampled_from(["tina", CONTROLLER]), drawn())
def test_the_net_never_does_what_the_webhook_would_not(apart: dict[str, Api], user: str, obj: Object) -> None:
    compare(apart[user], obj)


@pytest.mark.slow
@settings(TRIED, max_examples=1500)
@given(st.sampled_from(["tina", CONTROLLER]), drawn())
def test_nor_in_many_more_cases(apart: dict[str, Api], user: str, obj: Object) -> None:
    compare(apart[user], obj)


HOSTILE: dict[str, list[Object]] = {
    "4,000 entries": entries(4_000),
    "as many, and ours": [*entries(4_000), {"name": SECRET}],
    "just too long": entries(200, "x" * 50),
    "one name": [{"name": "x" * 1_000_000}],
    "as long as it may be": entries(200, "\u2028" * 36),
    "nothing": [{}] * 1000,
}


@pytest.mark.parametrize("given", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("make", MADE)
def test_nor_with_a_list_that_nobody_writes(
    apart: dict[str, Api], make: Callable[..., Object], given: list[Object]
) -> None:
    for space in ("usual", "many"):
        compare(apart["tina"], make(space, imagePullSecrets=given))


def test_an_account_with_more_pull_secrets_than_the_webhook_knows(apart: dict[str, Api]) -> None:
    """A pod of a patched template: with the webhook as many as that knows, with the net alone none."""
    for space in ("many", "long"):
        shown = Shown(apart["tina"], pod(space, imagePullSecrets=[{"name": SECRET}]))
        assert (shown.net, shown.both) == ([SECRET], shown.webhook)
        assert len(shown.webhook) in (2, 51)
    shown = Shown(apart["tina"], pod("two", imagePullSecrets=[{"name": SECRET}]))
    assert shown.net == shown.webhook == [SECRET, "own", "more"]


def test_a_deployment_that_had_a_long_list(net: ControlPlane, apart: dict[str, Api]) -> None:
    """And ours was in it: the webhook does not see that it lost it, and neither does the net."""
    for number, count in enumerate((10, 4_000)):
        made = deployment("usual", imagePullSecrets=[*entries(count), {"name": SECRET}])
        made["metadata"]["name"] = f"had-{number}"
        net.api.create(made)
        made["spec"]["template"]["spec"]["imagePullSecrets"] = entries(1)
        assert goldencase.names(net.api.replace(made)) == ["own-0"] + [SECRET] * (count == 10)
