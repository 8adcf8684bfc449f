"""Somebody else's mutating webhook: a small HTTPS server that rewrites imagePullSecrets in one way or another."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from controlplane.api import Object
from controlplane.cluster import ControlPlane

Rewrite = Callable[[list[str]], list[str]]
"""From the names in a pod's list to the names that are to be there."""


class Mutator:
    """`calls`: how often it was asked about a pod or a Deployment."""

    def __init__(self, rewrite: Rewrite) -> None:
        self.rewrite, self.calls = rewrite, 0
        self._lock = threading.Lock()

    def answer(self, review: Object) -> Object:
        with self._lock:
            self.calls += 1
        request = review["request"]
        spec, path = request["object"]["spec"], "/spec"
        if request["kind"]["kind"] == "Deployment":
            spec, path = spec["template"]["spec"], "/spec/template/spec"
        listed = spec.get("imagePullSecrets") or []
        wanted = [{"name": name} for name in self.rewrite([one["name"] for one in listed])]
        response: Object = {"uid": request["uid"], "allowed": True}
        if wanted != listed:
            patch = [{"op": "add", "path": f"{path}/imagePullSecrets", "value": wanted}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}


@contextmanager
def mutating(
    cluster: ControlPlane, name: str, rewrite: Rewrite, *, again: bool, labels: dict[str, str]
) -> Iterator[Mutator]:
    """Registered for pods and Deployments (their updates too) in the namespaces with these labels. The API server asks
    webhooks in the order of `name`.

    `again`: is it asked once more when a later one has changed the object?
    """
    mutator = Mutator(rewrite)
    pair = cluster.pki.server(name, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(mutator))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    cluster.api.create(_registration(cluster, name, server.server_address[1], labels, again=again))
    try:
        yield mutator
    finally:
        cluster.api.delete("MutatingWebhookConfiguration", name)
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(mutator: Mutator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the name that http.server calls
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = json.dumps(mutator.answer(json.loads(body))).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _registration(cluster: ControlPlane, name: str, port: int, labels: dict[str, str], *, again: bool) -> Object:
    entry = {
        "name": f"{name}.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
        "reinvocationPolicy": "IfNeeded" if again else "Never",
        "namespaceSelector": {"matchLabels": labels},
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/",
            "caBundle": base64.b64encode(cluster.ca.read_bytes()).decode(),
        },
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
            {
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["deployments"],
            },
        ],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [entry],
    }
