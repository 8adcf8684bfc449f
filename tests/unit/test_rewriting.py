"""Images of new pods at mirrors: what comes of any pod, and what is told of those that keep their names."""

import asyncio
import copy
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import goldencase, planted
from support.goldencase import ANamespace, ASecret, Case, Existing, Expect, Meta, Outcome, Review
from webhook import rewriting
from webhook.config import reading
from webhook.core import review as wire
from webhook.core.credential import Credential, Credentials, Refusal
from webhook.core.errors import MalformedReview
from webhook.core.names import IMAGES, OWNER, REGION
from webhook.core.patch import FIELD, kept_of_images
from webhook.core.podimages import REGION as NODE_REGION
from webhook.core.podimages import hard_places, of_debugged_pod, of_new_pod
from webhook.core.pullsecret import ExistingSecret, Namespace
from webhook.core.rewrite import Kept, RewriteRule, Rewritten, Why, kept_decision
from webhook.rewriting import Rewriting

Pod = dict[str, Any]
MIRRORS = [
    {"of": "ghcr.io", "to": "one.test/ghcr", "how": "rewrite", "region": "east"},
    {"of": "ghcr.io", "to": "two.test:5000", "how": "rewrite", "region": "west"},
    {"of": "docker.io/library", "to": "one.test/hub", "how": "rewrite"},
    {"of": "ghcr.io", "to": "three.test", "how": "rewrite"},
]
HOSTS = ["one.test", "two.test:5000", "three.test"]
DIGEST = "sha256:" + "0123456789abcdef" * 4

PATHS = st.from_regex(r"[a-z0-9]{1,9}(?:[._-][a-z0-9]{1,5})?(?:/[a-z0-9]{1,5}){0,2}", fullmatch=True)
VERSIONS = st.sampled_from(["", ":1", ":V1.2_3-x", f"@{DIGEST}", f":1@{DIGEST}"])
OTHERS = st.sampled_from(
    [
        ("quay.io/acme/app:1", ""),
        ("one.test/ghcr/acme/app:1", ""),
        ("ghcr.io/Acme/app", ""),
        ("GHCR.io/acme/app", ""),
        ("ghcr.io:443/acme/app", ""),
        ("ghcr.io", "docker.io/library/ghcr.io"),
        ("acme/app:1", ""),
        ("ghcr.io/" + "a" * 300, ""),
        ("ghcr.io/acme/app:", ""),
        ("ghcr.io/acme/app:1 ", ""),
        ("", ""),
        ("\x00", ""),
        ("ghcr.io/é", ""),
    ]
)


@st.composite
def images(draw: st.DrawFn) -> tuple[str, str, str]:
    """An image; its repository if a mirror may have it, else nothing; its version."""
    path, version = draw(PATHS), draw(VERSIONS)
    single = path.partition("/")[0].replace(".", "")
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return f"ghcr.io/{path}{version}", f"ghcr.io/{path}", version
    if kind == 1:
        return f"{single}{version}", f"docker.io/library/{single}", version
    if kind == 2:
        return f"docker.io/library/{single}{version}", f"docker.io/library/{single}", version
    other, repository = draw(OTHERS)
    return other, repository, ""


POLICIES = st.sampled_from([None, "Always", "IfNotPresent", "Never"])
CONTAINERS = st.lists(st.tuples(images(), POLICIES), max_size=3)
WORLDS = st.fixed_dictionaries(
    {
        "init": CONTAINERS,
        "containers": CONTAINERS,
        "volumes": st.lists(st.none() | st.tuples(images(), POLICIES), max_size=3),
        "label": st.sampled_from(["", "east", "west", "north"]),
        "selector": st.sampled_from(["", "east", "west", "north"]),
        "entries": st.sets(st.sampled_from(HOSTS)),
        "silent": st.sets(st.sampled_from(HOSTS)),
        "annotations": st.sampled_from([None, {}, {"a": "b"}, {IMAGES: "nonsense"}, {IMAGES: '{"x":"y"}'}]),
        "present": st.sampled_from([None, [], [{"name": "own"}], [{"name": "ghcr-secret"}, {"name": "own"}]]),
        "applied": st.booleans(),
        "owner": st.sampled_from(["", "apps/v1", "batch/v1", "v1", "postgresql.cnpg.io/v1", "apps/v1.example.com"]),
    }
)
World = dict[str, Any]


def pod_of(world: World) -> Pod:
    spec: Pod = {}
    for key, drawn in (("initContainers", world["init"]), ("containers", world["containers"])):
        spec[key] = [
            {"name": f"{key}-{at}", "image": image[0]} | ({"imagePullPolicy": policy} if policy else {})
            for at, (image, policy) in enumerate(drawn)
        ]
    spec["volumes"] = [
        {"name": f"v{at}", "emptyDir": {}}
        if one is None
        else {"name": f"v{at}", "image": {"reference": one[0][0]} | ({"pullPolicy": one[1]} if one[1] else {})}
        for at, one in enumerate(world["volumes"])
    ]
    if world["selector"]:
        spec["nodeSelector"] = {NODE_REGION: world["selector"], "disk": "ssd"}
    if world["present"] is not None:
        spec[FIELD] = world["present"]
    metadata: Pod = {"name": "app"}
    if world["annotations"] is not None:
        metadata["annotations"] = dict(world["annotations"])
    if world["applied"]:
        metadata["managedFields"] = [{"manager": "kubectl", "operation": "Update"}, {"operation": "Apply"}]
    if world["owner"]:
        metadata["ownerReferences"] = [{"apiVersion": world["owner"], "kind": "Any", "name": "x", "uid": "u"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def expected(world: World, image: tuple[str, str, str], policy: str | None) -> str:
    """The image's name afterwards, by other means than the webhook's."""
    text, repository, version = image
    if policy == "Never" or (world["applied"] and not world["owner"]) or "." in world["owner"]:
        return text
    stated = {world["label"], world["selector"]} - {""}
    rules = [one for one in MIRRORS if one.get("region") in stated] if stated else [*MIRRORS]
    rules += [one for one in MIRRORS if stated and "region" not in one]
    for rule in rules:
        host = rule["to"].split("/")[0]
        inside = repository.startswith(rule["of"] + "/")
        if inside and host in world["entries"] and host not in world["silent"]:
            return rule["to"] + repository.removeprefix(rule["of"]) + version
    return text


def ask(world: World, pod: Pod) -> Outcome:
    labels = {OWNER: "alice"} | ({REGION: world["label"]} if world["label"] else {})
    keys = ["ghcr.io", *sorted(world["entries"])]
    auths = {key: {"username": "alice", "password": planted.token()} for key in keys}
    return asyncio.run(
        goldencase.run(
            Case(
                expect=Expect(),
                config={"mirrors": MIRRORS},
                cluster=[
                    ANamespace(Meta("team", labels=labels)),
                    ASecret(
                        Meta("alice", "pullsecret-webhook", labels={OWNER: "alice"}),
                        "kubernetes.io/dockerconfigjson",
                        {".dockerconfigjson": {"auths": auths}},
                    ),
                ],
                existing=Existing("alice", tuple(keys)),
                silent=[*world["silent"]],
                review=Review(object=pod),
            )
        )
    )


@settings(max_examples=60)
@given(WORLDS)
def test_images_get_the_names_that_they_should_and_nothing_else_changes(world: World) -> None:
    pod = pod_of(world)
    after = jsonpatch.apply_patch(pod, ask(world, pod).patch)
    wanted, originals = copy.deepcopy(pod), {}
    for key, drawn in (("initContainers", world["init"]), ("containers", world["containers"])):
        for one, (image, policy) in zip(wanted["spec"][key], drawn, strict=True):
            if (new := expected(world, image, policy)) != one["image"]:
                originals[one["name"]], one["image"] = one["image"], new
    for one, volume in zip(wanted["spec"]["volumes"], world["volumes"], strict=True):
        if volume is not None and (new := expected(world, *volume)) != one["image"]["reference"]:
            originals[f"volumes/{one['name']}"], one["image"]["reference"] = one["image"]["reference"], new
    if {"name": "ghcr-secret"} not in (world["present"] or []):
        wanted["spec"][FIELD] = [*(world["present"] or []), {"name": "ghcr-secret"}]
    if originals:
        said = after["metadata"]["annotations"].pop(IMAGES)
        assert json.loads(said) == originals
        wanted["metadata"].setdefault("annotations", {}).pop(IMAGES, None)
    assert after == wanted
    again = jsonpatch.apply_patch(pod, ask(world, pod).patch)
    assert ask(world, again).patch == []


@pytest.mark.parametrize("decode", [wire.decode, wire.read])
def test_a_review_that_waits_keeps_what_decides(decode: Callable[[bytes], wire.Request]) -> None:
    pod: Pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "annotations": {IMAGES: '{"app":"x"}', "kubectl.kubernetes.io/last-applied-configuration": "x" * 50_000},
            "managedFields": [{"operation": "Apply", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "containers": [{"name": "app", "image": "ghcr.io/a/b:1", "imagePullPolicy": "Never", "args": ["x" * 9000]}],
            "initContainers": [{"name": "init", "image": "ghcr.io/a/c"}],
            "volumes": [{"name": "v", "image": {"reference": "ghcr.io/a/d"}}, {"name": "w", "emptyDir": {}}],
            "nodeSelector": {NODE_REGION: "east", "x": "y" * 9000},
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": NODE_REGION, "operator": "In", "values": ["west"]}]}
                        ]
                    }
                }
            },
        },
    }
    pod["spec"]["ephemeralContainers"] = pod["spec"]["containers"]
    body = goldencase.body(Review(object=pod, old_object=pod))
    request, held = wire.decode(body), wire.detached(decode(body))
    assert request.object is not None
    assert held.object is not None
    assert request.object.spec is not None
    assert held.object.spec is not None
    assert wire.target(request) == wire.target(held)
    assert of_new_pod(held.object.spec) == of_new_pod(request.object.spec)
    assert hard_places(held.object.spec) == hard_places(request.object.spec) == {"east", "west"}
    assert held.object.metadata is not None
    assert held.object.metadata.made == "applied"
    assert held.object.metadata.annotations is not None
    assert held.object.metadata.annotations.images == '{"app":"x"}'
    kept = [getattr(one, name) for one in (held.object.spec,) for name in one.__struct_fields__]
    assert sum(len(one) for one in kept if isinstance(one, msgspec.Raw)) < 1200


def test_the_names_of_before_are_all_annotated_in_a_large_pod_that_has_the_annotation() -> None:
    world: World = {"label": "", "entries": HOSTS, "silent": ()}
    images = {f"c{at}": f"ghcr.io/{'a' * 150}/{at}" for at in range(200)}
    spec = {"containers": [{"name": name, "image": image} for name, image in images.items()]}
    pod: Pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {IMAGES: '{"c0":"x"}'}}, "spec": spec}
    after = jsonpatch.apply_patch(pod, ask(world, pod).patch)
    assert json.loads(after["metadata"]["annotations"][IMAGES]) == images


@pytest.mark.parametrize(("images", "kept"), [(2, 1), (200, 0)])
def test_what_is_made_of_a_large_pod_is_not_kept(images: int, kept: int) -> None:
    """A tenant makes hundreds of different ones, each with a patch of hundreds of kilobytes."""
    world: World = {"label": "", "entries": HOSTS, "silent": ()}
    containers = [{"name": f"c{at}", "image": f"ghcr.io/not-kept/{images}-{at}"} for at in range(images)]
    pod: Pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": containers}}
    caches = kept_decision, kept_of_images
    before = [cache.cache_info().misses for cache in caches]
    assert len([one for one in ask(world, pod).patch if one["op"] == "replace"]) == images
    assert [cache.cache_info().misses for cache in caches] == [one + kept for one in before]


@pytest.mark.parametrize(
    ("owners", "operated"),
    [
        (None, False),
        ([], False),
        ([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "x" * 5000}], False),
        ([{"apiVersion": "apps/v1"}, {"apiVersion": "example.com/v1"}], True),
        ([{"kind": "Cluster"}], True),
        ([{"apiVersion": "v1"}] * 10_000, True),
        ("none", True),
    ],
)
def test_pods_of_operators(owners: object, operated: bool) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"ownerReferences": owners}, "spec": {}}
    request, held = wire.decode(goldencase.body(Review(object=pod))), wire.decode(goldencase.body(Review(object=pod)))
    for one in (request.object, wire.detached(held).object):
        assert one is not None
        assert one.metadata is not None
        assert one.metadata.made == ("operated" if operated else "")


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"name": f"c{at}", "image": "ghcr.io/a/b"} for at in range(201)]},
        {"containers": [{"name": "c", "image": "ghcr.io/a/b"}], "volumes": [{"name": "v", "image": {}}] * 201},
        {"containers": [{"name": "c", "image": "ghcr.io/a/b", "args": ["x" * 140_000]}]},
    ],
)
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("decode", [wire.decode, wire.read])
def test_a_very_large_pod_keeps_its_images(spec: Pod, waits: bool, decode: Callable[[bytes], wire.Request]) -> None:
    body = goldencase.body(Review(object={"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec}))
    request = decode(body)
    found = decide(wire.detached(request) if waits else request)
    assert found == Rewritten(kept=(Kept(Why.LARGE),))


GOOD, BAD = '"containers":[{"name":"c","image":"ghcr.io/a/b","args":["x"]}]', '"containers":[{"image":5}]'
DEEP = '{"name":"c","args":' + "[" * 3000 + "]" * 3000 + "}"


@pytest.mark.parametrize(
    "spec",
    [
        GOOD,
        BAD,
        "",
        '"containers":null',
        '"containers":[]',
        '"containers":{}',
        '"containers":[null]',
        f"{BAD},{GOOD}",
        f"{GOOD},{BAD}",
        f'{GOOD},"containers":[{{"name":"d"}}]',
        f'{GOOD},"initContainers":null',
        f'{GOOD},"initContainers":[{{"name":"i","image":"ghcr.io/a/i","imagePullPolicy":"Never"}}]',
        f'{GOOD},"initContainers":"none"',
        f'{GOOD},"volumes":[{{"name":"v","image":{{"reference":"ghcr.io/a/v"}}}}]',
        f'{GOOD},"volumes":[{{"image":5}}]',
        f'{GOOD},"ephemeralContainers":[{{"name":"e","image":"ghcr.io/a/e"}},{{"name":"f"}}]',
        f'{GOOD},"imagePullSecrets":[{{"name":"own"}}]',
        f'{GOOD},"imagePullSecrets":5',
        f'{GOOD},"serviceAccountName":5',
        f'{GOOD},"containers":',
        f'"containers":[{DEEP}]',
        f'"initContainers":[{DEEP}],{GOOD}',
        '"containers":[{"name":"\\ud800"}]',
        '"containers":[{"name":"\xff"}]',
        '"containers":[' + ",".join(["{}"] * 201) + "]",
        '"containers":[' + ",".join(["{}"] * 30_000) + "]",
        '"containers":[' + ",".join(["{}"] * 60_000) + "]",
        '"containers":[{"image":"' + "x" * 200_000 + '"}]',
        f'"template":{{"spec":{{{BAD}}}}}',
        f'{BAD},"template":{{"spec":{{{GOOD}}}}}',
    ],
    ids=lambda text: text[:40],
)
@pytest.mark.parametrize("kind", ["Pod", "Deployment", "Shop"])
@pytest.mark.parametrize("sub", ["", "ephemeralcontainers"])
def test_to_read_a_review_says_what_to_decode_it_says(spec: str, kind: str, sub: str) -> None:
    group, operation = "apps" if kind == "Deployment" else "", "UPDATE" if sub else "CREATE"
    pod = f'{{"metadata":{{"name":"p"}},"spec":{{{spec}}}}}'
    request = f'"uid":"u","kind":{{"group":"{group}","kind":"{kind}"}},"operation":"{operation}","subResource":"{sub}"'
    whole = f'"request":{{{request},"object":{pod},"oldObject":{pod if sub else "null"}}}'
    body = f'{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",{whole}}}'.encode("latin-1")
    assert seen(wire.read, body, waits=False) == seen(wire.decode, body, waits=False)
    assert seen(wire.read, body, waits=True) == seen(wire.decode, body, waits=True)


def seen(decode: Callable[[bytes], wire.Request], body: bytes, *, waits: bool) -> object:
    """All that counts of a review, or the error."""
    try:
        request = wire.detached(decode(body)) if waits else decode(body)
        target = wire.target(request)
    except MalformedReview as e:
        return type(e), str(e), e.status
    spec = request.object.spec if request.object is not None else None
    old = request.old_object.spec if request.old_object is not None else None
    images = (of_new_pod(spec), of_debugged_pod(spec, old), hard_places(spec)) if spec is not None else None
    return target, images, request.uid, request.kind, request.operation, request.size, request.called


NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEAM = Namespace("team", "u", 1, "alice")
RULE = RewriteRule("ghcr.io", "m.test")
REQUEST = wire.decode(
    goldencase.body(
        Review(
            object={
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "app"},
                "spec": {"containers": [{"name": "app", "image": "ghcr.io/a/b"}]},
            }
        )
    )
)
NAMED = (("/spec/containers/0/image", "m.test/a/b"),)


@pytest.mark.parametrize(
    ("of", "to", "image", "new"),
    [
        ("ghcr.io/acme/app", "m.test/app", "ghcr.io/acme/app:1", "m.test/app:1"),
        ("ghcr.io/acme/app", "m.test/app", "ghcr.io/acme/app/part:1", "m.test/app/part:1"),
        ("ghcr.io/acme/app", "m.test/app", "ghcr.io/acme/app2:1", None),
        ("ghcr.io/acme/app", "m.test", "ghcr.io/acme/app:1", None),  # m.test:1 would be an image of Docker Hub
        ("ghcr.io/acme/app", "m.test:5000", "ghcr.io/acme/app", None),
        ("docker.io/library/nginx", "m.test", "nginx", None),
    ],
)
def test_an_image_that_is_all_of_a_prefix(of: str, to: str, image: str, new: str | None) -> None:
    config = reading.convert({"mirrors": [{"of": of, "to": to, "how": "rewrite"}]})
    keys = ("https://index.docker.io/v1/", "m.test", "m.test:5000")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "c", "image": image}]}}
    request = wire.decode(goldencase.body(Review(object=pod)))
    rewrite = Rewriting(config, frozenset, lambda _owner: None, lambda: NOW)
    existing = ExistingSecret("team", "s", 2, True, True, False, False, "alice", b"", keys)
    found = rewrite(request, TEAM, existing, debugged=False)
    assert found.names == (() if new is None else (("/spec/containers/0/image", new),))


def secret(owner: str = "alice", *, ours: bool = True, ends: datetime | None = None, held: bool = False) -> Any:
    ends_at = (ends,) if ends is not None else ()
    return ExistingSecret("team", "s", 2, ours, True, False, held, owner, b"", ("ghcr.io", "m.test"), ends_at)


def decide(
    request: wire.Request = REQUEST,
    existing: ExistingSecret | None = None,
    known: Sequence[Credential] | None = None,
    clock: list[datetime] | None = None,
) -> Rewritten:
    config = reading.convert({"mirrors": [{"of": "ghcr.io", "to": "m.test", "how": "rewrite"}]})
    credentials = None if known is None else Credentials(tuple(known))
    rewrite = Rewriting(config, frozenset, lambda _owner: credentials, lambda: (clock or [NOW])[0])
    return rewrite(request, TEAM, existing or secret(), debugged=False)


def at_mirror(**more: Any) -> Credential:
    return Credential("m.test", "alice", planted.token(), **more)


AGO, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("existing", "known", "why"),
    [
        (secret(), None, None),
        (secret(), [], None),  # it was withdrawn a moment ago, and its entry still stands
        (secret("bob"), None, Why.NO_ENTRY),
        (secret(ours=False), None, Why.NO_ENTRY),
        (secret(held=True), None, Why.NO_ENTRY),
        (secret(ends=LATER), None, None),
        (secret(ends=AGO), None, Why.DEAD),
        (secret(ends=AGO), [at_mirror(expires=AGO)], Why.DEAD),
        (secret(ends=AGO), [at_mirror()], None),
        (secret(ends=AGO), [at_mirror(expires=AGO), at_mirror(expires=LATER)], None),
        (secret(ends=AGO), [at_mirror(namespaces=("other",))], Why.DEAD),
        (secret(), [at_mirror(refusal=Refusal("HTTP 401"))], Why.DEAD),
        (secret(), [at_mirror(refusal=Refusal("HTTP 401", held=True)), at_mirror()], None),
    ],
)
def test_the_pull_secret_that_stands_decides(
    existing: ExistingSecret, known: list[Credential] | None, why: Why | None
) -> None:
    found = decide(existing=existing, known=known)
    assert found.names == (NAMED if why is None else ())
    assert [one.why for one in found.kept] == ([] if why is None else [why])


def test_the_same_is_told_once_a_minute() -> None:
    clock, silent = [NOW], [frozenset({"m.test"})]
    config = reading.convert({"mirrors": [{"of": "ghcr.io", "to": "m.test", "how": "rewrite"}]})
    rewrite = Rewriting(config, lambda: silent[0], lambda _owner: None, lambda: clock[0])

    def told(existing: ExistingSecret | None) -> list[Why]:
        found = rewrite(REQUEST, TEAM, existing, debugged=False)
        assert found.names == ()
        return [one.why for one in rewrite.untold(TEAM, found)]

    assert told(secret()) == [Why.SILENT]
    assert told(secret()) == []
    silent[0] = frozenset()
    assert told(secret("bob")) == []  # a reason was told; which one has little worth within the minute
    clock[0] += timedelta(seconds=61)
    assert told(secret("bob")) == [Why.NO_ENTRY]
    assert told(None) == []
    clock[0] -= timedelta(hours=1)  # clocks are set back
    assert told(None) == [Why.NO_ENTRY]


def test_what_is_told() -> None:
    said = rewriting.notice(Kept(Why.NO_ENTRY, RULE), TEAM)
    assert (said.reason, said.type, said.quiet, said.kind, said.name) == (
        "ImageNotRewritten",
        "Warning",
        True,
        "Namespace",
        "team",
    )
    assert said.message.startswith("images of ghcr.io are not pulled from m.test: the pull secret has no entry for")
    assert rewriting.notice(Kept(Why.NEVER, RULE), TEAM).type == "Normal"
