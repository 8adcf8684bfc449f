"""Manifests before and after `pullsecret inject`, byte for byte; then what holds for all manifests."""

import contextlib
import json
import random
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.commands.inject.references import Manifest, ManifestError, inject, namespaces

NAME = "ghcr-secret"

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: app
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  namespace: team-a
"""


class Changed(NamedTuple):
    text: str
    changed: tuple[str, ...]


def injected(text: str) -> Changed:
    found = inject(Manifest(text), secret=NAME)
    return Changed(found.text, found.changed)


WRITTEN = {
    "a list where the mapping does not indent lists": (
        "spec:\n  containers:\n  - name: app\n",
        "spec:\n  imagePullSecrets:\n  - name: ghcr-secret\n  containers:\n  - name: app\n",
    ),
    "a list where the mapping indents lists": (
        "spec:\n    hostname: a\n    containers:\n      - name: b\n",
        "spec:\n    imagePullSecrets:\n      - name: ghcr-secret\n    hostname: a\n    containers:\n      - name: b\n",
    ),
    "a list where there are no lists": (
        "spec:\n  hostname: app",
        "spec:\n  imagePullSecrets:\n  - name: ghcr-secret\n  hostname: app",
    ),
    "comments stay with their keys": (
        "spec:  # of the pod\n\n  # What runs.\n  containers: []\n",
        "spec:  # of the pod\n  imagePullSecrets:\n  - name: ghcr-secret\n\n  # What runs.\n  containers: []\n",
    ),
    "spec with a tag and an anchor": (
        "spec: !!map &spec\n  hostname: app\n",
        "spec: !!map &spec\n  imagePullSecrets:\n  - name: ghcr-secret\n  hostname: app\n",
    ),
    "spec as an explicit key": (
        "? spec\n: containers:\n    - name: app\n",
        "? spec\n: imagePullSecrets:\n    - name: ghcr-secret\n  containers:\n    - name: app\n",
    ),
    "first key explicit": (
        "spec:\n  ? hostname\n  : app\n",
        "spec:\n  imagePullSecrets:\n  - name: ghcr-secret\n  ? hostname\n  : app\n",
    ),
    "quoted keys": (
        '"spec":\n  "hostname": app\n',
        '"spec":\n  "imagePullSecrets":\n  - "name": "ghcr-secret"\n  "hostname": app\n',
    ),
    "spec in flow style": (
        "spec: {hostname: app}\n",
        "spec: {imagePullSecrets: [{name: ghcr-secret}], hostname: app}\n",
    ),
    "spec in flow style over several lines": (
        "spec: {  # all of it\n  ? hostname : app,\n}\n",
        "spec: {  # all of it\n  imagePullSecrets: [{name: ghcr-secret}],\n  ? hostname : app,\n}\n",
    ),
    "empty spec": ("spec: {}\n", "spec: {imagePullSecrets: [{name: ghcr-secret}]}\n"),
    "list absent, spec has a merge key": (
        "spec:\n  <<: {hostname: app}\n",
        "spec:\n  imagePullSecrets:\n  - name: ghcr-secret\n  <<: {hostname: app}\n",
    ),
    "list absent, `<<` is a text": (
        "spec:\n  !!str <<: {imagePullSecrets: []}\n",
        "spec:\n  imagePullSecrets:\n  - name: ghcr-secret\n  !!str <<: {imagePullSecrets: []}\n",
    ),
    "list inherited, `<<` has a tag": (
        "spec:\n  !!merge <<: {imagePullSecrets: []}\n",
        "spec:\n  !!merge <<: {imagePullSecrets: [{name: ghcr-secret}]}\n",
    ),
    "list empty": (
        "spec:\n  imagePullSecrets: []  # none\n",
        "spec:\n  imagePullSecrets: [{name: ghcr-secret}]  # none\n",
    ),
    "list left out": (
        "spec:\n  imagePullSecrets:  # none\n  hostname: app\n",
        "spec:\n  imagePullSecrets: [{name: ghcr-secret}]  # none\n  hostname: app\n",
    ),
    "list left out in flow style": (
        "spec: {imagePullSecrets: , hostname: app}\n",
        "spec: {imagePullSecrets: [{name: ghcr-secret}], hostname: app}\n",
    ),
    "list null": (
        "spec:\n  imagePullSecrets: null  # none\n",
        "spec:\n  imagePullSecrets: [{name: ghcr-secret}]  # none\n",
    ),
    "list ~": ("spec:\n  imagePullSecrets: ~", "spec:\n  imagePullSecrets: [{name: ghcr-secret}]"),
    "list !!null": ("spec:\n  imagePullSecrets: !!null\n", "spec:\n  imagePullSecrets: [{name: ghcr-secret}]\n"),
    "entries, not indented": (
        "spec:\n  imagePullSecrets:\n  - name: other  # mine\n  # the end\n\n  hostname: app\n",
        "spec:\n  imagePullSecrets:\n  - name: other  # mine\n  - name: ghcr-secret\n  # the end\n\n  hostname: app\n",
    ),
    "entries, indented": (
        "spec:\n  imagePullSecrets:\n      - name: first\n      - {name: 'second'}\n",
        "spec:\n  imagePullSecrets:\n      - name: first\n      - {name: 'second'}\n      - name: ghcr-secret\n",
    ),
    "entries at the end, no line end": (
        "spec:\n  imagePullSecrets:\n  - name: other",
        "spec:\n  imagePullSecrets:\n  - name: other\n  - name: ghcr-secret",
    ),
    "entries at the end of a document": (
        "spec:\n  imagePullSecrets:\n  - name: other\n---\nnext: true\n",
        "spec:\n  imagePullSecrets:\n  - name: other\n  - name: ghcr-secret\n---\nnext: true\n",
    ),
    "an entry on lines of its own": (
        'spec:\n  imagePullSecrets:\n  -  # mine\n    name:\n      "oth\\\n      er"\n',
        'spec:\n  imagePullSecrets:\n  -  # mine\n    name:\n      "oth\\\n      er"\n  - name: ghcr-secret\n',
    ),
    "an entry that is a block scalar": (
        "spec:\n  imagePullSecrets:\n  - name: >-\n      other\n  hostname: app\n",
        "spec:\n  imagePullSecrets:\n  - name: >-\n      other\n  - name: ghcr-secret\n  hostname: app\n",
    ),
    "empty entries": (
        "spec:\n  imagePullSecrets:\n  - name:\n  -\n",
        "spec:\n  imagePullSecrets:\n  - name:\n  -\n  - name: ghcr-secret\n",
    ),
    "an entry that is an alias": (
        "x: &x {name: other}\nspec:\n  imagePullSecrets:\n  - *x  # mine\n",
        "x: &x {name: other}\nspec:\n  imagePullSecrets:\n  - *x  # mine\n  - name: ghcr-secret\n",
    ),
    "entries in flow style": (
        "spec:\n  imagePullSecrets: [{name: other}]\n",
        "spec:\n  imagePullSecrets: [{name: other}, {name: ghcr-secret}]\n",
    ),
    "entries in flow style without braces, comma at the end": (
        "spec:\n  imagePullSecrets: [name: other, ]\n",
        "spec:\n  imagePullSecrets: [name: other, {name: ghcr-secret}, ]\n",
    ),
    "entries in flow style over several lines": (
        "spec:\n  imagePullSecrets: [\n    {name: first},\n    {name: second}\n  ]\n",
        "spec:\n  imagePullSecrets: [\n    {name: first},\n    {name: second},\n    {name: ghcr-secret}\n  ]\n",
    ),
    "a list inherited from a mapping written in place": (
        "spec:\n  <<: {imagePullSecrets: []}\n",
        "spec:\n  <<: {imagePullSecrets: [{name: ghcr-secret}]}\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), WRITTEN.values(), ids=WRITTEN)
def test_a_pod(before: str, after: str) -> None:
    assert injected(POD + before) == Changed(POD + after, ("Pod app",))
    assert injected(POD + after) == Changed(POD + after, ())


@pytest.mark.parametrize(("before", "after"), WRITTEN.values(), ids=WRITTEN)
def test_line_ends_stay_as_they_are(before: str, after: str) -> None:
    before, after = ((POD + text).replace("\n", "\r\n") for text in (before, after))

    assert injected(before).text == after


@pytest.mark.parametrize("newline", ["\r", "\x85", "\u2028"])
def test_rare_line_ends_are_read_right(newline: str) -> None:
    before = f"{POD}spec:{newline}  hostname: app{newline}"

    added = newline if newline == "\r" else "\n"
    after = f"{POD}spec:{newline}  imagePullSecrets:{added}  - name: ghcr-secret{added}  hostname: app{newline}"

    assert injected(before).text == after


@pytest.mark.parametrize(
    "start", ["", "\ufeff", "# ünïcödé 🦄\n", "\ufeff--- # 🦄\n", "%YAML 1.2\n%TAG !e! tag:x,1:\n---\n"]
)
def test_positions_count_characters(start: str) -> None:
    before = start + POD + "spec: {a: é🦄, imagePullSecrets: [], b: 🦄}\n...\n# end 🦄\n"

    assert injected(before).text == before.replace("[]", "[{name: ghcr-secret}]")


def test_a_deployment() -> None:
    before = DEPLOYMENT + (
        "spec:\n  selector:\n    matchLabels: &labels\n      app: app\n"
        "  template:\n    metadata:\n      labels: *labels\n    spec:\n      containers:\n      - name: app\n"
    )

    after = injected(before)

    assert after.changed == ("Deployment team-a/app",)
    assert after.text == before.replace(
        "      containers:", "      imagePullSecrets:\n      - name: ghcr-secret\n      containers:"
    )


def test_only_the_kinds_asked_for() -> None:
    both = f"{POD}spec: {{}}\n---\n{DEPLOYMENT}spec: {{template: {{spec: {{}}}}}}\n"

    assert injected(both).changed == ("Pod app", "Deployment team-a/app")
    assert inject(Manifest(both), secret=NAME, templates=False).changed == ("Pod app",)


def test_lists_within_lists() -> None:
    before = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: first}
  spec:
    containers: []
- apiVersion: v1
  kind: ConfigMap
  spec: {}
- apiVersion: v1
  kind: List
  items:
    - {apiVersion: v1, kind: Pod, metadata: {generateName: second-}, spec: {containers: []}}
---
apiVersion: v1
kind: PodList
items:
- spec: {imagePullSecrets: [{name: other}]}
- {apiVersion: v1, kind: Secret, spec: {}}
---
apiVersion: apps/v1
kind: DeploymentList
items:
- metadata: {name: third}
  spec: {template: {spec: {imagePullSecrets: null}}}
"""
    after = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: first}
  spec:
    imagePullSecrets:
    - name: ghcr-secret
    containers: []
- apiVersion: v1
  kind: ConfigMap
  spec: {}
- apiVersion: v1
  kind: List
  items:
    - {apiVersion: v1, kind: Pod, metadata: {generateName: second-}, spec: {imagePullSecrets: [{name: ghcr-secret}], containers: []}}
---
apiVersion: v1
kind: PodList
items:
- spec: {imagePullSecrets: [{name: other}, {name: ghcr-secret}]}
- {apiVersion: v1, kind: Secret, spec: {}}
---
apiVersion: apps/v1
kind: DeploymentList
items:
- metadata: {name: third}
  spec: {template: {spec: {imagePullSecrets: [{name: ghcr-secret}]}}}
"""  # noqa: E501  # a manifest is as wide as it is

    changed = ("Pod first", "Pod second-", "Pod without a name", "Deployment third")
    assert injected(before) == Changed(after, changed)


JSON_HEAD = '{\n  "apiVersion": "v1",\n  "kind": "Pod",\n  "spec": {\n    '
JSON = {
    "without spaces": (
        '{"apiVersion":"v1","kind":"Pod","spec":{"hostname":"app"}}',
        '{"apiVersion":"v1","kind":"Pod","spec":{"imagePullSecrets":[{"name":"ghcr-secret"}],"hostname":"app"}}',
    ),
    "in one line": (
        '{"kind": "Pod", "apiVersion": "v1", "spec": {"imagePullSecrets": [{"name": "a"}]}}',
        '{"kind": "Pod", "apiVersion": "v1", "spec": {"imagePullSecrets": [{"name": "a"}, {"name": "ghcr-secret"}]}}',
    ),
    "null": (
        '{"apiVersion":"v1","kind":"Pod","spec":{"imagePullSecrets":null}}',
        '{"apiVersion":"v1","kind":"Pod","spec":{"imagePullSecrets":[{"name":"ghcr-secret"}]}}',
    ),
    "over several lines": (
        JSON_HEAD + '"hostname": "app"\n  }\n}\n',
        JSON_HEAD + '"imagePullSecrets": [{"name": "ghcr-secret"}],\n    "hostname": "app"\n  }\n}\n',
    ),
    "entries over several lines": (
        JSON_HEAD + '"imagePullSecrets": [\n      {\n        "name": "other"\n      }\n    ]\n  }\n}\n',
        JSON_HEAD + '"imagePullSecrets": [\n      {\n        "name": "other"\n      },\n      {"name": "ghcr-secret"}\n'
        "    ]\n  }\n}\n",
    ),
    "tabs": (
        '\t{"apiVersion":\t"v1","kind":"Pod","spec": {\n\t"a":1}}\t',
        '\t{"apiVersion":\t"v1","kind":"Pod","spec": {\n\t"imagePullSecrets": [{"name": "ghcr-secret"}],\n\t"a":1}}\t',
    ),
    "escaped surrogates and slashes, which YAML does not have": (
        r'{"apiVersion":"v1","kind":"Pod","spec":{"a":"\ud83e\udd84\/\\ud83e","imagePullSecrets":[]}}',
        r'{"apiVersion":"v1","kind":"Pod","spec":{"a":"\ud83e\udd84\/\\ud83e","imagePullSecrets":[{"name":"ghcr-secret"}]}}',
    ),
}


@pytest.mark.parametrize(("before", "after"), JSON.values(), ids=JSON)
def test_json(before: str, after: str) -> None:
    assert injected(before) == Changed(after, ("Pod without a name",))
    assert injected(after) == Changed(after, ())
    json.loads(after)


def test_json_documents_may_follow_each_other() -> None:
    befores, afters = zip(*JSON.values(), strict=True)

    assert injected("\n".join(befores)).text == "\n".join(afters)
    assert injected("\ufeff" + "".join(befores)).text == "\ufeff" + "".join(afters)


def test_json_documents_in_a_yaml_stream() -> None:
    befores, afters = zip(*(pair for name, pair in JSON.items() if name != "tabs"), strict=True)

    assert injected("a: b\n---\n" + "\n---\n".join(befores)).text == "a: b\n---\n" + "\n---\n".join(afters)


@pytest.mark.parametrize("secret", ["123", "1e3", "0x1f", "n", "true", "null", "2001-01-01", "a.b-c", 'a"b'])
def test_a_name_is_always_a_string(secret: str) -> None:
    after = inject(Manifest(POD + "spec: {}\n"), secret=secret).text

    assert yaml.safe_load(after)["spec"] == {"imagePullSecrets": [{"name": secret}]}
    assert ('"' in after) == (secret != "a.b-c")


OPTED_OUT = "metadata: {labels: {'pullsecret-webhook/inject': \"disabled\"}}\n"
UNCHANGED = {
    "nothing": "",
    "a comment": "# nothing\n",
    "empty documents": "---\n---\n# nothing\n...\n---\n",
    "no mapping": "- apiVersion: v1\n  kind: Pod\n  spec: {}\n--- text\n--- |\n kind: Pod\n",
    "named already": POD + "spec:\n  imagePullSecrets:\n  - name: other\n  - name: 'ghcr-secret'\n  - name: third\n",
    "named already by an alias": POD + "x: &x [{name: ghcr-secret}]\nspec: {imagePullSecrets: *x}\n",
    "named already by a merge key": POD + "x: &x {imagePullSecrets: [{name: ghcr-secret}]}\nspec: {<<: [*x]}\n",
    "named already by an entry's merge key": POD + "x: &x {name: ghcr-secret}\nspec: {imagePullSecrets: [{<<: *x}]}\n",
    "opted-out pod": f"apiVersion: v1\nkind: Pod\n{OPTED_OUT}spec: {{}}\n",
    "opted-out deployment": f"apiVersion: apps/v1\nkind: Deployment\n{OPTED_OUT}spec: {{template: {{spec: {{}}}}}}\n",
    "opted-out template": f"{DEPLOYMENT}spec:\n  template:\n    {OPTED_OUT}    spec: {{}}\n",
    "mirror pod": "apiVersion: v1\nkind: Pod\n"
    "metadata: {annotations: {kubernetes.io/config.mirror: abc}}\nspec: {containers: []}\n",
    "no spec": POD,
    "spec null": POD + "spec:\n",
    "spec no mapping": POD + "spec: []\n",
    "no template": DEPLOYMENT + "spec: {replicas: 1}\n",
    "template without spec": DEPLOYMENT + "spec: {template: {metadata: {}}}\n",
    "template no mapping": DEPLOYMENT + "spec: {template: [spec: {}]}\n",
    "another group": POD.replace("v1", "apps/v1") + "spec: {}\n",
    "an old deployment": DEPLOYMENT.replace("apps/v1", "extensions/v1beta1") + "spec: {template: {spec: {}}}\n",
    "another kind": DEPLOYMENT.replace("kind: Deployment", "kind: ReplicaSet") + "spec: {template: {spec: {}}}\n",
    "another list": "apiVersion: example.com/v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, spec: {}}]\n",
    "a list without items": "apiVersion: v1\nkind: List\nitems:\n",
    "odd but harmless": "? [a, b]\n: &a !x {*a : *a}\n<<: [*a, {kind: Pod}, text]\n",
    "a key twice, nobody looks": "data:\n  a: 1\n  a: 2\n",
}


@pytest.mark.parametrize("text", UNCHANGED.values(), ids=UNCHANGED)
def test_unchanged(text: str) -> None:
    assert injected(text) == Changed(text, ())


SHARED = "imagePullSecrets cannot be added, because an anchor and its aliases share this part; write the part out"
BY_HAND = "imagePullSecrets cannot be added here by inserting text; write it out as a list with dashes"
UNREADABLE, TOKEN = "neither YAML nor JSON", "while scanning for the next token"
REFUSED = {
    "spec is an alias": (f"x: &x {{a: b}}\n---\nx: &x {{a: b}}\n{POD}spec: *x\n", f"document 2, line 8: {SHARED}"),
    "spec has an alias": (f"{POD}spec: &x {{a: b}}\nx: *x\n", f"document 1, line 5: {SHARED}"),
    "the list is an alias": (f"x: &x []\n{POD}spec:\n  imagePullSecrets: *x\n", f"document 1, line 7: {SHARED}"),
    "the list comes by a merge key": (
        f"x: &x {{imagePullSecrets: }}\n{POD}spec: {{<<: *x}}\n",
        f"document 1, line 1: {SHARED}",
    ),
    "two deployments share a template": (
        "apiVersion: apps/v1\nkind: DeploymentList\nitems: [spec: {template: &t {spec: {}}}, spec: {template: *t}]\n",
        f"document 1, line 3: {SHARED}",
    ),
    "no list": (
        f"{POD}spec:\n  imagePullSecrets: other\n",
        "document 1, line 6: imagePullSecrets is no list; write a list, or leave it out",
    ),
    "a list with neither brackets nor dashes nor colon": (
        f"---\n{POD}spec:\n  a: b\n---\n{POD}spec: {{imagePullSecrets}}\n",
        f"document 2, line 13: {BY_HAND}",
    ),
    "a key twice": (
        f"{POD}spec: {{a: b}}\n'spec': {{}}\n",
        "document 1, line 6: a key stands here twice, first in line 5; remove one",
    ),
    "a key twice in JSON": (
        '{"kind":"Secret"}\n\n{"kind":"Pod",\n"kind":"Secret"}',
        "document 2, line 4: a key stands here twice, first in line 3; remove one",
    ),
    "a merge key twice": (
        f"{POD}<<: {{a: b}}\n<<: {{c: d}}\n",
        "document 1, line 6: a key stands here twice, first in line 5; remove one",
    ),
    "an alias of another document": (
        "a: &a b\n---\na: *a\n",
        "document 2, line 3: an alias without its anchor; anchors do not reach beyond their document",
    ),
    "many declarations of tags": (
        "".join(f"%TAG !a{i}! tag:x,2000:\n" for i in range(101)) + "--- a\n",
        "document 1, line 1: more than 100 lines begin with %TAG; leave them out",
    ),
    "a mapping that merges itself": (
        f"x: &x {{<<: *x}}\n{POD}spec: {{<<: *x}}\n",
        "document 1, line 1: what stands here merges itself (<<); write it out",
    ),
    "a template": (
        f"{POD}spec:\n{{{{ .Values.spec }}}}\n",
        f"document 1, line 7: {UNREADABLE} (while scanning a simple key could not find expected ':'); correct it",
    ),
    "broken JSON": (
        '{"a": "b"}\n{"a": "b"',
        f"document 1, line 2: {UNREADABLE} (did not find expected <document start>); correct it",
    ),
    "a tab": (
        "a:\n\tb: c\n",
        f"document 1, line 2: {UNREADABLE} ({TOKEN} found character that cannot start any token); correct it",
    ),
    "a control character": (
        "a: éé\n---\nc: \x00\n\n\n",
        "document 1, line 3: a character that YAML does not allow; remove it, or write it as an escape",
    ),
    "bytes that are no UTF-8": (
        "a: éé\nc: \udcff\n\n\n",
        "document 1, line 2: a character that YAML does not allow; remove it, or write it as an escape",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as e:
        injected(text)

    assert str(e.value) == message


BOTTOMLESS: dict[str, Callable[[int], str]] = {
    "[": lambda n: "[" * n,
    "- ": lambda n: "- " * n,
    "? ": lambda n: "? " * n,
    "JSON": lambda n: '{"a":' * n + "0" + "}" * n,
    "indented": lambda n: "\n".join(" " * i + "a:" for i in range(n // 50)),
}


@pytest.mark.parametrize("text", BOTTOMLESS.values(), ids=BOTTOMLESS)
@pytest.mark.timeout(5)
def test_depth_is_bounded(text: Callable[[int], str]) -> None:
    with pytest.raises(ManifestError, match="nested deeper than 1000; flatten it"):
        injected(text(100_000))


@pytest.mark.timeout(5)
def test_aliases_are_not_expanded() -> None:
    laughs = "a0: &a0 {ha: ha}\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 100))
    lists = "l0: &l0 {}\n" + "".join(
        f"l{i}: &l{i} {{apiVersion: v1, kind: List, items: [*l{i - 1}, *l{i - 1}]}}\n" for i in range(1, 100)
    )
    merges = "m0: &m0 {m: m}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 100))
    text = f"{laughs}{lists}{merges}<<: *m99\napiVersion: v1\nkind: List\nitems: &items [*l99, *items, {{kind: x}}]\n"

    assert injected(text) == Changed(text, ())
    assert injected(f"{laughs}{merges}{POD}spec:\n  <<: *m99\n").changed == ("Pod app",)


LIST = "apiVersion: v1\nkind: List\n"
POD_ITEM = "- {apiVersion: v1, kind: Pod, spec: {a: b}}\n"
JSON_POD = '{"apiVersion":"v1","kind":"Pod","spec":{"a":1}}'


@pytest.mark.parametrize(
    "text",
    [
        lambda n: LIST + "x:\n" + "".join(f"- &a{i} 1\n- *a{i}\n" for i in range(n)) + f"items:\n{POD_ITEM * n}",
        lambda n: (
            LIST
            + "x: &x\n"
            + "".join(f"  k{i}: 1\n" for i in range(n))
            + "items:\n"
            + "- {<<: *x, kind: Pod, apiVersion: v1, spec: {a: b}}\n" * n
        ),
        lambda n: (
            LIST
            + "x:\n- &e0 {apiVersion: v1, kind: Pod}\n"
            + "".join(f"- &e{i + 1} {{<<: *e{i}}}\n" for i in range(n))
            + "items:\n"
            + f"- {{<<: *e{n}, spec: {{a: b}}}}\n" * n
        ),
        lambda n: (
            LIST
            + "x: &x\n"
            + "- {name: a}\n" * n
            + "- {name: ghcr-secret}\nitems:\n"
            + "- {apiVersion: v1, kind: Pod, spec: {imagePullSecrets: *x}}\n" * n
        ),
        lambda n: LIST + "x: &x\n" + "- {}\n" * n + "items:\n" + "- {apiVersion: v1, kind: List, items: *x}\n" * n,
        lambda n: f'{{"apiVersion":"v1","kind":"List","items":[{",".join([JSON_POD] * n)}]}}',
        lambda n: " " * (50 * n) + f'{{"apiVersion":"v1","kind":"List","items":[{",".join([JSON_POD] * n)}]}}',
        lambda n: JSON_POD * n,
        lambda n: f"---\n{POD}spec:\n  a: b\n" * n,
    ],
    ids=["aliases", "a merge", "merges", "a list", "lists", "a line", "blanks", "JSON", "documents"],
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


def test_titles_are_one_line() -> None:
    assert injected('{apiVersion: v1, kind: Pod, metadata: {name: "a\\nb\\e"}, spec: {}}').changed == (
        r"'Pod a\nb\x1b'",
    )


# What holds for all manifests. `wanted` is the reference model: the same on parsed values.

POD_KIND, DEPLOYMENT_KIND, NO_KIND = ("v1", "Pod"), ("apps/v1", "Deployment"), (None, None)
LISTS = {("v1", "List"): NO_KIND, ("v1", "PodList"): POD_KIND, ("apps/v1", "DeploymentList"): DEPLOYMENT_KIND}


def wanted(value: Any, default: tuple[Any, Any] = NO_KIND) -> Any:
    if not isinstance(value, dict):
        return value
    kind: tuple[Any, Any] = (value.get("apiVersion"), value.get("kind"))
    kind = default if kind == NO_KIND else kind
    for listed, of in LISTS.items():
        if kind == listed and isinstance(value.get("items"), list):
            return value | {"items": [wanted(item, of) for item in value["items"]]}
    if kind == POD_KIND and "kubernetes.io/config.mirror" not in _at(value, "metadata", "annotations"):
        return _with_reference(value)
    if kind == DEPLOYMENT_KIND and not _opted_out(value) and _at(value, "spec", "template"):
        return value | {"spec": value["spec"] | {"template": _with_reference(value["spec"]["template"])}}
    return value


def _with_reference(pod: Any) -> Any:
    spec = pod.get("spec")
    if _opted_out(pod) or not isinstance(spec, dict):
        return pod
    entries = spec.get("imagePullSecrets") or []
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    return pod if NAME in names else pod | {"spec": spec | {"imagePullSecrets": [*entries, {"name": NAME}]}}


def _opted_out(pod: Any) -> bool:
    return bool(_at(pod, "metadata", "labels").get("pullsecret-webhook/inject") == "disabled")


def _at(value: Any, *path: str) -> dict[str, Any]:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


Values = st.SearchStrategy[Any]
WORDS = st.text("abc é🦄:#-'\"\n\t,[]{}&*!|>%@`\\ü", max_size=8) | st.sampled_from(["null", "1", "---", "# no\n"])
SIMPLE_WORDS = st.sampled_from(["app", "web-1", "x.y", "v1"])
RARELY = st.integers(0, 9).map(lambda n: n == 0)


@st.composite
def pods(draw: st.DrawFn, words: st.SearchStrategy[str]) -> dict[str, Any]:
    entry: Values = st.fixed_dictionaries({"name": words | st.just(NAME)}) | st.sampled_from([None, {}])
    container = st.fixed_dictionaries({"name": words, "args": st.lists(words, max_size=2)})
    spec = st.fixed_dictionaries(
        {},
        optional={
            "hostname": words,
            "containers": st.lists(container, max_size=2),
            "imagePullSecrets": st.none() | st.lists(entry, max_size=2),
        },
    )
    labels, annotations = draw(st.lists(st.dictionaries(words, words, max_size=2), min_size=2, max_size=2))
    if draw(RARELY):
        labels["pullsecret-webhook/inject"] = "disabled"
    if draw(RARELY):
        annotations["kubernetes.io/config.mirror"] = "abc"
    odd: Values = st.sampled_from([None, "text", []])
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": draw(odd) if draw(RARELY) else dict(draw(st.permutations(list(draw(spec).items())))),
    }


@st.composite
def objects(draw: st.DrawFn, words: st.SearchStrategy[str]) -> dict[str, Any]:
    kinds = [("v1", "Pod"), ("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("v1", "Secret")]
    api, kind = draw(st.sampled_from(kinds))
    value = draw(pods(words))
    if api == "apps/v1":
        value = {"metadata": {}, "spec": {"replicas": 1, "template": value}}
    return dict(draw(st.permutations([("apiVersion", api), ("kind", kind), *value.items()])))


def documents(words: st.SearchStrategy[str]) -> Values:
    def listed(kind: str, items: Values) -> Values:
        head = {"apiVersion": st.just("v1"), "kind": st.just(kind)}
        return st.fixed_dictionaries({**head, "items": st.lists(items, max_size=3)})

    odd: Values = st.none() | words | st.lists(words, max_size=2)
    return objects(words) | listed("List", objects(words)) | listed("PodList", pods(words)) | odd


class Compact(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class Indented(Compact):
    """Lists to the right of their keys."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


YAML_STYLES = st.fixed_dictionaries(
    {
        "default_flow_style": st.sampled_from([False, True, None]),
        "indent": st.sampled_from([2, 4]),
        "width": st.sampled_from([20, 1000]),
        "Dumper": st.sampled_from([Compact, Indented]),
        "line_break": st.sampled_from(["\n", "\r\n"]),
        "default_style": st.sampled_from([None, '"', "'"]),
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
NULL = re.compile(r"""(imagePullSecrets["']?:\s*)(!!null\s*)?["']?null["']?""")


def as_yaml(value: Any, style: dict[str, Any]) -> str:
    return str(yaml.dump(value, sort_keys=False, explicit_start=True, **style))


def from_yaml(text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def from_json(text: str) -> list[Any]:
    values, text = [], text.strip()
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:].strip()
    return values


def kept(before: str, after: str) -> bool:
    """Whether `after` is `before` with text inserted, at any number of places."""
    characters = iter(after)
    return all(character in characters for character in before)


def kept_but_for_one_place(before: str, after: str) -> bool:
    place = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    return after.endswith(before[place:])


def check(before: str, parsed: Callable[[str], list[Any]] = from_yaml) -> None:
    """Against what the text says: PyYAML does not always write what it was given (`:"" é` in a narrow column)."""
    done = injected(before)

    assert parsed(done.text) == [wanted(value) for value in parsed(before)]
    assert bool(done.changed) == (done.text != before)
    assert kept(NULL.sub(r"\1", before), done.text)
    if len(done.changed) == 1 and not NULL.search(before):
        assert kept_but_for_one_place(before, done.text)
    assert injected(done.text) == Changed(done.text, ())


@given(st.lists(st.tuples(documents(WORDS), YAML_STYLES), max_size=3))
@settings(deadline=None)
def test_any_yaml(documents: list[tuple[Any, dict[str, Any]]]) -> None:
    check("".join(as_yaml(*document) for document in documents))


@given(st.lists(st.tuples(objects(WORDS), JSON_STYLES), max_size=3), st.sampled_from(["", "\n", "\r\n\t"]))
@settings(deadline=None)
def test_any_json(documents: list[tuple[Any, dict[str, Any]]], between: str) -> None:
    before = between.join(json.dumps(value, **style) for value, style in documents)

    check(before, from_json)


@given(documents(SIMPLE_WORDS), YAML_STYLES, st.integers(0, 2**32))
@settings(deadline=None)
def test_any_comments(value: Any, style: dict[str, Any], seed: int) -> None:
    choose = random.Random(seed).choice
    lines = as_yaml(value, style | {"width": 1000, "default_style": None}).splitlines(keepends=True)
    above, behind = ["", "", "# why\n", "      # why\n", "\n"], ["\n", "  # what\n"]

    check("".join(choose(above) + line.rstrip() + choose(behind) for line in lines))


FRAGMENTS = [
    *("\n", "\r\n", "  ", "\t", "- ", "? ", ": ", ", ", "{", "}", "[", "]", "'", '"', "|", ">\n", "#", "~", "null"),
    *("&a ", "*a", "*a ", "<<: *a\n", "!!map ", "!x ", "---\n", "...\n", "%YAML 1.2\n", "a: b\n", '"a":', "{{ a }}"),
    *("\x85", "\u2028", "\ufeff", "\udc80", "\x00", "🦄", "\\ud83e", "apiVersion: v1\n", "kind: Pod\n", "kind: List\n"),
    *("metadata: ", "items: ", "spec: ", "spec:\n", "imagePullSecrets: ", "imagePullSecrets:\n", "- name: x\n"),
]
SEEDS = ["", *(POD + before for before, _ in WRITTEN.values()), *(before for before, _ in JSON.values())]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.sampled_from(FRAGMENTS)), max_size=6),
)
@settings(deadline=None, max_examples=300)
def test_whatever_comes_is_done_right_or_refused(text: str, changes: list[tuple[float, int, str]]) -> None:
    for place, removed, added in changes:
        at = int(place * len(text))
        text = text[:at] + added + text[at + removed :]
    done = done_or_refused(text)
    if done is None:
        return
    assert bool(done.changed) == (done.text != text)
    assert injected(done.text) == Changed(done.text, ())
    with contextlib.suppress(yaml.YAMLError, ValueError, TypeError, RecursionError):
        # ... which the loader has for what it cannot make values of: an unknown tag, a list as a key.
        before, after = from_yaml(text), from_yaml(done.text)
        assert after == [wanted(value) for value in before]


def done_or_refused(text: str) -> Changed | None:
    with contextlib.suppress(ManifestError):
        return injected(text)
    with pytest.raises(ManifestError, match=r"\Adocument \d+, line \d+: .+\Z"):
        injected(text)
    return None


OTHERS = "".join(
    f"---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {kind.lower()}}}\n"
    for api, kind in (
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("v1", "ReplicationController"),
    )
)


def outcomes(text: str, **settings: Any) -> list[tuple[str, str]]:
    found = inject(Manifest(text), secret=NAME, **settings)
    assert (found.text == text) == (not found.changed)
    return [(one.title, one.result) for one in found.outcomes]


def test_of_others_the_pods_get_it_later() -> None:
    assert outcomes(OTHERS) == [
        (f"{kind} {kind.lower()}", "later")
        for kind in ("StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "ReplicationController")
    ]
    deployment = DEPLOYMENT + "spec: {template: {spec: {}}}\n"
    assert outcomes(deployment, templates=False) == [("Deployment team-a/app", "later")]
    assert outcomes(deployment) == [("Deployment team-a/app", "added")]
    assert outcomes(DEPLOYMENT + "spec: {template: {spec: {imagePullSecrets: [{name: ghcr-secret}]}}}\n") == [
        ("Deployment team-a/app", "there")
    ]


def test_what_the_webhook_leaves_alone() -> None:
    pod = POD + "  namespace: {}\nspec: {{}}\n"
    label = "metadata: {name: app, labels: {pullsecret-webhook/inject: disabled}}\n"
    excluded = {"excluded": lambda name: name == "kube-system"}
    assert outcomes(pod.format("kube-system"), **excluded) == [("Pod kube-system/app", "excluded")]
    assert outcomes(POD + "spec: {}\n", namespace="kube-system", **excluded) == [("Pod kube-system/app", "excluded")]
    assert outcomes(POD + "spec: {}\n", namespace="team", **excluded) == [("Pod team/app", "added")]
    assert outcomes(pod.format("team"), namespace="kube-system", **excluded) == [("Pod team/app", "added")]
    assert outcomes(f"apiVersion: v1\nkind: Pod\n{label}spec: {{}}\n") == [("Pod app", "opted out")]
    space = "apiVersion: v1\nkind: Namespace\n"
    nameless = label.replace("name", "generateName")  # says nothing of what names no namespace
    out = Manifest(f"{space}{label}---\n{space}metadata: {{name: b}}\n---\n{space}{nameless}")
    assert (names := namespaces(out).opted_out) == {"app"}
    assert outcomes(pod.format("app"), opted_out=names) == [("Pod app/app", "opted out")]
    assert outcomes(pod.format("b"), opted_out=names) == [("Pod b/app", "added")]


TWICE = {
    "a kind": "apiVersion: v1\nkind: ConfigMap\ndata: {}\ndata: {}\n",
    "JSON": '{"kind":"X","a":1,"a":2}\n',
    "no kind": "a: 1\na: 2\n",
}


@pytest.mark.parametrize("twice", TWICE.values(), ids=TWICE)
def test_a_key_twice_in_another_kind_refuses_nothing(twice: str) -> None:
    before = f"{twice}---\n{POD}spec:\n  a: b\n"
    after = before.replace("spec:\n", "spec:\n  imagePullSecrets:\n  - name: ghcr-secret\n")
    assert injected(before) == (after, ("Pod app",))


OURS = {
    "two kinds": "kind: Pod\nkind: ConfigMap\n",
    "another key": "kind: Pod\napiVersion: v1\na: 1\na: 2\n",
    "merged": "x: &x {kind: Pod, apiVersion: v1}\n<<: *x\na: 1\na: 2\n",
    "an item of a list": "apiVersion: v1\nkind: PodList\nitems: [{spec: {}, spec: {a: b}}]\n",
}


@pytest.mark.parametrize("twice", OURS.values(), ids=OURS)
def test_a_key_twice_in_what_may_be_ours_is_refused(twice: str) -> None:
    with pytest.raises(ManifestError, match="a key stands here twice"):
        injected(twice)
