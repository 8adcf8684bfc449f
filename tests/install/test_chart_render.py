"""What the chart comes to with which values; needs Helm, but no cluster."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from controlplane.api import Object
from controlplane.errors import HarnessError
from controlplane.helm import CHART, REPOSITORY, Helm, documents, one
from controlplane.installed import installed, rewriting
from controlplane.kinds import resource
from controlplane.webhook import INSTALLED, REWRITING
from webhook.cli.credential import add
from webhook.cli.entry import pullsecret
from webhook.cli.registryauth import serve as registry_auth_serve
from webhook.commands.installation import rights
from webhook.config import reading
from webhook.config.models import Config
from webhook.core import names
from webhook.core.shares import MAX_SLOTS, slots_of
from webhook.serving.server import CLOSING_SECONDS, LINGER_SECONDS

pytestmark = pytest.mark.helm

NET = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
FAIL = {"failurePolicy": "Fail", "config": {"excludedNamespaces": ["kube-system"]}}
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
DIGEST = f"sha256:{'a' * 64}"
DELETE = {"uninstall": {"pullSecrets": "delete"}}
LABEL = {"from": "label", "key": "example.com/owner"}
NAME = {"from": "name", "prefix": "project-", "owner": "[0-9]+", "suffix": "-(development|staging|production)"}


def pod(objects: list[Object]) -> Any:
    return one(objects, "Deployment")["spec"]["template"]["spec"]


def entries(objects: list[Object]) -> tuple[Any, Any]:
    """That of pods, and that of what has a template."""
    pods, templates = one(objects, "MutatingWebhookConfiguration")["webhooks"]
    return pods, templates


def entry(objects: list[Object]) -> Any:
    return entries(objects)[0]


def configuration(objects: list[Object]) -> Config:
    return reading.parse(one(objects, "ConfigMap", "pullsecret-webhook")["data"]["config.yaml"])


def refused(helm: Helm, values: Object) -> str:
    with pytest.raises(HarnessError) as error:
        helm.render(values)
    return str(error.value)


# -- all values --


def test_lint(each_helm: Helm, ci_values: list[Path]) -> None:
    for file in ci_values:
        said = each_helm.run("lint", "--strict", CHART, "--values", file)
        assert "1 chart(s) linted, 0 chart(s) failed" in said, file


@pytest.mark.slow
def test_both_helms_render_the_same_twice(tmp_path: Path, ci_values: list[Path]) -> None:
    helms = [Helm(major, tmp_path) for major in (3, 4)]
    for file in ci_values:
        renderings = [sorted(map(repr, helm.render(None, "--values", file))) for helm in (*helms, *helms)]
        assert renderings[1:] == renderings[:-1], file


def test_notes_say_what_is_next(helm: Helm) -> None:
    """`helm install --dry-run=client` shows them."""

    def notes(values: Object) -> str:
        said = helm.run("install", "psw", CHART, "--namespace", "psw", "--dry-run=client", values=values)
        return said.partition("NOTES:")[2]

    said = notes({})
    assert f"with the image {REPOSITORY}:" in said
    for command in ("helm test psw --namespace psw", "create secret generic alice", "kubectl label namespace"):
        assert command in said
    (arguments,) = re.findall(r"^ +pullsecret credential add (.*)$", said, re.MULTILINE)
    root = click.Context(
        pullsecret, **pullsecret.context_settings
    )  # what a command takes from it is kept in the command
    parsed = add.make_context("add", arguments.split(), parent=root)  # raises if they are not right
    assert parsed.params["owner"] == "alice"
    assert "WARNING" not in said
    assert "leaves the pull secrets" in said
    assert "WARNING: writePolicy.enabled is false" in notes({"writePolicy": {"enabled": False}})
    assert "WARNING: ownerPolicy.enabled is false" in notes({"ownerPolicy": {"enabled": False}})
    rules = {"config": {"ownerRules": [LABEL, {"from": "annotation", "key": "x/tenant"}, NAME]}}
    assert "WARNING" not in notes(rules)
    said = notes(rules | {"ownerPolicy": {"protectedElsewhere": ["x/tenant"]}})
    assert "does not protect the annotation x/tenant of namespaces" in said
    said = notes(rules | {"ownerPolicy": {"enabled": False}})
    assert "does not protect the label example.com/owner, the annotation x/tenant of namespaces" in said
    said = notes({})
    assert "set test.namespace" in notes({"config": {"ownerRules": [NAME]}})
    assert "pullsecret-webhook-ca" in said
    said = notes({"tls": {"mode": "cert-manager"}})
    assert "pullsecret-webhook-tls, pullsecret-webhook-issuer" in said
    assert "pullsecret-webhook-ca" not in said
    assert "pullsecret-webhook-checks" in said
    assert "pullsecret-webhook-checks" not in notes({"config": {"check": False}})
    http = {"from": "http", "url": "https://tokens.example.com/{owner}"}
    for sources, told in (([http], False), ([http, {"from": "secrets"}], True)):
        said = notes({"config": {"sources": sources}})
        assert [words in said for words in ("credential add", "create secret", "where config.sources look for it")] == [
            told,
            told,
            not told,
        ]
    assert "leaves the pull secrets" not in notes(DELETE)
    assert "issued-*" not in said
    assert "the Secrets issued-* and the Lease pullsecret-webhook-issuer" in notes(ISSUES)
    assert ["add --no-hooks" in notes(values) for values in ({}, FAIL, DELETE)] == [False, True, True]


def test_nothing_blocks_and_nothing_is_secret(rendered: dict[str, list[Object]]) -> None:
    for file, objects in rendered.items():
        assert not [o for o in objects if o["kind"] == "Secret"]
        assert not [o for o in objects if o["metadata"].get("finalizers")]
        names = [(o["kind"], o["metadata"]["name"], o["metadata"].get("namespace")) for o in objects]
        assert len(names) == len(set(names)), file


def test_only_hooks_are_left_out_with_no_hooks(helm: Helm) -> None:
    """For `helm template | kubectl apply`, which knows no hooks and would run them all at once."""
    left_out = {o["kind"] for o in helm.render(FAIL) if "helm.sh/hook" in o["metadata"].get("annotations", {})}
    assert {"Job", "Pod"} <= left_out
    assert not [o for o in helm.render(FAIL, "--no-hooks") if o["kind"] in ("Job", "Pod")]


TEXTS = {"name", "namespace", "secretName", "priorityClassName", "serviceAccountName", "image", "key", "interval"}
"""Fields with what the user chose in them, one text or several, whatever object they are in."""
LISTS = {"resourceNames", "values", "matchNames", "dnsNames", "args"}


def not_texts(value: Any, path: str = "") -> list[str]:
    """Where one of these, a label or an annotation is a number or a boolean to YAML."""
    if isinstance(value, list):
        return [found for number, part in enumerate(value) for found in not_texts(part, f"{path}[{number}]")]
    if not isinstance(value, dict):
        return []
    found = [where for key, part in value.items() for where in not_texts(part, f"{path}.{key}")]
    alone = {key: value[key] for key in TEXTS & value.keys()}
    several = {f"{key}[]": part for key in LISTS & value.keys() for part in value[key]}
    mapped = {
        key: text for name in ("labels", "annotations", "matchLabels") for key, text in value.get(name, {}).items()
    }
    every = {**alone, **several, **mapped}
    return found + [f"{path}.{key}" for key, text in every.items() if not isinstance(text, str | dict)]


def test_names_that_are_numbers_to_yaml(helm: Helm) -> None:
    """Release and namespace too; all of the values are in ci/numbers-values.yaml."""
    for text, mode in (("123", "files"), ("true", "cert-manager")):
        values = (CHART / "ci" / "numbers-values.yaml").read_text().replace("123", text).replace("files,", f"{mode},")
        said = helm.run("template", text, CHART, "--namespace", text, values=yaml.safe_load(values))
        objects = documents(said)
        assert [where for obj in objects for where in not_texts(obj, obj["kind"])] == []
        assert text in entry(objects)["namespaceSelector"]["matchExpressions"][-1]["values"]
        assert one(objects, "ClusterRole", "pullsecret-webhook")["rules"][0]["resourceNames"] == [text]


# -- the configuration --


def test_configuration_goes_into_the_config_map_as_it_stands(helm: Helm) -> None:
    given = {
        "ownerRules": [LABEL, NAME],
        "pullSecret": {"name": "registry", "whenUnowned": "keep"},
        "deployments": "supply",
        "excludedNamespaces": ["monitoring"],
        "server": {"address": "::"},
    }
    objects = helm.render({"config": given, "ports": {"https": 9443, "metrics": 9090}}, namespace="platform")
    made = configuration(objects)
    own = {"port": 9443, "metricsPort": 9090} | given["server"]  # type: ignore[operator]
    assert made == reading.convert(given | {"namespace": "platform", "replicas": 2, "server": own})
    (container,) = pod(objects)["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"https": 9443, "metrics": 9090}


def test_the_example_in_the_readme_is_all_there_is(helm: Helm) -> None:
    """With the defaults that it says it has."""
    block = re.search(r"```yaml\n(config:\n.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    assert block
    values = yaml.safe_load(block[1])
    assert {rule["from"] for rule in values["config"]["ownerRules"]} == {"label", "annotation", "name"}
    assert set(values["config"]) == {*reading.schema()["$defs"]["Config"]["properties"]} - {
        "namespace",
        "replicas",
        "tls",
    }
    made = configuration(helm.render(values))
    for name in {*Config.__struct_fields__} - {"owner_rules", "excluded_namespaces", "replicas"}:
        assert getattr(made, name) == getattr(Config(), name)


def test_every_ci_configuration_is_one_that_the_webhook_reads(rendered: dict[str, list[Object]]) -> None:
    for file, objects in rendered.items():
        assert configuration(objects).namespace == "pullsecret-webhook", file


def test_a_changed_configuration_rolls_the_pods_and_nothing_else_does(helm: Helm) -> None:
    def template(values: Object) -> Object:
        found: Object = one(helm.render(values), "Deployment")["spec"]["template"]
        return found

    assert template({"config": {"deployments": "supply"}}) != template({})
    assert template({"replicas": 3}) != template({})
    assert template({"serviceMonitor": {"enabled": True}, "uninstall": {"pullSecrets": "delete"}}) == template({})


# -- the pods --


def test_pods_are_as_restricted_as_can_be(rendered: dict[str, list[Object]]) -> None:
    """The deployment's and those of the hooks."""
    for objects in rendered.values():
        specs = [o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "Job")]
        for spec in [*specs, one(objects, "Pod")["spec"]]:
            security = spec["securityContext"]
            assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 65532)
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            (container,) = spec["containers"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]["memory"]
            assert container["resources"]["limits"]["memory"]


def test_two_replicas_and_never_fewer_than_were_there(helm: Helm) -> None:
    objects = helm.render()
    deployment = one(objects, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budget = one(objects, "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    selector = deployment["selector"]["matchLabels"]
    assert budget["selector"]["matchLabels"] == selector == one(objects, "Service")["spec"]["selector"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    spread = {rule["topologyKey"]: rule["whenUnsatisfiable"] for rule in pod(objects)["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname": "ScheduleAnyway", "topology.kubernetes.io/zone": "ScheduleAnyway"}


def test_what_is_wanted_beside_it(helm: Helm) -> None:
    """Rules of one's own replace the chart's; they select the webhook's pods unless they say otherwise."""
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    others = {"matchLabels": {"app": "other"}}
    variables = [
        {"name": "SSL_CERT_FILE", "value": "/ca"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "x"}}},
    ]
    values = {
        "topologySpreadConstraints": [rule, rule | {"labelSelector": others}],
        "extraEnv": variables,
        "serviceAccount": {"annotations": {"example.com/role": "reader"}},
    }
    objects = helm.render(values)
    selector = {"matchLabels": one(objects, "Deployment")["spec"]["selector"]["matchLabels"]}
    assert pod(objects)["topologySpreadConstraints"] == [
        rule | {"labelSelector": selector},
        rule | {"labelSelector": others},
    ]
    assert pod(objects)["containers"][0]["env"] == variables
    assert "env" not in pod(helm.render())["containers"][0]
    accounts = [item["metadata"] for item in objects if item["kind"] == "ServiceAccount"]
    annotated = [meta["name"] for meta in accounts if "example.com/role" in meta.get("annotations", {})]
    assert annotated == ["pullsecret-webhook"]


def test_pods_of_hooks_are_no_endpoints(helm: Helm) -> None:
    objects = helm.render(FAIL | DELETE)
    selector = one(objects, "Service")["spec"]["selector"]
    labels = [o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] == "Job"]
    assert len(labels) == 2
    for found in (*labels, one(objects, "Pod")["metadata"]["labels"]):
        assert not selector.items() <= found.items()


def test_the_drain_is_waited_for(helm: Helm) -> None:
    assert pod(helm.render())["terminationGracePeriodSeconds"] >= LINGER_SECONDS + CLOSING_SECONDS + 5


def test_probes_ask_what_the_server_answers(helm: Helm) -> None:
    (container,) = pod(helm.render())["containers"]
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")}
    assert asked["readiness"] == {"path": "/readyz", "port": "https", "scheme": "HTTPS"}
    assert asked["liveness"] == {"path": "/healthz", "port": "metrics"}, "answered while the API server is waited for"
    assert "startupProbe" not in container


def test_image(helm: Helm) -> None:
    def image(**values: str) -> str:
        (container,) = pod(helm.render({"image": values}))["containers"]
        return str(container["image"])

    assert image() == f"{REPOSITORY}:{VERSION}"
    assert image(repository="registry.local/psw", tag="x") == "registry.local/psw:x"
    assert image(digest=DIGEST) == f"{REPOSITORY}:{VERSION}@{DIGEST}"
    assert "image.repository is empty, and there is no public image" in refused(helm, {"image": {"repository": ""}})


def test_the_commands_of_getting_started(tmp_path: Path) -> None:
    """Each `helm install` there is for the image that the steps before it have brought to the cluster."""
    (tmp_path / "charts").symlink_to(CHART.parent)
    helm, root = Helm(4, tmp_path), CHART.parents[1]
    text = (root / "docs" / "getting-started.md").read_text().replace("\\\n", "").replace("sha256:...", DIGEST)
    (built,) = re.findall(r"^IMAGE \?= (\S+)", (root / "Makefile").read_text(), re.MULTILINE)
    commands = [line.split() for line in text.splitlines() if line.startswith("helm install ")]
    images = []
    for command in commands:
        (container,) = pod(documents(helm.run("template", *command[2:])))["containers"]
        images.append(container["image"])
    assert images == [*[built] * 3, f"registry.example.com/platform/pullsecret-webhook:{VERSION}@{DIGEST}"]
    assert f"`make image` builds `{built}`" in text


def test_pull_secrets_and_placement_are_for_all_pods(helm: Helm) -> None:
    values = {"imagePullSecrets": [{"name": "r"}], "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]}
    objects = helm.render(values | FAIL)
    for spec in (pod(objects), one(objects, "Pod")["spec"], one(objects, "Job")["spec"]["template"]["spec"]):
        assert {key: spec[key] for key in values} == values


def test_labels_and_annotations_of_users(helm: Helm) -> None:
    """On all objects, on all pods; never in a selector, and nothing else changes."""
    common, own, notes = {"cost-centre": "42"}, {"sidecar.istio.io/inject": "false"}, {"example.com/contact": "me"}
    values = {"commonLabels": common, "podLabels": own, "podAnnotations": notes}
    more: Object = FAIL | DELETE | {"serviceMonitor": {"enabled": True}, "tls": {"mode": "cert-manager"}}
    more["config"] = more["config"] | ISSUES["config"]
    objects = helm.render(more | values, "--api-versions", NET)
    kinds = {o["kind"] for o in objects}
    assert {"Namespace", "Certificate", "MutatingAdmissionPolicyBinding", "ServiceMonitor", "Job", "Pod"} <= kinds
    assert [o for o in objects if not common.items() <= o["metadata"]["labels"].items()] == []
    jobs = [o["spec"]["template"] for o in objects if o["kind"] in ("Deployment", "Job")]
    assert len(jobs) == 4  # the server, the issuer, and two hooks
    for pod in (*jobs, one(objects, "Pod")):
        assert (common | own).items() <= pod["metadata"]["labels"].items()
        assert notes.items() <= pod["metadata"]["annotations"].items()
        for part, added in (("labels", common | own), ("annotations", notes)):
            for key in added:
                del pod["metadata"][part][key]
    for o in objects:
        o["metadata"]["labels"].pop("cost-centre", None)
    assert without_nothing(objects) == without_nothing(helm.render(more, "--api-versions", NET))


def without_nothing(value: Any) -> Any:
    """Without mappings that are empty."""
    if isinstance(value, list):
        return [without_nothing(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {key: without_nothing(part) for key, part in value.items() if part != {}}


def test_extra_volumes_are_folders_beside_those_of_secrets(helm: Helm) -> None:
    token = {"sources": [{"serviceAccountToken": {"audience": "a", "path": "token"}}]}
    volumes = [{"name": "ca", "configMap": {"name": "x"}}, {"name": "identity", "projected": token}]
    spec = pod(helm.render({"extraVolumes": volumes, "sourceFiles": ["database"]}))
    (container,) = spec["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    for volume in volumes:
        name = f"extra-{volume['name']}"
        assert volume | {"name": name} in spec["volumes"]
        path = f"/etc/pullsecret/sources/{volume['name']}"
        assert mounts[name] == {"name": name, "mountPath": path, "readOnly": True}
    assert mounts["source-0"]["mountPath"] == "/etc/pullsecret/sources/database"


def test_host_network(helm: Helm) -> None:
    """With the node's ports taken by the old pod, a new one beside it would wait for ever."""
    objects = helm.render({"hostNetwork": True})
    assert (pod(objects)["hostNetwork"], pod(objects)["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert one(objects, "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert "hostNetwork" not in pod(helm.render())


def test_a_critical_class_comes_with_its_quota(helm: Helm) -> None:
    objects = helm.render({"replicas": 5})
    assert pod(objects)["priorityClassName"] == "system-cluster-critical"
    assert int(one(objects, "ResourceQuota")["spec"]["hard"]["pods"]) >= 2 * 5
    for name in ("", "mine"):
        objects = helm.render({"priorityClassName": name})
        assert pod(objects).get("priorityClassName", "") == name
        assert not [o for o in objects if o["kind"] == "ResourceQuota"]


def test_a_single_node_has_one_replica_and_no_disruption_budget(helm: Helm) -> None:
    objects = helm.render(None, "--values", CHART / "values-k3s.yaml")
    assert one(objects, "Deployment")["spec"]["replicas"] == 1
    assert not [o for o in objects if o["kind"] == "PodDisruptionBudget"]


# -- the webhook configuration --


def test_entries_that_are_never_renamed(rendered: dict[str, list[Object]]) -> None:
    fixed = {
        "timeoutSeconds": 3,
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "NoneOnDryRun",
        "matchPolicy": "Equivalent",
        "admissionReviewVersions": ["v1"],
    }
    for objects in rendered.values():
        pods, templates = entries(objects)
        assert (pods["name"], templates["name"]) == ("mutate.pullsecret-webhook.io", "templates.pullsecret-webhook.io")
        for found in (pods, templates):
            assert fixed.items() <= found.items()
            assert found["clientConfig"]["service"]["path"] == "/mutate"
        for same in ("namespaceSelector", "objectSelector", "clientConfig"):
            assert pods[same] == templates[same]


def test_nobody_else_changes_its_selector(helm: Helm) -> None:
    """The Admissions Enforcer of AKS would."""
    hook = one(helm.render(), "MutatingWebhookConfiguration")
    assert hook["metadata"]["annotations"] == {"admissions.enforcer/disabled": "true"}


def test_match_conditions_do_not_look_at_the_namespace(rendered: dict[str, list[Object]]) -> None:
    """The API server accepts `namespaceObject` there, and it is null at run time."""
    for objects in rendered.values():
        for found in entries(objects):
            assert not [c for c in found.get("matchConditions", []) if "namespaceObject" in c["expression"]]


def test_pods_meet_a_condition_only_if_a_pattern_excludes_some(rendered: dict[str, list[Object]]) -> None:
    """The API server makes an unstructured copy of each object to try conditions on."""
    for file, objects in rendered.items():
        pods, templates = entries(objects)
        patterns = ["not-excluded"] * (file == "everything-values.yaml")
        assert [c["name"] for c in pods.get("matchConditions", [])] == patterns
        assert [c["name"] for c in templates["matchConditions"]] == ["created-or-lost-our-reference", *patterns]
    assert "matchConditions" not in entry(rendered["default-values.yaml"])


DEBUGGED = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["UPDATE"],
    "resources": ["pods/ephemeralcontainers"],
    "scope": "Namespaced",
}


def test_debug_containers_are_reviewed_only_if_images_get_other_names(helm: Helm) -> None:
    at_nodes, by_name = {"of": "ghcr.io", "to": "m.test"}, {"of": "quay.io", "to": "m.test", "how": "rewrite"}
    plain, templates = entries(helm.render())
    assert DEBUGGED not in plain["rules"]
    assert entries(helm.render({"config": {"mirrors": [at_nodes | {"how": "node"}]}})) == (plain, templates)
    found = entries(helm.render({"config": {"mirrors": [at_nodes, by_name]}}))
    assert found == (plain | {"rules": [*plain["rules"], DEBUGGED]}, templates)


@pytest.mark.parametrize(
    ("rules", "key"),
    [
        (None, "pullsecret-webhook/owner"),
        ([LABEL], "example.com/owner"),
        ([LABEL | {"prefix": "t-", "owner": "[a-z]+"}], "example.com/owner"),
        ([LABEL, NAME], None),
        ([LABEL, LABEL | {"key": "b"}], None),
        ([LABEL | {"from": "annotation"}], None),
        ([NAME], None),
    ],
)
def test_a_selector_only_where_one_label_decides(helm: Helm, rules: list[Object] | None, key: str | None) -> None:
    values = {} if rules is None else {"config": {"ownerRules": rules}}
    *labels, opted_out, excluded = entry(helm.render(values, namespace="psw"))["namespaceSelector"]["matchExpressions"]
    assert labels == ([{"key": key, "operator": "Exists"}] if key else [])
    assert opted_out == {"key": "pullsecret-webhook/inject", "operator": "NotIn", "values": ["disabled"]}
    assert (excluded["key"], excluded["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
    assert set(excluded["values"]) == {"kube-system", "kube-public", "kube-node-lease", "psw"}


def test_excluded_namespaces(helm: Helm) -> None:
    """By name in the selector, by pattern in a condition; for the safety net as for the webhook."""
    patterns = ["kube-*", "*-system", "a*b*c"]
    values = {"config": {"excludedNamespaces": ["monitoring", *patterns]}}
    objects = helm.render(values, "--api-versions", NET, namespace="psw")
    (found, templates), excluded = entries(objects), configuration(objects).excluded
    own = ["kube-system", "kube-public", "kube-node-lease", "psw"]
    assert found["namespaceSelector"]["matchExpressions"][-1]["values"] == [*own, "monitoring"]
    (condition,) = found["matchConditions"]
    assert templates["matchConditions"][-1] == condition
    (expression,) = re.findall(r"^!request\.namespace\.matches\('(.*)'\)$", condition["expression"])
    names = {"kube-x", "kube", "x-kube-x", "-system", "a-system", "a-system-b", "abc", "a-b-c", "abcd", "xabc", "team"}
    assert {name for name in names if re.search(expression, name)} == {*filter(excluded, names)}
    net = [o for o in objects if o["kind"] == "MutatingAdmissionPolicy"]
    assert net
    assert all(condition in policy["spec"]["matchConditions"] for policy in net)


@pytest.mark.parametrize("namespace", ["default", "kube-system", "kube-public", "kube-node-lease"])
def test_a_namespace_of_its_own(helm: Helm, namespace: str) -> None:
    with pytest.raises(HarnessError, match=f"namespace {namespace} is not for this: .* --namespace pullsecret-webhook"):
        helm.render(namespace=namespace)


def test_fail_needs_exclusions(helm: Helm) -> None:
    assert entry(helm.render())["failurePolicy"] == "Ignore"
    assert "set config.excludedNamespaces to the namespaces" in refused(helm, {"failurePolicy": "Fail"})
    pods, templates = entries(helm.render(FAIL))
    assert pods["failurePolicy"] == "Fail"
    assert templates["failurePolicy"] == "Ignore"  # its pods wait, and get the reference


# -- certificates --


def test_the_pods_publish_their_own_ca(helm: Helm) -> None:
    objects = helm.render()
    assert entry(objects)["clientConfig"].keys() == {"service"}
    assert configuration(objects).tls.cert_file is None
    assert not [o for o in objects if o["kind"] in ("Certificate", "Issuer")]


def test_cert_manager(helm: Helm) -> None:
    objects = helm.render({"tls": {"mode": "cert-manager"}}, namespace="psw")
    hook = one(objects, "MutatingWebhookConfiguration")
    assert hook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == "psw/pullsecret-webhook"
    assert "caBundle" not in entry(objects)["clientConfig"]
    certificate = one(objects, "Certificate", "pullsecret-webhook")["spec"]
    assert set(certificate["dnsNames"]) == set(configuration(objects).tls.names("psw"))
    assert served(objects) == certificate["secretName"]
    issuer = one(objects, "Issuer", certificate["issuerRef"]["name"])
    assert (
        issuer["spec"]["ca"]["secretName"] == one(objects, "Certificate", "pullsecret-webhook-ca")["spec"]["secretName"]
    )
    own = helm.render({"tls": {"mode": "cert-manager", "certManager": {"issuerRef": {"name": "x"}}}})
    assert one(own, "Certificate")["spec"]["issuerRef"] == {"name": "x", "kind": "Issuer", "group": "cert-manager.io"}


def test_files(helm: Helm) -> None:
    objects = helm.render({"tls": {"mode": "files", "files": {"secretName": "mine", "caBundle": "Q0E="}}})
    assert entry(objects)["clientConfig"]["caBundle"] == "Q0E="
    assert served(objects) == "mine"
    assert "set tls.files.secretName" in refused(helm, {"tls": {"mode": "files", "files": {"caBundle": "Q0E="}}})
    assert "set tls.files.caBundle" in refused(helm, {"tls": {"mode": "files", "files": {"secretName": "mine"}}})


def served(objects: list[Object]) -> str:
    """The Secret whose files the webhook serves."""
    tls = configuration(objects).tls
    assert (tls.cert_file, tls.key_file) == ("/etc/pullsecret/tls/tls.crt", "/etc/pullsecret/tls/tls.key")
    (container,) = pod(objects)["containers"]
    assert {"name": "tls", "mountPath": "/etc/pullsecret/tls", "readOnly": True} in container["volumeMounts"]
    (volume,) = [volume for volume in pod(objects)["volumes"] if volume["name"] == "tls"]
    return str(volume["secret"]["secretName"])


@pytest.mark.parametrize("mode", ["cert-manager", "files"])
def test_only_the_self_managed_mode_may_touch_ca_and_registration(helm: Helm, mode: str) -> None:
    files = {"secretName": "mine", "caBundle": "Q0E="}
    objects = helm.render({"tls": {"mode": mode, "files": files}, "config": {"check": False}})
    rules = one(objects, "ClusterRole", "pullsecret-webhook")["rules"]
    verbs = {resource: rule["verbs"] for rule in rules for resource in rule["resources"]}
    assert verbs.keys() == {"secrets", "namespaces", "serviceaccounts", "events", "mutatingwebhookconfigurations"}
    assert verbs["mutatingwebhookconfigurations"] == ["get", "list", "watch"]
    rule, leases = one(objects, "Role", "pullsecret-webhook")["rules"]
    assert rule["verbs"] == ["get", "list", "watch"]
    assert leases["resources"] == ["leases"]


def test_only_who_asks_registries_may_keep_what_they_said(helm: Helm) -> None:
    checks = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["pullsecret-webhook-checks"]}
    may = checks | {"verbs": ["patch", "create"]}
    assert may in one(helm.render({}), "Role", "pullsecret-webhook")["rules"]
    silent = helm.render({"config": {"check": False}})
    assert "pullsecret-webhook-checks" not in str([o for o in silent if o["kind"] != "Job"])


@pytest.mark.parametrize(("replicas", "slots"), [(1, 0), (2, 2), (3, 3), (40, MAX_SLOTS)])
def test_each_replica_has_a_lease(helm: Helm, replicas: int, slots: int) -> None:
    objects = helm.render({"replicas": replicas})
    assert configuration(objects).replicas == replicas
    assert slots_of(replicas) == slots
    written = one(objects, "ConfigMap", "pullsecret-webhook")["data"]["config.yaml"]
    assert ("replicas" in yaml.safe_load(written)) == (replicas > 1), "an image from before does not know it"
    rules = [rule for rule in one(objects, "Role", "pullsecret-webhook")["rules"] if "leases" in rule["resources"]]
    assert [name for rule in rules for name in rule["resourceNames"]] == [
        f"{names.REPLICA_LEASES}{number}" for number in range(slots)
    ]
    assert all(rule["verbs"] == ["get", "create", "patch"] for rule in rules)


# -- roles and policies --


def test_the_tests_run_under_what_the_chart_has(helm: Helm) -> None:
    assert INSTALLED.read_text() == installed(helm), "run `make chart`"
    assert REWRITING.read_text() == rewriting(helm), "run `make chart`"


def test_no_role_is_wide(rendered: dict[str, list[Object]]) -> None:
    for objects in rendered.values():
        for role in objects:
            if role["kind"] not in ("Role", "ClusterRole"):
                continue
            for rule in role["rules"]:
                words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
                assert not words & {"*", "deletecollection", "escalate", "bind", "impersonate"}
                if "secrets" in rule["resources"] and role["kind"] == "ClusterRole":
                    # That one is for RoleBindings of people.
                    assert "resourceNames" in rule or role["metadata"]["name"] == "pullsecret-webhook-doctor-namespace"


def test_policies_can_be_turned_off_only_one_by_one_and_by_name(helm: Helm) -> None:
    names = {o["metadata"]["name"] for o in helm.render() if o["kind"].startswith("ValidatingAdmissionPolicy")}
    owner, account = {"pullsecret-webhook-owner"}, {"pullsecret-webhook-writes", "pullsecret-webhook-configuration"}
    assert names == owner | account
    for part, left in (("ownerPolicy", account), ("writePolicy", owner)):
        objects = helm.render({part: {"enabled": False}})
        assert {o["metadata"]["name"] for o in objects if o["kind"].startswith("ValidatingAdmission")} == left


def test_where_nothing_is_published_the_account_may_patch_nothing(helm: Helm) -> None:
    files = {"mode": "files", "files": {"secretName": "tls", "caBundle": "Q0E="}}
    for tls in ({"mode": "cert-manager"}, files):
        objects = helm.render({"tls": tls}, "--no-hooks")
        assert not [o for o in objects if o["metadata"]["name"] == "pullsecret-webhook-configuration"]
        rules = [rule for o in objects if o["kind"] in ("Role", "ClusterRole") for rule in o["rules"]]
        (rule,) = [rule for rule in rules if "mutatingwebhookconfigurations" in rule["resources"]]
        assert (rule["verbs"], rule["resourceNames"]) == (["get", "list", "watch"], ["pullsecret-webhook"])


def test_every_key_of_a_rule_is_protected_but_where_another_does_it(helm: Helm) -> None:
    def protected(values: Object) -> set[tuple[str, str]]:
        spec = one(helm.render(values), "ValidatingAdmissionPolicy", "pullsecret-webhook-owner")["spec"]
        text = " ".join(v["expression"] for v in spec["variables"] if v["name"].startswith("textBefore"))
        return {(match[1], match[2]) for match in re.finditer(r'(\w+)\[\?"(.*?)"\]', text)}

    own = {("labels", "pullsecret-webhook/owner"), ("annotations", "pullsecret-webhook/owner")}
    rules = [LABEL, {"from": "annotation", "key": "example.com/tenant"}]
    every = own | {("labels", "example.com/owner"), ("annotations", "example.com/tenant")}
    assert protected({"config": {"ownerRules": rules}}) == every
    values = {"config": {"ownerRules": rules}, "ownerPolicy": {"protectedElsewhere": ["example.com/tenant"]}}
    assert protected(values) == every - {("annotations", "example.com/tenant")}
    own_key = {"ownerPolicy": {"protectedElsewhere": ["pullsecret-webhook/owner"]}}
    assert "which nobody else knows" in refused(helm, own_key)
    assert "names x/y, but no rule" in refused(helm, {"ownerPolicy": {"protectedElsewhere": ["x/y"]}})


# -- the rest --


def test_network_policy(helm: Helm) -> None:
    assert not [o for o in helm.render() if o["kind"] == "NetworkPolicy"]
    spec = one(helm.render({"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    assert spec["ingress"] == [{"ports": [{"port": 8443, "protocol": "TCP"}]}]
    who: list[Object] = [{"namespaceSelector": {}}]
    values = {"networkPolicy": {"enabled": True, "apiServerCIDRs": ["10.0.0.0/28"], "metricsFrom": who}}
    tls, metrics = one(helm.render(values), "NetworkPolicy")["spec"]["ingress"]
    assert tls["from"] == [{"ipBlock": {"cidr": "10.0.0.0/28"}}]
    assert (metrics["ports"][0]["port"], metrics["from"]) == (8080, who)


def test_monitoring_finds_the_service(helm: Helm) -> None:
    values = {
        name: {"enabled": True, "labels": {"release": "p"}}
        for name in ("serviceMonitor", "prometheusRule", "dashboard")
    }
    objects = helm.render(values)
    service, monitor = one(objects, "Service"), one(objects, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {e["port"] for e in monitor["spec"]["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    dashboard = one(objects, "ConfigMap", "pullsecret-webhook-dashboard")
    for obj in (monitor, one(objects, "PrometheusRule"), dashboard):
        assert obj["metadata"]["labels"]["release"] == "p"


def hooks(objects: list[Object], hook: str) -> list[Object]:
    found = [o for o in objects if o["metadata"].get("annotations", {}).get("helm.sh/hook") == hook]
    return sorted(found, key=lambda o: int(o["metadata"]["annotations"]["helm.sh/hook-weight"]))


def test_uninstalling_needs_no_pod(helm: Helm) -> None:
    """A first try whose image cannot be pulled can be taken away again."""
    assert not [o for o in helm.render() if o["kind"] == "Job"]


def test_uninstall_removes_the_registration_first_where_the_webhook_must_answer(helm: Helm) -> None:
    objects = helm.render(FAIL)
    *before, job = hooks(objects, "pre-delete")
    assert {o["kind"] for o in before} == {"ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding"}
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["uninstall", "registration"]
    assert job["spec"]["activeDeadlineSeconds"] == 60
    assert not hooks(objects, "post-delete")


def test_pull_secrets_are_removed_when_nobody_writes_them_any_more(helm: Helm) -> None:
    objects = helm.render(DELETE)
    *_, job = hooks(objects, "post-delete")
    assert not hooks(objects, "pre-delete")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["uninstall", "secrets"]


def test_helm_test_owns_a_namespace_where_the_rules_let_it(helm: Helm) -> None:
    def tried(values: Object) -> tuple[str, Object | None]:
        objects = helm.render(values)
        (container,) = one(objects, "Pod")["spec"]["containers"]
        assert container["args"][:3] == ["doctor", "cluster", "--try-in"]
        made = [o for o in objects if o["kind"] == "Namespace"]
        return container["args"][3], made[0]["metadata"] if made else None

    name, made = tried({})
    assert made
    assert (made["name"], made["labels"]["pullsecret-webhook/owner"]) == (name, "helm-test")
    name, made = tried({"config": {"ownerRules": [NAME, {"from": "annotation", "key": "t"}]}})
    assert made
    assert made["annotations"]["t"] == "helm-test"
    assert tried({"config": {"ownerRules": [NAME]}}) == ("", None)
    assert tried({"test": {"namespace": "team-a"}}) == ("team-a", None)


# -- the issuer --

ISSUES: Object = {
    "config": {"issuers": [{"issue": "registry", "registry": "r.test", "keyFile": "/etc/pullsecret/issuers/k/key"}]}
}
ISSUER = names.ISSUER_ACCOUNT


def test_nothing_of_the_issuer_is_there_without_issuers(helm: Helm) -> None:
    every: Object = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"enabled": True}}
    without, without_any = helm.render(every), helm.render(every | {"config": {"issuers": []}})
    assert "issue" not in str([o for o in without if o["kind"] != "ConfigMap"])
    assert [o for o in without_any if o["metadata"]["name"] == ISSUER] == []
    more = [o for o in helm.render(every | ISSUES) if o["metadata"]["name"] == ISSUER]
    assert sorted(o["kind"] for o in more) == [
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Role",
        "RoleBinding",
        "ServiceAccount",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]


def test_the_issuer_gets_an_account_of_its_own_and_the_webhook_no_more_than_before(helm: Helm) -> None:
    with_it, without = helm.render(ISSUES, "--no-hooks"), helm.render({}, "--no-hooks")
    for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"):
        assert one(with_it, kind, "pullsecret-webhook") == one(without, kind, "pullsecret-webhook")
    for kind, role in (("RoleBinding", "Role"), ("ClusterRoleBinding", "ClusterRole")):
        binding = one(with_it, kind, ISSUER)
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (role, ISSUER)
        assert [subject["name"] for subject in binding["subjects"]] == [ISSUER]
    spec = one(with_it, "Deployment", ISSUER)["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == ISSUER
    wide = one(with_it, "ClusterRole", ISSUER)["rules"]
    assert not [rule for rule in wide if "secrets" in rule["resources"]]
    (leases,) = [rule for rule in one(with_it, "Role", ISSUER)["rules"] if "leases" in rule["resources"]]
    assert leases["resourceNames"] == [names.ISSUER_LEASE]


def test_the_issuers_account_alone_has_what_a_cloud_wants_of_it(helm: Helm) -> None:
    account = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}
    objects = helm.render(ISSUES | {"issuer": {"serviceAccount": {"annotations": account}}})
    plain = helm.render(ISSUES)
    assert one(objects, "ServiceAccount", ISSUER)["metadata"]["annotations"] == account
    assert "annotations" not in one(plain, "ServiceAccount", ISSUER)["metadata"]
    for kind, name in (
        ("ServiceAccount", "pullsecret-webhook"),
        ("Deployment", "pullsecret-webhook"),
        ("Deployment", ISSUER),
    ):
        assert one(objects, kind, name) == one(plain, kind, name)


def test_no_value_switches_the_issuers_policy_off(helm: Helm) -> None:
    off = {"writePolicy": {"enabled": False}, "ownerPolicy": {"enabled": False}}
    policy = one(helm.render(ISSUES | off), "ValidatingAdmissionPolicy", ISSUER)["spec"]
    assert policy["failurePolicy"] == "Fail"
    assert policy == one(helm.render(ISSUES), "ValidatingAdmissionPolicy", ISSUER)["spec"]
    binding = one(helm.render(ISSUES | off), "ValidatingAdmissionPolicyBinding", ISSUER)["spec"]
    assert binding == {"policyName": ISSUER, "validationActions": ["Deny"]}
    objects = helm.render(ISSUES, namespace="psw")
    (condition,) = one(objects, "ValidatingAdmissionPolicy", ISSUER)["spec"]["matchConditions"]
    assert condition["expression"].endswith(f"'system:serviceaccount:psw:{ISSUER}'")


def test_pods_that_issue_are_taken_for_the_webhooks_by_nobody(helm: Helm) -> None:
    """Neither by the Service nor by another selector of the chart, nor by REPLICAS; nor the other way round."""
    values: Object = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"enabled": True}}
    objects = helm.render(ISSUES | values)
    replicas = dict(part.split("=") for part in names.REPLICAS.split(","))
    theirs = one(objects, "Deployment", "pullsecret-webhook")["spec"]["template"]["metadata"]["labels"]
    own = one(objects, "Deployment", ISSUER)["spec"]["template"]["metadata"]["labels"]
    assert replicas.items() <= theirs.items()
    selectors = {(o["kind"], o["metadata"]["name"]): selector(o) for o in objects if selector(o)}
    assert len(selectors) == 9  # two Deployments, budgets, NetworkPolicies and monitors, one Service
    for (kind, name), found in [*selectors.items(), (("", "pullsecret-webhook"), replicas)]:
        mine = name == ISSUER
        # What a ServiceMonitor selects is the Service, which has the labels of the webhook's pods.
        assert (found.items() <= own.items(), found.items() <= theirs.items()) == (mine, not mine), (kind, name)


def selector(obj: Object) -> dict[str, str]:
    spec = obj.get("spec", {})
    found = spec.get("podSelector") or spec.get("selector") or {}
    return dict(found.get("matchLabels", found))


def test_the_issuers_pods_have_its_files_and_what_both_need(helm: Helm) -> None:
    """Keys are in its pods alone; databases' passwords in the webhook's alone; CA certificates in both."""
    ca, vault = {"name": "ca", "configMap": {"name": "x"}}, {"name": "vault", "csi": {"driver": "v"}}
    values: Object = {
        "extraVolumes": [ca, {"name": "pin", "secret": {"secretName": "pin"}}],
        "sourceFiles": ["database"],
        "issuer": {"files": ["key"], "extraVolumes": [vault]},
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/pullsecret/sources/ca/ca.crt"}],
        "podAnnotations": {"example.com/contact": "me"},
        "imagePullSecrets": [{"name": "r"}],
        "nodeSelector": {"a": "b"},
        "priorityClassName": "mine",
    }
    objects = helm.render(ISSUES | values)
    template = one(objects, "Deployment", ISSUER)["spec"]["template"]
    spec = template["spec"]
    (container,) = spec["containers"]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert mounted.keys() == {
        "/etc/pullsecret/config.yaml",
        "/etc/pullsecret/issuers/key",
        "/etc/pullsecret/issuers/vault",
        "/etc/pullsecret/sources/ca",
    }
    assert volumes.keys() == {*mounted.values()}
    assert volumes[mounted["/etc/pullsecret/issuers/key"]]["secret"] == {"secretName": "key", "defaultMode": 0o440}
    assert volumes[mounted["/etc/pullsecret/issuers/vault"]]["csi"] == {"driver": "v"}
    assert volumes[mounted["/etc/pullsecret/sources/ca"]]["configMap"] == {"name": "x"}
    webhook = one(objects, "Deployment", "pullsecret-webhook")["spec"]["template"]
    assert "/issuers/" not in str(webhook["spec"]["volumes"] + webhook["spec"]["containers"][0]["volumeMounts"])
    assert container["env"] == values["extraEnv"]
    for key in ("imagePullSecrets", "nodeSelector", "priorityClassName"):
        assert spec[key] == values[key]
    assert template["metadata"]["annotations"]["example.com/contact"] == "me"
    rolled = one(helm.render(ISSUES | values | {"config": ISSUES["config"] | {"check": False}}), "Deployment", ISSUER)
    assert rolled["spec"]["template"] != template


def test_the_command_of_the_issuers_pods_is_one_that_there_is(helm: Helm) -> None:
    objects = helm.render(ISSUES | {"ports": {"metrics": 9090}})
    (container,) = one(objects, "Deployment", ISSUER)["spec"]["template"]["spec"]["containers"]
    name, *arguments = container["args"]
    command = pullsecret.get_command(click.Context(pullsecret), name)
    assert command
    root = click.Context(pullsecret, **pullsecret.context_settings)
    parsed = command.make_context(name, [*arguments], parent=root)  # raises if they are not right
    assert parsed.params["config_file"] == Path("/etc/pullsecret/config.yaml")
    assert container["ports"] == [{"name": "metrics", "containerPort": 9090, "protocol": "TCP"}]
    for kind, path in (("liveness", "/healthz"), ("readiness", "/readyz")):
        assert container[f"{kind}Probe"]["httpGet"] == {"path": path, "port": "metrics"}


def test_one_of_the_issuers_pods_is_enough_for_a_node(helm: Helm) -> None:
    objects = helm.render(ISSUES, "--values", CHART / "values-k3s.yaml")
    assert one(objects, "Deployment", ISSUER)["spec"]["replicas"] == 1
    assert not [o for o in objects if o["kind"] == "PodDisruptionBudget"]
    objects = helm.render(ISSUES | {"issuer": {"replicas": 3}})
    assert one(objects, "PodDisruptionBudget", ISSUER)["spec"]["maxUnavailable"] == 1
    assert int(one(objects, "ResourceQuota")["spec"]["hard"]["pods"]) >= 2 * (2 + 3)


def test_only_who_may_reads_the_issuers_metrics(helm: Helm) -> None:
    who: list[Object] = [{"namespaceSelector": {}}]
    closed = helm.render(ISSUES | {"networkPolicy": {"enabled": True}})
    assert one(closed, "NetworkPolicy", ISSUER)["spec"]["ingress"] == []
    opened = helm.render(ISSUES | {"networkPolicy": {"enabled": True, "metricsFrom": who}})
    (rule,) = one(opened, "NetworkPolicy", ISSUER)["spec"]["ingress"]
    assert rule == {"ports": [{"port": 8080, "protocol": "TCP"}], "from": who}


# -- the token service --

TOKENS: Object = {
    "config": {
        "issuers": [
            {
                "issue": "registry",
                "registry": "r.test",
                "keyFile": "/etc/pullsecret/issuers/k/key",
                "tokenService": {"keyFile": "/etc/pullsecret/registry-auth/t/key", "passwordKeysFile": "/p"},
            }
        ]
    },
    "issuer": {"files": ["k"]},
    "registryAuth": {"enabled": True, "tlsSecretName": "certificate", "files": ["t"]},
}
REGISTRY_AUTH = "pullsecret-webhook-registry-auth"
CLOSED: Object = {"networkPolicy": {"enabled": True}}


def changed(**values: Any) -> Object:
    """TOKENS with these in registryAuth."""
    return TOKENS | {"registryAuth": TOKENS["registryAuth"] | values}


def test_nothing_of_the_token_service_is_there_unless_it_is_asked_for(helm: Helm) -> None:
    for values in ({}, ISSUES, changed(enabled=False)):
        assert [o for o in helm.render(CLOSED | values) if o["metadata"]["name"] == REGISTRY_AUTH] == []
    kinds = [o["kind"] for o in helm.render(CLOSED | TOKENS) if o["metadata"]["name"] == REGISTRY_AUTH]
    assert sorted(kinds) == ["Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"]


def test_the_token_service_has_no_rights_and_its_pods_no_token(helm: Helm) -> None:
    objects = helm.render(TOKENS)
    spec = one(objects, "Deployment", REGISTRY_AUTH)["spec"]["template"]["spec"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == (REGISTRY_AUTH, False)
    assert one(objects, "ServiceAccount", REGISTRY_AUTH)["automountServiceAccountToken"] is False
    bound = [subject["name"] for o in objects if o["kind"].endswith("Binding") for subject in o.get("subjects", ())]
    assert ISSUER in bound
    assert REGISTRY_AUTH not in bound
    assert not [volume for volume in spec["volumes"] if "projected" in volume]


def test_each_of_the_three_has_its_own_files(helm: Helm) -> None:
    objects = helm.render(TOKENS | {"sourceFiles": ["database"], "extraEnv": [{"name": "A", "value": "b"}]})

    def secrets(name: str) -> set[str]:
        spec = one(objects, "Deployment", name)["spec"]["template"]["spec"]
        return {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}

    assert [secrets(name) for name in ("pullsecret-webhook", ISSUER, REGISTRY_AUTH)] == [
        {"database"},
        {"k"},
        {"certificate", "t"},
    ]
    spec = one(objects, "Deployment", REGISTRY_AUTH)["spec"]["template"]["spec"]
    assert {volume["secret"]["defaultMode"] for volume in spec["volumes"] if "secret" in volume} == {0o440}
    (container,) = spec["containers"]
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/etc/pullsecret/config.yaml", "/etc/pullsecret/tls", "/etc/pullsecret/registry-auth/t"}
    assert "env" not in container  # it calls nobody


@pytest.mark.parametrize("plain", [False, True])
def test_the_command_and_the_port_of_the_token_service(helm: Helm, plain: bool) -> None:
    values = changed(plain=True, tlsSecretName="") if plain else TOKENS
    server = {"server": {"address": "::"}}
    values = values | {"ports": {"https": 9443}, "config": TOKENS["config"] | server}
    objects = helm.render(CLOSED | values)
    spec = one(objects, "Deployment", REGISTRY_AUTH)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"][:2] == ["registry-auth", "serve"]
    root = click.Context(pullsecret, **pullsecret.context_settings)
    parsed = registry_auth_serve.make_context("serve", container["args"][2:], parent=root).params
    assert (parsed["address"], parsed["port"], parsed["plain"]) == ("::", 9443, plain)
    assert (parsed["tls_cert"] is None) == ("tls" not in {volume["name"] for volume in spec["volumes"]}) == plain
    scheme = "http" if plain else "https"
    assert container["ports"] == [{"name": scheme, "containerPort": 9443, "protocol": "TCP"}]
    for kind, path in (("liveness", "/healthz"), ("readiness", "/readyz")):
        assert container[f"{kind}Probe"]["httpGet"] == {"path": path, "port": scheme, "scheme": scheme.upper()}
    (port,) = one(objects, "Service", REGISTRY_AUTH)["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80 if plain else 443, scheme)
    policy = one(objects, "NetworkPolicy", REGISTRY_AUTH)["spec"]
    assert policy["ingress"] == [{"ports": [{"port": 9443, "protocol": "TCP"}]}]
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], [])
    assert spec["terminationGracePeriodSeconds"] >= LINGER_SECONDS + CLOSING_SECONDS + 5


def test_pods_of_the_token_service_are_taken_for_others_by_nobody(helm: Helm) -> None:
    objects = helm.render(CLOSED | TOKENS | {"serviceMonitor": {"enabled": True}})
    labels = {
        name: one(objects, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
        for name in ("pullsecret-webhook", ISSUER, REGISTRY_AUTH)
    }
    selectors = {(o["kind"], o["metadata"]["name"]): selector(o) for o in objects if selector(o)}
    assert {kind for kind, name in selectors if name == REGISTRY_AUTH} == {
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }
    for (kind, name), found in selectors.items():
        selected = [one for one, has in labels.items() if found.items() <= has.items()]
        assert (REGISTRY_AUTH in selected) == (name == REGISTRY_AUTH), (kind, name)
        assert selected == [name] or name != REGISTRY_AUTH


def test_a_change_of_the_configuration_rolls_the_token_service(helm: Helm) -> None:
    def template(values: Object) -> Any:
        return one(helm.render(values), "Deployment", REGISTRY_AUTH)["spec"]["template"]

    assert template(TOKENS | {"config": TOKENS["config"] | {"check": False}}) != template(TOKENS)
    assert template(TOKENS | {"serviceMonitor": {"enabled": True}}) == template(TOKENS)


def test_one_pod_of_the_token_service_is_enough_for_a_node(helm: Helm) -> None:
    objects = helm.render(TOKENS, "--values", CHART / "values-k3s.yaml")
    assert one(objects, "Deployment", REGISTRY_AUTH)["spec"]["replicas"] == 1
    assert not [o for o in objects if o["kind"] == "PodDisruptionBudget"]
    objects = helm.render(changed(replicas=4))
    assert one(objects, "PodDisruptionBudget", REGISTRY_AUTH)["spec"]["maxUnavailable"] == 1
    assert int(one(objects, "ResourceQuota")["spec"]["hard"]["pods"]) >= 2 * (2 + 2 + 4)


# -- the doctor --


def test_roles_for_people_are_made_on_request_and_bound_to_nobody(helm: Helm) -> None:
    assert not [o for o in helm.render() if "doctor" in o["metadata"]["name"]]
    objects = helm.render({"doctorRoles": {"enabled": True}})
    bindings = [o for o in objects if o["kind"] in ("ClusterRoleBinding", "RoleBinding")]
    assert bindings
    assert not [o for o in bindings if "doctor" in o["roleRef"]["name"]]
    reads = one(objects, "ClusterRole", "pullsecret-webhook-doctor")
    assert not [rule for rule in reads["rules"] if "secrets" in rule["resources"]]
    assert {verb for rule in reads["rules"] for verb in rule["verbs"]} == {"get", "list", "create"}
    assert [rule["resources"] for rule in reads["rules"] if "create" in rule["verbs"]] == [["subjectaccessreviews"]]
    # A Service of the webhook's name is a tenant's in another namespace, and the API server goes where that leads.
    wide = [o for o in objects if o["kind"] == "ClusterRole"]
    assert not [rule for o in wide for rule in o["rules"] if any(one.endswith("/proxy") for one in rule["resources"])]
    labels = [key for o in objects if "doctor" in o["metadata"]["name"] for key in o["metadata"]["labels"]]
    assert labels
    assert not [key for key in labels if key.startswith("rbac.authorization.k8s.io/aggregate-to-")]


def test_what_the_doctor_asks_about_before_an_installation_is_what_the_chart_makes(helm: Helm) -> None:
    """With its default values; a namespace, and what `helm test` makes, are asked about elsewhere or not at all."""
    found = {resource(o["kind"]) for o in helm.render({}, "--api-versions", NET, "--no-hooks")}
    groups = [*rights.CLUSTER_WIDE.items(), *rights.IN_NAMESPACE.items()]
    groups += [("admissionregistration.k8s.io", rights.NET)]
    asked = {(group, kind) for group, kinds in groups for kind in kinds}
    helms = {("", "secrets")}  # Helm keeps the release in one
    made = {("" if "/" not in one.version else one.version.partition("/")[0], one.plural) for one in found}
    assert made | helms == asked
