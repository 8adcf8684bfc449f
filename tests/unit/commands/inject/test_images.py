"""Pods before and after `pullsecret inject`, with mirrors whose names images get: byte for byte, as the webhook."""

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from support import goldencase, planted
from webhook.commands.inject.assumed import names_at_mirrors
from webhook.commands.inject.references import Injected, Manifest, ManifestError, Namespaces, inject, namespaces
from webhook.config import reading

SECRET = "ghcr-secret"  # a name
MIRRORS = {"mirrors": [{"of": "ghcr.io", "to": "mirror.example.com:5000/ghcr", "how": "rewrite"}]}
OLD, NEW = "ghcr.io/alice/app:1", "mirror.example.com:5000/ghcr/alice/app:1"
NOTED = """'{"app":"ghcr.io/alice/app:1"}'"""
NOTED_JSON = json.dumps('{"app":"ghcr.io/alice/app:1"}')

HEAD = "apiVersion: v1\nkind: Pod\n"
WITH_REFERENCE = "  imagePullSecrets: [{name: ghcr-secret}]\n"


def injected(text: str, config: Any = None, namespace: str = "", known: Namespaces | None = None) -> Injected:
    parsed, found = reading.convert(config or MIRRORS), known or Namespaces()
    return inject(
        Manifest(text),
        secret=SECRET,
        namespace=namespace,
        excluded=parsed.excluded,
        opted_out=found.opted_out,
        rewritten=names_at_mirrors(parsed, "alice", found.regions),
    )


IN_METADATA = {
    "annotations absent": (
        "metadata:\n  # mine\n  name: app\n",
        f"metadata:\n  annotations:\n    pullsecret-webhook/images: {NOTED}\n  # mine\n  name: app\n",
    ),
    "annotations absent, deeper mappings": (
        "metadata:\n    name: app\n    labels:\n       a: b\n",
        (
            f"metadata:\n    annotations:\n       pullsecret-webhook/images: {NOTED}\n"
            "    name: app\n    labels:\n       a: b\n"
        ),
    ),
    "annotations absent, deeper metadata": (
        "metadata:\n    name: app\n",
        f"metadata:\n    annotations:\n        pullsecret-webhook/images: {NOTED}\n    name: app\n",
    ),
    "annotations in flow style": (
        "metadata: {name: app, annotations: {a: b}}  # c\n",
        f"metadata: {{name: app, annotations: {{pullsecret-webhook/images: {NOTED}, a: b}}}}  # c\n",
    ),
    "annotations absent in flow style": (
        "metadata: {name: app}\n",
        f"metadata: {{annotations: {{pullsecret-webhook/images: {NOTED}}}, name: app}}\n",
    ),
    "annotations in block style": (
        "metadata:\n  name: app\n  annotations:  # c\n\n    # of a\n    a: |\n      b\n",
        (
            f"metadata:\n  name: app\n  annotations:  # c\n    pullsecret-webhook/images: {NOTED}\n\n    # of a\n"
            "    a: |\n      b\n"
        ),
    ),
    "annotations empty": (
        "metadata:\n  annotations: {}\n  name: app\n",
        f"metadata:\n  annotations: {{pullsecret-webhook/images: {NOTED}}}\n  name: app\n",
    ),
    "annotations left out": (
        "metadata:\n  annotations:  # none\n  name: app\n",
        f"metadata:\n  annotations: {{pullsecret-webhook/images: {NOTED}}}  # none\n  name: app\n",
    ),
    "annotations null": (
        "metadata: {annotations: ~, name: app}\n",
        f"metadata: {{annotations: {{pullsecret-webhook/images: {NOTED}}}, name: app}}\n",
    ),
    "quoted keys": (
        'metadata:\n  "annotations":\n    "a": "b"\n',
        f'metadata:\n  "annotations":\n    "pullsecret-webhook/images": {NOTED_JSON}\n    "a": "b"\n',
    ),
    "no metadata": (
        "",
        f"metadata:\n  annotations:\n    pullsecret-webhook/images: {NOTED}\n",
    ),
    "metadata left out": (
        "metadata:\n",
        f"metadata: {{annotations: {{pullsecret-webhook/images: {NOTED}}}}}\n",
    ),
    "metadata with a merge key": (
        "metadata:\n  <<: {name: app}\n",
        f"metadata:\n  annotations:\n    pullsecret-webhook/images: {NOTED}\n  <<: {{name: app}}\n",
    ),
    "annotations inherited from a mapping written in place": (
        "metadata:\n  <<: {annotations: {a: b}}\n",
        f"metadata:\n  <<: {{annotations: {{pullsecret-webhook/images: {NOTED}, a: b}}}}\n",
    ),
    "an earlier note in single quotes": (
        """metadata: {annotations: {pullsecret-webhook/images: &x '{"gone":"y"}'}}  # c\n""",
        f"metadata: {{annotations: {{pullsecret-webhook/images: &x {NOTED}}}}}  # c\n",
    ),
    "an earlier note in double quotes": (
        'metadata:\n  annotations:\n    pullsecret-webhook/images: "{}"\n    a: b\n',
        f"metadata:\n  annotations:\n    pullsecret-webhook/images: {NOTED_JSON}\n    a: b\n",
    ),
    "an earlier note as a block scalar": (
        "metadata:\n  annotations:\n    pullsecret-webhook/images: |\n      nonsense\n\n    a: b\n",
        f"metadata:\n  annotations:\n    pullsecret-webhook/images: {NOTED}\n\n    a: b\n",
    ),
    "an empty note": (
        "metadata:\n  annotations:\n    pullsecret-webhook/images:\n",
        f"metadata:\n  annotations:\n    pullsecret-webhook/images: {NOTED}\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), IN_METADATA.values(), ids=IN_METADATA)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_annotation(before: str, after: str, newline: str) -> None:
    spec = "spec:\n  imagePullSecrets: [{name: ghcr-secret}]\n  containers: [{name: app, image: IMAGE}]\n"
    if before:
        before, after = f"{HEAD}{before}{spec}", f"{HEAD}{after}{spec}"
    else:  # the first key
        before, after = f"{HEAD}{spec}", f"{after}{HEAD}{spec}"
    before, after = (
        before.replace("IMAGE", OLD).replace("\n", newline),
        after.replace("IMAGE", NEW).replace("\n", newline),
    )
    found = injected(before)
    assert found.text == after
    assert [one.images for one in found.outcomes] == [((OLD, NEW),)]
    assert injected(after).text == after


IMAGES = {
    "plain": ("image: OLD  # OLD", "image: NEW  # OLD"),
    "in single quotes": ("image: 'OLD'", "image: 'NEW'"),
    "in double quotes": ('image:   "OLD"', 'image:   "NEW"'),
    "in double quotes with escapes": (r'image: "ghcr.io\/\u0061lice/app:1"', 'image: "NEW"'),
    "over several lines": ('image: "ghcr.io/al\\\n      ice/app:1"', 'image: "NEW"'),
    "on the next line": ("image:  # OLD\n      OLD", "image:  # OLD\n      NEW"),
    "folded": ("image: >-  # OLD\n      OLD", "image: >-  # OLD\n      NEW"),
    "literal": ("image: |-4\n        OLD\n", "image: |-4\n        NEW\n"),
    "with an anchor and a tag": ("image: &x !!str OLD", "image: &x !!str NEW"),
    "with a tag before quotes": ('image: !!str # "\n      "OLD"', 'image: !!str # "\n      "NEW"'),
    "quoted key": ('"image": "OLD"', '"image": "NEW"'),
    "explicit key": ("? image\n    : OLD", "? image\n    : NEW"),
    "inherited from a mapping written in place": ("<<: {image: OLD}", "<<: {image: NEW}"),
    "where the policy is Always": (
        "imagePullPolicy: Always\n    image: OLD",
        "imagePullPolicy: Always\n    image: NEW",
    ),
}


@pytest.mark.parametrize(("before", "after"), IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_image(before: str, after: str, newline: str) -> None:
    noted = f"    pullsecret-webhook/images: {NOTED}\n"
    start = f"{HEAD}metadata:\n  annotations:\n{{}}    a: b\nspec:\n  containers:\n  - name: app\n    {{}}\n"
    end = "  imagePullSecrets:\n  - name: ghcr-secret\n  # the end\n"
    before = start.format("", before.replace("OLD", OLD)) + end
    after = start.format(noted, after.replace("NEW", NEW).replace("OLD", OLD)) + end
    assert injected(before.replace("\n", newline)).text == after.replace("\n", newline)
    assert injected(after).text == after


def test_json() -> None:
    """As `jq -c` prints it, and as kubectl does."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}}
    pod["spec"] = {"hostname": "\U0001f984", "containers": [{"name": "app", "image": OLD}]}
    compact, wide = json.dumps(pod, separators=(",", ":")), json.dumps(pod, indent=2)
    found = injected(f"{compact}\n{wide}\n").text
    reference = '"imagePullSecrets"{0}[{{"name"{0}"ghcr-secret"}}],'
    note = '"annotations"{0}{{"pullsecret-webhook/images"{0}' + NOTED_JSON.replace("{", "{{").replace("}", "}}") + "}},"
    small = compact.replace('"hostname"', reference.format(":") + '"hostname"')
    small = small.replace('{"name":"a"}', "{" + note.format(":") + '"name":"a"}').replace(
        f'"image":"{OLD}"', f'"image":"{NEW}"'
    )
    large = wide.replace('"hostname"', reference.format(": ") + '\n    "hostname"')
    large = large.replace('"name": "a"', note.format(": ") + '\n    "name": "a"').replace(
        f'"image": "{OLD}"', f'"image": "{NEW}"'
    )
    assert found == f"{small}\n{large}\n"


def test_all_in_one_manifest() -> None:
    """Init containers and image volumes too, in the order of the text, in lists; never of templates."""
    before = f"""\
apiVersion: v1
kind: List
items:
- spec:
    volumes:
    - image: {{pullPolicy: Always, reference: ghcr.io/alice/model@sha256:{"0" * 64}}}
      name: model
    - name: work
      emptyDir: {{}}
    initContainers:
    - {{name: init, image: ghcr.io/alice/init}}
    containers:
    - {{name: other, image: quay.io/acme/app}}
    - {{name: app, image: {OLD}}}
    - name: without
  metadata: {{name: last}}
  kind: Pod
  apiVersion: v1
- apiVersion: apps/v1
  kind: Deployment
  metadata: {{name: app}}
  spec: {{containers: [{{image: {OLD}}}], template: {{spec: {{containers: [{{name: app, image: {OLD}}}]}}}}}}
- apiVersion: v1
  kind: PodList
  items:
  - spec: {{containers: [{{name: app, image: {OLD}}}]}}
"""
    found = injected(before)
    pod, deployment, listed = yaml.safe_load(found.text)["items"]
    to = "mirror.example.com:5000/ghcr/alice"
    note = json.loads(pod["metadata"]["annotations"]["pullsecret-webhook/images"])
    assert pod["spec"]["volumes"][0]["image"] == {"pullPolicy": "Always", "reference": f"{to}/model@sha256:{'0' * 64}"}
    assert pod["spec"]["initContainers"] == [{"name": "init", "image": f"{to}/init"}]
    assert [c.get("image") for c in pod["spec"]["containers"]] == ["quay.io/acme/app", NEW, None]
    assert list(note) == ["init", "app", "volumes/model"]
    assert deployment["spec"]["containers"] == [{"image": OLD}]
    assert deployment["spec"]["template"]["spec"]["containers"] == [{"name": "app", "image": OLD}]
    assert listed["items"][0]["spec"]["containers"] == [{"name": "app", "image": NEW}]
    assert [(one.title, one.result, len(one.images)) for one in found.outcomes] == [
        ("Pod last", "added", 3),
        ("Deployment app", "added", 0),
        ("Pod without a name", "added", 1),
    ]
    assert injected(found.text).text == found.text


KEPT = {
    "another registry": ("spec: {containers: [{name: app, image: quay.io/alice/app}]}\n", []),
    "no image": ("spec: {containers: [{name: app}, {image: }, {image: ''}, null], volumes: [{}, {image: }]}\n", []),
    "no name of an image": ("spec: {containers: [{image: 'ghcr.io/alice/app '}, {image: GHCR.io/a}]}\n", []),
    "no text": ("spec: {containers: [{image: [ghcr.io/a]}, {image: {a: b}}, {image: 1}, ghcr.io/a]}\n", []),
    "no list": ("spec: {containers: {image: ghcr.io/a}, volumes: ghcr.io/a}\n", []),
    "policy Never": (f"spec: {{containers: [{{image: {OLD}, imagePullPolicy: Never}}]}}\n", ["pull policy is Never"]),
    "too many": (
        f"spec: {{containers: [{', '.join([f'{{image: {OLD}}}'] * 201)}]}}\n",
        ["too many containers, or is larger than 128 KiB"],
    ),
    "too large": (
        f"spec: {{containers: [{{image: {OLD}, args: [{'x' * 128 * 1024}]}}]}}\n",
        ["too many containers, or is larger than 128 KiB"],
    ),
    "applied by kubectl": (
        (
            f"spec: {{containers: [{{image: {OLD}}}]}}\n"
            "metadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}}\n"
        ),
        ["the pod is applied from a manifest"],
    ),
    "made by an operator": (
        f"spec: {{containers: [{{image: {OLD}}}]}}\nmetadata: {{ownerReferences: [{{apiVersion: example.com/v1}}]}}\n",
        ["an operator made the pod"],
    ),
    "applied by the API server": (
        f"spec: {{containers: [{{image: {OLD}}}]}}\nmetadata: {{managedFields: [{{operation: Apply}}]}}\n",
        ["the pod is applied from a manifest"],
    ),
}


@pytest.mark.parametrize(("text", "why"), KEPT.values(), ids=KEPT)
def test_kept(text: str, why: list[str]) -> None:
    text = HEAD + text.replace("spec: {", "spec: {imagePullSecrets: [{name: ghcr-secret}], ")
    found = injected(text)
    assert found.text == text
    (outcome,) = found.outcomes
    assert (outcome.result, outcome.images) == ("there", ())
    assert len(outcome.kept) == len(why)
    for kept, part in zip(outcome.kept, why, strict=True):
        assert part in str(kept)


def test_a_number_is_no_name() -> None:
    """But text that looks like one is."""
    config = {"mirrors": [{"of": "docker.io", "to": "docker.example.com", "how": "rewrite"}]}
    text = (
        f"{HEAD}spec: {{containers: [{{name: a, image: 123}}, {{name: '1', image: '123'}}, {{image: !!str 0x1f}}]}}\n"
    )
    after = yaml.safe_load(injected(text, config).text)
    images = [c["image"] for c in after["spec"]["containers"]]
    assert images == [123, "docker.example.com/library/123", "docker.example.com/library/0x1f"]
    assert after["metadata"]["annotations"] == {"pullsecret-webhook/images": '{"1":"123","":"0x1f"}'}


def test_a_mirror_at_docker_hub() -> None:
    config = {"mirrors": [{"of": "ghcr.io", "to": "docker.io/acme", "how": "rewrite"}]}
    (outcome,) = injected(f"{HEAD}spec: {{containers: [{{image: {OLD}}}]}}\n", config).outcomes
    assert outcome.images == ((OLD, "docker.io/acme/alice/app:1"),)


SHARED = "because an anchor and its aliases share this part; write the part out"
IMAGE = f"the image cannot get its name at the mirror, {SHARED}"
ANNOTATION = f"the annotation pullsecret-webhook/images cannot be written, {SHARED}"
CONTAINERS = f"spec: {{containers: [{{name: app, image: {OLD}}}]}}\n"
REFUSED = {
    "the image is an alias": (f"x: &x {OLD}\n{HEAD}spec: {{containers: [{{image: *x}}]}}\n", 4, IMAGE),
    "the image has an alias": (f"{HEAD}spec: {{containers: [{{image: &x {OLD}}}, {{image: *x}}]}}\n", 3, IMAGE),
    "two containers are one": (f"{HEAD}spec: {{containers: [&x {{image: {OLD}}}, *x]}}\n", 3, IMAGE),
    "the image comes by a merge key": (f"x: &x {{image: {OLD}}}\n{HEAD}spec: {{containers: [<<: *x]}}\n", 1, IMAGE),
    "the containers are an alias": (f"x: &x [{{image: {OLD}}}]\n{HEAD}spec: {{containers: *x}}\n", 1, IMAGE),
    "the volumes are an alias": (
        f"x: &x [{{image: {{reference: {OLD}}}}}]\n{HEAD}spec: {{volumes: *x}}\n",
        1,
        IMAGE,
    ),
    "metadata are an alias": (f"x: &x {{name: app}}\n{HEAD}metadata: *x\n{CONTAINERS}", 4, ANNOTATION),
    "annotations have an alias": (f"{HEAD}metadata: {{annotations: &x {{}}, labels: *x}}\n{CONTAINERS}", 3, ANNOTATION),
    "annotations come by a merge key": (
        f"x: &x {{annotations: {{}}}}\n{HEAD}metadata: {{<<: *x}}\n{CONTAINERS}",
        1,
        ANNOTATION,
    ),
    "metadata are a text": (
        f"{HEAD}metadata: app\n{CONTAINERS}",
        3,
        "metadata is no mapping; write a mapping, or leave it out",
    ),
    "annotations are a list": (
        f"{HEAD}metadata: {{annotations: [a]}}\n{CONTAINERS}",
        3,
        "annotations is no mapping; write a mapping, or leave it out",
    ),
    "the note is a mapping": (
        f"{HEAD}metadata: {{annotations: {{pullsecret-webhook/images: {{}}}}}}\n{CONTAINERS}",
        3,
        "pullsecret-webhook/images is no text; write a text, or leave it out",
    ),
    "annotations without a colon": (
        f"{HEAD}metadata: {{annotations}}\n{CONTAINERS}",
        3,
        (
            "the annotation pullsecret-webhook/images cannot be written here by inserting text; write out "
            "metadata.annotations, a line for each"
        ),
    ),
    "a container's key twice": (
        f"{HEAD}spec: {{containers: [{{image: a, image: b}}]}}\n",
        3,
        "a key stands here twice, first in line 3; remove one",
    ),
}


@pytest.mark.parametrize(("text", "line", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, line: int, message: str) -> None:
    with pytest.raises(ManifestError) as e:
        injected(text)
    assert str(e.value) == f"document 1, line {line}: {message}"


POD_ITEM = f"- {{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: a, image: {OLD}}}]}}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        lambda n: f"apiVersion: v1\nkind: List\nitems:\n{POD_ITEM * n}",
        lambda n: (
            f"x: &x [{', '.join(['{name: a, image: quay.io/a}'] * n)}]\napiVersion: v1\nkind: List\nitems:\n"
            + "- {apiVersion: v1, kind: Pod, spec: {volumes: *x}}\n" * n
        ),
    ],
    ids=["pods", "a list of all"],
)
def test_twice_the_text_takes_twice_the_time(text: Callable[[int], str]) -> None:
    def took(many: int) -> float:
        whole = text(many)
        began = time.process_time()
        injected(whole)
        return time.process_time() - began

    def is_linear() -> bool:
        few = min(took(100) for _ in range(2))
        return took(800) < 3 * 8 * few

    assert any(is_linear() for _ in range(3))  # a busy machine makes either of the two slow; a square is always one


# What holds for all Pods: what comes out is what the webhook makes of them.


def admitted(pod: Any, config: Any, space: goldencase.ANamespace | None = None) -> Any:
    """By the webhook, with a pull secret that has all that is needed. None: this is no Pod."""
    hosts = ["ghcr.io", *dict.fromkeys(mirror["to"].partition("/")[0] for mirror in config.get("mirrors", ()))]
    owner = {"pullsecret-webhook/owner": "alice"}
    auths = {host: {"username": "alice", "password": planted.token()} for host in hosts}
    source = goldencase.ASecret(
        goldencase.Meta("alice", "pullsecret-webhook", owner),
        "kubernetes.io/dockerconfigjson",
        {".dockerconfigjson": {"auths": auths}},
    )
    review = goldencase.Review(object=pod, namespace=space.metadata.name if space else "team")
    case = goldencase.Case(
        expect=goldencase.Expect(),
        review=review,
        config=config,
        cluster=[space or goldencase.ANamespace(goldencase.Meta("team", labels=owner)), source],
        existing=goldencase.Existing("alice", tuple(hosts)),
    )
    outcome = asyncio.run(goldencase.run(case))
    assert outcome.writes == []
    return goldencase.patched(review, outcome.patch) if outcome.status == 200 else None


GOLDEN = [
    (path, case)
    for path in sorted(goldencase.FOLDER.glob("rewrite*.yaml"))
    if (case := goldencase.load(path)).review and case.review.object and case.review.operation == "CREATE"
]


@pytest.mark.parametrize(("path", "case"), GOLDEN, ids=[path.stem for path, _ in GOLDEN])
def test_golden_cases(path: Path, case: goldencase.Case) -> None:
    """If the credential and the mirror work."""
    space = next(thing for thing in case.cluster if isinstance(thing, goldencase.ANamespace))
    assert case.review is not None
    known = namespaces(Manifest(json.dumps(goldencase.obj(space))))
    found = injected(json.dumps(case.review.object), case.config, case.review.namespace, known)
    assert json.loads(found.text) == admitted(case.review.object, case.config, space), path


REGIONAL = {
    "mirrors": [
        {"of": "ghcr.io/acme", "to": "acme.example.com", "how": "rewrite"},
        {"of": "ghcr.io", "to": "hz.example.com/ghcr", "how": "rewrite", "region": "hz"},
        {"of": "ghcr.io", "to": "bj.example.com:5000", "how": "rewrite", "region": "bj"},
        {"of": "docker.io", "to": "hub.example.com/hub", "how": "rewrite"},
    ]
}
NAMES = st.sampled_from(["app", "web-1", "x.y", "123", "null", "n"])
WORDS = st.text("abc é:#-'\"\n,[]{}&*!|>%@`\\ü", max_size=8) | st.sampled_from(["null", "1", "---", "# no\n"])
PICTURES = st.sampled_from(
    [
        *(
            OLD,
            "ghcr.io/acme/x",
            "ghcr.io/a:1.0",
            "docker.io/a/b",
            "x/y:2",
            "ghcr.io/acme-labs/x",
            "nginx",
            "123",
            "docker.io/library/nginx:1e3",
            "quay.io/a/b",
            "index.docker.io/a/b:n",
        ),
        *("ghcr.io/a@sha256:" + "0" * 64, "ghcr.io/a:1@sha256:" + "0" * 64, "ghcr.io", "ghcr.io/", "GHCR.io/a", ""),
        *("ghcr.io/a b", "ghcr.io/a\n", "ghcr.io/é", "ghcr.io/" + "a" * 250, "hub.example.com/hub/nginx"),
    ]
)
POLICIES = st.sampled_from(["Always", "Always", "IfNotPresent", "Never"])
PLACES = st.sampled_from(["hz", "bj", "elsewhere"])
OWNERS = st.sampled_from(["apps/v1", "batch/v1", "v1", "example.com/v1"]).map(lambda api: {"apiVersion": api})
RARELY = st.integers(0, 9).map(lambda n: n == 0)
Values = st.SearchStrategy[Any]


def some_of(with_all: dict[str, Values] | None = None, **fields: Values) -> Values:
    """Any of these, in any order."""
    return st.fixed_dictionaries(with_all or {}, optional=dict(fields)).flatmap(
        lambda found: st.permutations(list(found.items())).map(dict)
    )


def listed(of: Values) -> Values:
    return st.lists(of, min_size=1, max_size=3)


@st.composite
def pods(draw: st.DrawFn, words: Values = WORDS) -> dict[str, Any]:
    container = some_of(imagePullPolicy=POLICIES, args=listed(words), with_all={"name": NAMES, "image": PICTURES})
    source = some_of(pullPolicy=POLICIES, with_all={"reference": PICTURES})
    volume = st.fixed_dictionaries({"name": NAMES, "image": source}) | st.just({"name": "work", "emptyDir": {}})
    expression = st.fixed_dictionaries(
        {"key": st.just("topology.kubernetes.io/zone"), "operator": st.just("In"), "values": listed(PLACES)}
    )
    terms = st.fixed_dictionaries({"nodeSelectorTerms": listed(some_of(matchExpressions=listed(expression)))})
    spec = some_of(
        hostname=words,
        with_all={"containers": listed(container)},
        initContainers=listed(container),
        volumes=listed(volume),
        imagePullSecrets=st.lists(st.fixed_dictionaries({"name": NAMES | st.just(SECRET)}), max_size=2),
        nodeSelector=st.dictionaries(st.just("topology.kubernetes.io/region"), PLACES, min_size=1, max_size=1),
        affinity=some_of(nodeAffinity=some_of(requiredDuringSchedulingIgnoredDuringExecution=terms)),
    )
    note: Values = st.sampled_from(['{"app":"ghcr.io/x","gone":"y"}', "", "nonsense", "[]"])
    annotations = draw(st.dictionaries(words, words, max_size=2))
    for key, value in (("pullsecret-webhook/images", note), ("meta.helm.sh/release-name", words)):
        if draw(RARELY):
            annotations[key] = draw(value)
    rest = draw(some_of(labels=st.dictionaries(words, words, max_size=1), ownerReferences=listed(OWNERS)))
    metadata = rest | {"name": "app"} | ({"annotations": annotations} if annotations else {})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": draw(spec)}
    return dict(draw(st.permutations(list(pod.items()))))


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


YAML_STYLES = st.fixed_dictionaries(
    {
        "default_flow_style": st.sampled_from([False, True, None]),
        "indent": st.sampled_from([2, 4]),
        "width": st.sampled_from([20, 1000]),
        "line_break": st.sampled_from(["\n", "\r\n"]),
        "default_style": st.sampled_from([None, None, '"', "'"]),
        "allow_unicode": st.booleans(),
    }
)
JSON_STYLES = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 2, "\t"]),
        "separators": st.sampled_from([(",", ":"), (", ", ": ")]),
        "ensure_ascii": st.booleans(),
    }
)


def as_yaml(value: Any, style: dict[str, Any]) -> str:
    return str(yaml.dump(value, sort_keys=False, Dumper=Plain, **style))


def check(before: str, parsed: Callable[[str], Any]) -> None:
    pod = parsed(before)
    done = injected(before, REGIONAL)
    assert parsed(done.text) == admitted(pod, REGIONAL)
    assert injected(done.text, REGIONAL).text == done.text
    (outcome,) = done.outcomes
    assert bool(done.changed) == (done.text != before)
    if "pullsecret-webhook/images" not in (pod["metadata"].get("annotations") or {}):
        images = sorted({name for pair in outcome.images for name in pair} or {"-"}, key=len, reverse=True)
        image = re.compile("|".join(map(re.escape, images)))
        assert kept(image.sub("-", before), image.sub("-", done.text))


def kept(before: str, after: str) -> bool:
    """Whether `after` is `before` with text inserted, at any number of places."""
    characters = iter(after)
    return all(character in characters for character in before)


@given(pods(), YAML_STYLES)
@settings(deadline=None, max_examples=60)
def test_any_yaml(pod: Any, style: dict[str, Any]) -> None:
    check(as_yaml(pod, style), yaml.safe_load)


@given(pods(), JSON_STYLES)
@settings(deadline=None, max_examples=60)
def test_any_json(pod: Any, style: dict[str, Any]) -> None:
    check(json.dumps(pod, **style), json.loads)


@given(pods(NAMES), YAML_STYLES, st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_any_comments(pod: Any, style: dict[str, Any], seed: int) -> None:
    choose = random.Random(seed).choice
    lines = as_yaml(pod, style | {"width": 1000, "default_style": None}).splitlines(keepends=True)
    above, behind = ["", "", "# why\n", "      # ghcr.io/a\n", "\n"], ["\n", "  # what\n"]
    check("".join(choose(above) + line.rstrip() + choose(behind) for line in lines), yaml.safe_load)


FRAGMENTS = [
    *("\n", "\r\n", "  ", "\t", "- ", "? ", ": ", ", ", "{", "}", "[", "]", "'", '"', "|-", ">-\n", "#", "~", "null"),
    *("&a ", "*a", "*a ", "<<: *a\n", "!!map ", "!!str ", "!x ", "a: b\n", '"a":', "image: ", OLD, "metadata:\n"),
    *("annotations: ", "annotations:\n", "pullsecret-webhook/images: ", "containers: ", "- image: ", "\\u0061", "🦄"),
]
SEEDS = [
    *(f"{HEAD}{before}{CONTAINERS}" for before, _ in IN_METADATA.values()),
    *(
        f"{HEAD}spec:\n  containers:\n  - name: app\n    {before.replace('OLD', OLD)}\n"
        for before, _ in IMAGES.values()
    ),
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.sampled_from(FRAGMENTS)), max_size=4),
)
@settings(deadline=None, max_examples=300)
def test_whatever_comes_is_done_right_or_refused(text: str, changes: list[tuple[float, int, str]]) -> None:
    for place, removed, added in changes:
        at = int(place * len(text))
        text = text[:at] + added + text[at + removed :]
    try:
        done = injected(text)
    except ManifestError:
        return
    assert injected(done.text).text == done.text
    with contextlib.suppress(yaml.YAMLError, ValueError, TypeError, RecursionError):
        before, after = yaml.safe_load(text), yaml.safe_load(done.text)
        if isinstance(before, dict) and (before.get("apiVersion"), before.get("kind")) == ("v1", "Pod"):
            wanted = admitted(sent(before), MIRRORS)
            assert wanted is None or sent(after) == wanted


def sent(pod: Any) -> Any:
    """As the API server sends it in a review: without null and empty mappings, but always with metadata."""
    pod = msgspec.json.decode(msgspec.json.encode(pod))
    metadata = pod.get("metadata") or {}
    if isinstance(metadata, dict) and not metadata.get("annotations"):
        metadata = {key: value for key, value in metadata.items() if key != "annotations"}
    return pod | {"metadata": metadata}
