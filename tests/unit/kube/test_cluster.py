"""What a request to the API server has of the login: of a kubeconfig's user, or of the pod's service account."""

import asyncio
import json
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from kubernetes.aio.config import incluster_config

from support import planted
from webhook.kube.cluster import MERGE_PATCH, Cluster

OURS = {"accept", "content-type", "user-agent"}
"""Headers of each request."""


async def _headers(folder: Path, kubeconfig: dict[str, Any] | None, as_user: str | None = None) -> dict[str, str]:
    """Of one request, but for those of HTTP itself. `kubeconfig`: its user; None: in a pod."""
    ca, context, seen = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), dict[str, str]()
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]:
            name, _, value = line.partition(": ")
            seen[name.lower()] = value
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        whole = {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [
                {
                    "name": "x",
                    "cluster": {"server": f"https://{address}", "certificate-authority": str(folder / "ca.crt")},
                }
            ],
            "users": [{"name": "x", "user": kubeconfig}],
        }
        file = folder / "kubeconfig"
        file.write_text(json.dumps(whole))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            patch.setenv("KUBERNETES_SERVICE_PORT", address.partition(":")[2])
            patch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
            patch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
            async with Cluster.connect(None if kubeconfig is None else str(file), as_user=as_user) as cluster:
                assert await cluster.call("GET", "/version") == b"{}"
                assert cluster.address == f"https://{address}"
    assert seen.keys() >= OURS
    assert seen["user-agent"] == "pullsecret-webhook"
    return {name: value for name, value in seen.items() if name not in OURS | {"host", "accept-encoding"}}


def test_of_a_user_with_a_token(tmp_path: Path) -> None:
    token = planted.token()
    sent = asyncio.run(_headers(tmp_path, {"token": token}))
    assert sent == {"authorization": f"Bearer {token}"}


def test_of_a_user_without_one(tmp_path: Path) -> None:
    assert asyncio.run(_headers(tmp_path, {})) == {}


def test_of_another_user_in_whose_name_it_is_asked(tmp_path: Path) -> None:
    token = planted.token()
    sent = asyncio.run(_headers(tmp_path, {"token": token}, as_user="system:serviceaccount:a:b"))
    assert sent == {"authorization": f"Bearer {token}", "impersonate-user": "system:serviceaccount:a:b"}


def test_of_the_pods_service_account(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(token := planted.token())
    assert asyncio.run(_headers(tmp_path, None)) == {"authorization": f"bearer {token}"}


@pytest.mark.parametrize("body", [{"a": ["b", None]}, b'{"a":["b",null]}'])
def test_a_body_of_bytes_is_sent_as_it_is(tmp_path: Path, body: object) -> None:
    """It is JSON already, and its length is that of the bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = re.search(rb"content-length: (\d+)", (await reader.readuntil(b"\r\n\r\n")).lower())
        assert length
        sent = await reader.readexactly(int(length[1]))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %b\r\n\r\n%b" % (length[1], sent))
        writer.close()

    async def sent() -> bytes:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            file = tmp_path / "kubeconfig"
            whole = {
                "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "x", "user": {}}],
            }
            file.write_text(json.dumps(whole))
            async with Cluster.connect(str(file)) as cluster:
                return await cluster.call("PATCH", "/x", body=body, content_type=MERGE_PATCH)

    assert json.loads(asyncio.run(sent())) == {"a": ["b", None]}
