"""Objects that the API server takes and nobody needs."""

import json
from collections.abc import Sequence

from controlplane.api import Api, Object
from controlplane.kinds import resource
from controlplane.objects import SECRET

DEEPEST = 9_990
"""As deep as the API server takes managedFields."""
MANY_NAMES = 4_290
"""As many short ones as fit into 64 KiB of a list of references."""
_FIELDS = "FIELDS-COME-HERE"


def deep(kind: str, name: str, namespace: str | None, depth: int = DEEPEST) -> bytes:
    """A new object whose managedFields nest so deep."""
    return _with_fields(kind, name, namespace, '{"f:a":' * depth + "{}" + "}" * depth)


def large(kind: str, name: str, namespace: str | None, size: int = 1_300_000) -> bytes:
    """A new object with so many bytes of managedFields."""
    return _with_fields(kind, name, namespace, '{"f:' + "a" * size + '":{}}')


def _with_fields(kind: str, name: str, namespace: str | None, fields: str) -> bytes:
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": _FIELDS}
    metadata = {"name": name, "managedFields": [entry]} | ({"namespace": namespace} if namespace else {})
    whole = json.dumps({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    return whole.replace(f'"{_FIELDS}"', fields).encode()


def create(api: Api, kind: str, namespace: str | None, body: bytes) -> None:
    api.raw("POST", resource(kind).path(namespace), content=body, headers={"Content-Type": "application/json"})


def account(namespace: str, name: str, pull_secrets: Sequence[str] = (), **metadata: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "imagePullSecrets": [{"name": one} for one in pull_secrets],
    }


def secret(namespace: str, data: Object | None = None, **metadata: object) -> Object:
    """One of our name."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace, **metadata},
        "data": data or {},
    }


def numbered(count: int) -> list[str]:
    """Short names, all different: as many as possible in so many bytes."""
    return [f"{number:x}" for number in range(count)]
