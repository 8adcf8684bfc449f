"""Patches add references, nothing else, and one that would do something else is never sent."""

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core import patch
from webhook.core.names import IMAGES
from webhook.core.patch import FIELD, Operation, PatchDoesNotApply, add_references, new_names

POD, TEMPLATE = ("spec",), ("spec", "template", "spec")
A, B, C = {"name": "a"}, {"name": "b"}, {"name": "c"}


@pytest.mark.parametrize(
    ("present", "missing", "at", "operations"),
    [
        (None, [], POD, []),
        (["a"], [], POD, []),
        (None, ["a"], POD, [{"op": "add", "path": "/spec/imagePullSecrets", "value": [A]}]),
        (None, ["a", "b"], POD, [{"op": "add", "path": "/spec/imagePullSecrets", "value": [A, B]}]),
        ([], ["a"], POD, [{"op": "add", "path": "/spec/imagePullSecrets/-", "value": A}]),
        ([None], ["a"], POD, [{"op": "add", "path": "/spec/imagePullSecrets/-", "value": A}]),
        (
            ["a"],
            ["b", "c"],
            TEMPLATE,
            [
                {"op": "add", "path": "/spec/template/spec/imagePullSecrets/-", "value": B},
                {"op": "add", "path": "/spec/template/spec/imagePullSecrets/-", "value": C},
            ],
        ),
    ],
)
def test_operations(
    present: list[str | None] | None, missing: list[str], at: tuple[str, ...], operations: list[Operation]
) -> None:
    assert add_references(present, missing, at) == operations


NAMES = st.text(max_size=5)


@given(
    st.none() | st.lists(st.none() | NAMES, max_size=4), st.lists(NAMES, max_size=3), st.sampled_from([POD, TEMPLATE])
)
def test_what_is_there_stays_and_what_is_missing_follows(
    present: list[str | None] | None, missing: list[str], at: tuple[str, ...]
) -> None:
    inner: dict[str, Any] = {"other": [1]}
    if present is not None:
        inner[FIELD] = [{"name": name} if name is not None else None for name in present]
    whole: dict[str, Any] = {"spec": inner} if at == POD else {"spec": {"template": {"spec": inner}}}
    after = jsonpatch.apply_patch(whole, add_references(present, missing, at))
    if missing:
        inner[FIELD] = inner.get(FIELD, []) + [{"name": name} for name in missing]
    assert json.dumps(after) == json.dumps(whole)


ADD: Operation = {"op": "add", "path": "/spec/imagePullSecrets/-", "value": B}
REMOVE: Operation = {"op": "remove", "path": "/spec/imagePullSecrets", "value": None}


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [ADD, ADD],
        [REMOVE],
        [{**ADD, "value": C}],
        [{**ADD, "value": "b"}],
        [{**ADD, "value": {}}],
        [{**ADD, "path": "/spec/imagePullSecrets/0"}],
        [{**ADD, "path": "/spec/imagePullSecrets/7"}],
        [{**ADD, "path": "/other/x"}],
        [{**ADD, "path": "/spec/imagePullSecrets", "value": [B]}],
        [{**ADD, "path": "/spec/imagePullSecrets", "value": None}],
        [{**ADD, "path": "/spec", "value": {}}],
        [{**ADD, "path": "/spec", "value": None}],
        [{**ADD, "op": "test"}],
        [{**ADD, "op": "append"}],
    ],
    ids=str,
)
def test_operations_that_do_something_else_are_refused(operations: list[Operation]) -> None:
    patch._prove([ADD], ["a"], ["b"], POD)
    with pytest.raises(PatchDoesNotApply):
        patch._prove(operations, ["a"], ["b"], POD)


@pytest.mark.parametrize(
    "result", [None, {}, {"spec": None}, {"spec": {FIELD: None}}, {"spec": {FIELD: [None]}}, {"spec": {FIELD: [B, A]}}]
)
def test_an_unexpected_result_is_no_patch(result: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonpatch, "apply_patch", lambda *_: result)
    with pytest.raises(PatchDoesNotApply) as error:
        add_references(["a"], ["b"], POD)
    assert str(error.value) in {"unexpected result", "TypeError", "KeyError"}


@pytest.mark.parametrize(
    ("originals", "annotated", "operations"),
    [
        ("", False, []),
        ("{}", False, [{"op": "add", "path": "/metadata/annotations", "value": {IMAGES: "{}"}}]),
        ("{}", True, [{"op": "add", "path": "/metadata/annotations/pullsecret-webhook~1images", "value": "{}"}]),
    ],
)
def test_images_get_names(originals: str, annotated: bool, operations: list[Operation]) -> None:
    names = [("/spec/containers/1/image", "a"), ("/spec/volumes/0/image/reference", "b")]
    replaced = [{"op": "replace", "path": path, "value": name} for path, name in names]
    assert new_names(names, originals, annotated=annotated) == [*replaced, *operations]


@pytest.mark.parametrize("path", ["/spec/containers/0/name", "/spec/containers/x/image", "/spec/containers/-/image"])
def test_no_other_field_is_ever_replaced(path: str) -> None:
    with pytest.raises((PatchDoesNotApply, ValueError)):
        new_names([(path, "a")], "", annotated=False)
