"""`pullsecret registry-auth serve` as a process of its own, with the files that an administrator makes for it."""

import hashlib
import json
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT
from typing import Any

import httpx
import jwt

from controlplane.pki import Pki
from controlplane.ports import free_port
from controlplane.process import Child
from support.signing import key_file, public_file
from webhook.issuers.registry.signingkeys import SigningKey, read_key

BUILDER = "builder"
QUICK = """
from certs import files
from webhook import cli
files.LOOK_SECONDS = 0.2
cli.main()
"""
"""A renewed certificate is served sooner."""


@dataclass(frozen=True)
class TokenEndpoint:
    """`model`: the issuer in its configuration, with which an issuer signs passwords. Who pushes is BUILDER, with
    `password`.
    """

    folder: Path
    registry: str
    url: str
    ca: Path
    model: dict[str, Any]
    password: str = field(repr=False)
    child: Child

    @property
    def realm(self) -> str:
        return f"{self.url}/token"

    @property
    def log(self) -> str:
        return self.child.log.read_text()

    def client(self, **options: Any) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.ca)
        return httpx.Client(base_url=self.url, verify=context, trust_env=False, timeout=10, **options)

    @property
    def key_file(self) -> Path:
        """Of the issuer, for passwords; the token service does not read it."""
        return Path(self.model["keyFile"])

    @property
    def token_key_file(self) -> Path:
        return Path(self.model["tokenService"]["keyFile"])

    @property
    def key(self) -> SigningKey:
        return read_key(self.key_file)

    @property
    def token_key(self) -> SigningKey:
        return read_key(self.token_key_file)

    def takes_passwords_of(self, *keys: Path) -> None:
        """It is told the public parts of these key files."""
        file = Path(self.model["tokenService"]["passwordKeysFile"])
        Path(public_file(file.with_suffix(".next"), *map(str, keys))).replace(file)  # never read half-written

    def wait(self) -> None:
        self.child.until(self._answers, "the token endpoint answers", within=20)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, name: str, password: str, *scopes: str, **more: str) -> httpx.Response:
        with self.client() as client:
            query = {"service": self.registry, "scope": list(scopes), **more}
            return client.get("/token", params=query, auth=(name, password))

    def post(self, name: str, password: str, *scopes: str, **more: str) -> httpx.Response:
        """As containerd does."""
        login = {"grant_type": "password", "username": name, "password": password}
        with self.client() as client:
            return client.post("/token", data={"service": self.registry, "scope": " ".join(scopes), **login, **more})

    def granted(self, answer: httpx.Response) -> dict[str, list[str]]:
        """Actions by repository, as the token says."""
        assert answer.status_code == 200, answer.text
        claims = jwt.decode(answer.json()["token"], options={"verify_signature": False})
        return {one["name"]: one["actions"] for one in claims["access"]}


@contextmanager
def serving(
    folder: Path, registry: str, password: str, *, plain: bool = False, pki: Pki | None = None, pushers: str = ""
) -> Iterator[TokenEndpoint]:
    """`password`: of BUILDER. `pki`: of the CA that its certificate is to be from. `pushers`: what the file has in
    place of BUILDER.
    """
    pki, port = pki or Pki(folder / "pki"), free_port()
    pair = pki.server("token-service", "127.0.0.1", "localhost")
    key, token_key = key_file(folder / "key.pem"), key_file(folder / "token-key.pem")
    digest = hashlib.sha256(password.encode()).hexdigest()
    (folder / "pushers").write_text(pushers or f"# who builds\n{BUILDER} {digest} *\n")
    model = {
        "issue": "registry",
        "registry": registry,
        "repositories": "project-{owner}",
        "keyFile": key,
        "tokenService": {
            "keyFile": token_key,
            "passwordKeysFile": public_file(folder / "password-keys.json", key),
            "pushersFile": str(folder / "pushers"),
        },
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps({"issuers": [model]}))
    tls = ["--plain"] if plain else ["--tls-cert", pair.certificate, "--tls-key", pair.key]
    listens = ["--address", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-c", QUICK, "registry-auth", "serve", "--config", config, *listens, *tls]
    url = f"{'http' if plain else 'https'}://127.0.0.1:{port}"
    with Child("token endpoint", command, log=folder / "token-endpoint.log", stop_signal=SIGINT) as child:
        endpoint = TokenEndpoint(folder, registry, url, pki.ca, model, password, child)
        endpoint.wait()
        yield endpoint
