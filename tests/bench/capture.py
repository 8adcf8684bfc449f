"""Writes review.json: what the real API server sends for the pod of a Deployment that looks like one in use.

PYTHONPATH=tests .venv/bin/python tests/bench/capture.py
"""

import json
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from controlplane.cluster import ControlPlane
from controlplane.pki import Pki
from controlplane.waiting import until

REVIEW = Path(__file__).with_name("review.json")
NAMESPACE = "bench"


def container(name: str, **more: Any) -> dict[str, Any]:
    probe = {"httpGet": {"path": f"/{name}/healthz", "port": "http"}, "periodSeconds": 10}
    return {
        "name": name,
        "image": f"ghcr.io/example/{name}:1.42.0",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "PUBLIC_URL", "value": "https://shop.example.com"},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "DATABASE_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "shop-database", "key": "password"}}},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "livenessProbe": probe,
        "readinessProbe": probe,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/shop", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def deployment() -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "shop"}
    spec = {
        "containers": [container("shop")],
        "volumes": [{"name": "config", "configMap": {"name": "shop-config"}}, {"name": "tmp", "emptyDir": {}}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "web", "effect": "NoSchedule"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true"}}, "spec": spec},
        },
    }


@contextmanager
def recording(pki: Pki) -> Iterator[tuple[int, list[bytes]]]:
    """A webhook that allows everything: its port, and the bodies it was sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            uid = json.loads(bodies[-1])["request"]["uid"]
            answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer | {"response": {"uid": uid, "allowed": True}}).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name too
            pass

    pair = pki.server("recorder", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, bodies
        server.shutdown()


def registration(port: int, ca: Path) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "recorder"},
        "webhooks": [
            {
                "name": "recorder.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}/mutate",
                    "caBundle": b64encode(ca.read_bytes()).decode(),
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }
        ],
    }


def capture() -> bytes:
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane.start(Path(folder)) as cluster,
        recording(cluster.pki) as (port, bodies),
    ):
        cluster.namespace(NAMESPACE, labels={"pullsecret-webhook/owner": "alice"})
        cluster.api.create(registration(port, cluster.ca))
        until(lambda: _called(cluster, bodies), "the API server calls the recorder", within=20)
        seen = len(bodies)
        cluster.api.create(deployment())
        until(lambda: len(bodies) > seen, "the Deployment has its pod", within=20)
        return bodies[seen]


def _called(cluster: ControlPlane, bodies: list[bytes]) -> bool:
    probe = {
        "metadata": {"name": "probe", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "c", "image": "c"}]},
    }
    cluster.api.create({"apiVersion": "v1", "kind": "Pod"} | probe, dry_run=True)
    return bool(bodies)


if __name__ == "__main__":
    REVIEW.write_bytes(capture())
    print(f"{REVIEW}: {REVIEW.stat().st_size} bytes")
