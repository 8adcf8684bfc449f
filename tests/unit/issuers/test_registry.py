"""Pull passwords for the platform's own registry: whom they name, what they open, and with which keys."""

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from certs.pem import encode_key
from support import planted
from support.issuercontract import Contract
from support.issuerplace import Place, config_refused, the_one
from support.signing import Kind, key_file, public_file
from webhook.config import reading
from webhook.config.issuers.registry import RegistryIssuer, TokenService
from webhook.config.models import Config
from webhook.config.reading import ConfigError
from webhook.core.credential import Credential
from webhook.core.dockerconfig import parse, render
from webhook.core.registry import matching
from webhook.core.registryscope import PULL, Right, Scope
from webhook.issuers import IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.configured import configured
from webhook.issuers.names import repositories
from webhook.issuers.registry.pullpassword import (
    MAX_CHARS,
    NotGood,
    NotSigned,
    PullPassword,
    pull_password,
    read,
    signed,
)
from webhook.issuers.registry.signingkeys import (
    KeyUnusable,
    PublicKey,
    SigningKey,
    jwks,
    public_keys,
    read_key,
    read_public_keys,
    signing_key,
)
from webhook.registryauth.tokens import Login, Tokens

REGISTRY = "registry.example.com"
HOUR = timedelta(hours=1)
SERVICE = {"keyFile": "/t.pem", "passwordKeysFile": "/p.json"}
RFC_7638_LIKE = '{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
"""The key of RFC 8037, appendix A.3."""


def issued(owner: str, **keys: Any) -> Minted:
    model = {"issue": "registry", "registry": REGISTRY, "repositories": "project-{owner}", **keys}
    issuer = configured(reading.convert({"issuers": [model]}).issuers[0], Config(), lambda: "")

    async def fence() -> None:
        raise AssertionError("nobody is asked, so nothing is fenced")

    return asyncio.run(issuer.issue(owner, 1, fence))


def published(*files: str) -> Callable[[], Mapping[str, PublicKey]]:
    """What the token service reads of these key files."""
    return public_keys(public_file(Path(files[0]).with_name("published.json"), *files))


@pytest.fixture
def file(tmp_path: Path) -> str:
    return key_file(tmp_path / "key.pem")


class OwnRegistry(Place):
    life = 24 * HOUR

    def __init__(self, file: str, repositories: str) -> None:
        self.keys = {"repositories": repositories, "keyFile": file}
        self.model = RegistryIssuer(registry=REGISTRY, repositories=repositories, key_file=file)
        public = public_file(Path(file).with_name("keys.json"), file)
        service = TokenService(key_file="/not-asked-for.pem", password_keys_file=public)
        self.issuer, self.tokens = self.again(), Tokens(REGISTRY, service)

    @property
    def usual(self) -> dict[str, Any]:
        return {"issue": "registry", "registry": REGISTRY}

    def made(self) -> Any:
        """Nothing is kept anywhere."""

    def logs_in_wrongly(self) -> None:
        Path(self.model.key_file).write_text("no key")

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        name = f"{repositories(self.model.repositories, owner)}/app"
        login = self.tokens.login(*c.login)
        sent = bool(matching([c.registry], f"{REGISTRY}/{name}"))
        allowed = bool(login.right.of([Scope(name, (PULL,))]))
        assert sent == allowed  # the kubelet sends it for what it opens
        return allowed


@pytest.mark.parametrize("repositories", ["{owner}", "project-{owner}", "{owner}/images"])
class TestContract(Contract):
    @pytest.fixture(autouse=True)
    def _place(self, file: str, repositories: str) -> None:
        self.place = OwnRegistry(file, repositories)

    @asynccontextmanager
    async def at(self) -> AsyncIterator[Place]:
        yield self.place


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_a_password_for_an_owner(tmp_path: Path, kind: Kind) -> None:
    file = key_file(tmp_path / "key.pem", kind)
    minted = issued("alice", keyFile=file, hours=2)
    credential = the_one(minted)
    assert (minted.life, minted.handle) == (2 * HOUR, "")
    assert (credential.registry, credential.username) == (f"{REGISTRY}/project-alice/", "project-alice")
    key = read_key(Path(file)).public
    header = jwt.get_unverified_header(credential.password)
    assert header == {"alg": "EdDSA" if kind == "ed25519" else "ES256", "kid": key.id, "typ": "JWT"}
    claims = jwt.decode(credential.password, options={"verify_signature": False})
    now = datetime.now(UTC).timestamp()
    assert {name: claims[name] for name in ("iss", "aud", "sub")} == {
        "iss": REGISTRY,
        "aud": "pull",
        "sub": "project-alice",
    }
    assert claims["exp"] - claims["iat"] == 2 * 3600
    assert abs(claims["iat"] - now) < 5
    found = read(credential.password, published(file), REGISTRY)
    assert found == PullPassword("project-alice", datetime.fromtimestamp(claims["exp"], UTC))


def test_the_kubelet_sends_it_for_the_owners_repositories_alone(file: str) -> None:
    credential = the_one(issued("alice", keyFile=file))
    (written,) = parse(render([credential])).credentials
    assert written.login == credential.login
    for image, sent in {
        f"{REGISTRY}/project-alice/app:1": True,
        f"{REGISTRY}/project-alice/a/b@sha256:{'0' * 64}": True,
        f"{REGISTRY}/project-alice2/app:1": False,
        f"{REGISTRY}/project-alice:1": False,
        f"{REGISTRY}/project-bob/app:1": False,
        "ghcr.io/project-alice/app:1": False,
    }.items():
        assert bool(matching([written.registry], image)) == sent


@pytest.mark.parametrize("owner", ["v1", "v2", "a.b", "a_b", "a--b", "7"])
@pytest.mark.parametrize("template", ["{owner}", "teams/{owner}", "{owner}/images", "p-{owner}-x"])
def test_every_name_that_fits_comes_back_as_it_was_written(file: str, owner: str, template: str) -> None:
    credential = the_one(issued(owner, keyFile=file, repositories=template))
    (written,) = parse(render([credential])).credentials
    assert (written.registry, written.login) == (credential.registry, credential.login)
    below = template.replace("{owner}", owner)
    assert matching([written.registry], f"{REGISTRY}/{below}/app:1")
    assert not matching([written.registry], f"{REGISTRY}/{below}x/app:1")


@pytest.mark.parametrize(
    "owner",
    [
        "Alice",
        "alice@example.com",
        "kube:admin",
        "a b",
        "a..b",
        "a/b",
        "a/../b",
        "../b",
        ".",
        "-",
        "",
        "a\n",
        "ä",
        "a" * 256,
    ],
)
def test_an_owner_that_is_no_part_of_a_name_is_refused(file: str, owner: str) -> None:
    with pytest.raises(IssueRefused, match=r"cannot be part of a repository's name.*give the owner such a name") as e:
        issued(owner, keyFile=file)
    assert not e.value.everybody


OWNERS = st.text("ab.-_/A0", max_size=6)


@given(OWNERS, OWNERS, st.sampled_from(["{owner}", "project-{owner}", "{owner}-x", "t/{owner}", "{owner}/t"]))
def test_two_owners_never_share_a_repository(one: str, other: str, template: str) -> None:
    try:
        first, second = repositories(template, one), repositories(template, other)
    except IssueRefused:
        return
    if one != other:
        assert not f"{first}/".startswith(f"{second}/")
        assert not f"{second}/".startswith(f"{first}/")


def test_the_thumbprint_is_that_of_the_standard(tmp_path: Path) -> None:
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = Ed25519PrivateKey.from_private_bytes(secret)
    (tmp_path / "key.pem").write_bytes(encode_key(key))
    found = read_key(tmp_path / "key.pem").public
    assert json.loads(RFC_7638_LIKE) == found.members
    assert found.id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_the_set_of_keys_has_their_public_parts_alone(tmp_path: Path, kind: Kind) -> None:
    key = read_key(Path(key_file(tmp_path / "key.pem", kind)))
    (found,) = json.loads(jwks([key.public]))["keys"]
    members = {"kty", "crv", "x", "kid", "alg", "use"} | ({"y"} if kind == "p256" else set())
    assert {*found} == members
    password = pull_password(key, REGISTRY, "a", HOUR)
    verified = jwt.decode(password, jwt.PyJWK(found), algorithms=[key.public.algorithm], audience="pull")
    assert verified["sub"] == "a"


def test_a_key_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    file = key_file(tmp_path / "key.pem")
    read_now = signing_key(file)
    before = read_now()
    assert read_now() is before
    key_file(tmp_path / "next.pem")
    (tmp_path / "next.pem").replace(file)
    assert read_now().public.id != before.public.id


def test_the_next_key_signs_and_the_last_one_is_still_good(tmp_path: Path) -> None:
    old, new = key_file(tmp_path / "old.pem"), key_file(tmp_path / "new.pem", "p256")
    before, after = (the_one(issued("alice", keyFile=file)).password for file in (old, new))
    with pytest.raises(NotGood, match="signed with no key for passwords of this registry"):
        read(after, published(old), REGISTRY)  # so it is published before it signs
    both = published(old, new)
    for password in (before, after):
        assert read(password, both, REGISTRY).below == "project-alice"
    with pytest.raises(NotGood, match="signed with no key for passwords of this registry"):
        read(before, published(new), REGISTRY)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b"PLANTED", "holds no PEM private key"),
        (b"-----BEGIN PRIVATE KEY-----\nUExBTlRFRA==\n-----END PRIVATE KEY-----\n", "holds no PEM private key"),
        ("p384", "has a private key of another kind; make one with openssl genpkey"),
        ("encrypted", "is encrypted"),
    ],
)
def test_a_key_that_cannot_be_read(tmp_path: Path, content: bytes | str | None, why: str) -> None:
    file = tmp_path / "key.pem"
    if content == "p384":
        key_file(file, "p384")
    elif content == "encrypted":
        own = Ed25519PrivateKey.generate()
        file.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"PLANTED")))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(IssuerUnavailable) as e:
        issued("alice", keyFile=str(file))
    said = str(e.value)
    assert str(file) in said
    assert why in said
    assert "PLANTED" not in said
    assert "UExBTlRFRA" not in said


def jwk(tmp_path: Path, **changed: str) -> str:
    key = read_key(Path(key_file(tmp_path / "key.pem", "p256"))).public
    return json.dumps({"keys": [{**key.jwk, **changed}]})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        ("", "is no JSON Web Key Set; write what pullsecret registry-auth jwks prints"),
        ("[]", "is no JSON Web Key Set"),
        ("PLANTED", "is no JSON Web Key Set"),
        (b'{"keys": [{"\xff": "PLANTED"}]}', "is no JSON Web Key Set"),
        ('{"keys": ["PLANTED"]}', "is no JSON Web Key Set"),
        ('{"keys": [{"kty": 1}]}', "is no JSON Web Key Set"),
        ('{"keys": ' + "[" * 60_000, "is no JSON Web Key Set"),
        ('{"keys": []}', "has no key"),
        ('{"keys": [{}]}', "has a key that is neither Ed25519 nor P-256"),
        ('{"keys": [{"kty": "oct", "k": "PLANTED"}]}', "has a key that is neither Ed25519 nor P-256"),
        ('{"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AAAA"}]}', "has a key that is neither Ed25519 nor P-256"),
        ('{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "PLANTED"}]}', "neither Ed25519 nor P-256"),
        ({"x": "A" * 43}, "has a key that is neither Ed25519 nor P-256"),  # which is no point of the curve
        ({"crv": "P-384"}, "has a key that is neither Ed25519 nor P-256"),
        ({"x": "ä"}, "has a key that is neither Ed25519 nor P-256"),
        ({"d": "PLANTED"}, "has a private key, which must not be there"),
    ],
)
def test_public_keys_that_cannot_be_read(
    tmp_path: Path, content: bytes | str | dict[str, str] | None, why: str
) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        text = jwk(tmp_path, **content) if isinstance(content, dict) else content
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KeyUnusable, match=why) as e:
        read_public_keys(file)
    assert str(file) in str(e.value)
    assert "PLANTED" not in str(e.value)


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: json.dumps({"keys": [{"kty": text}]}).encode()))
def test_whatever_is_in_the_file_of_public_keys(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "keys.json"
    file.write_bytes(content)
    with pytest.raises(KeyUnusable):
        read_public_keys(file)


def test_what_a_key_is_called_follows_from_the_key(tmp_path: Path) -> None:
    """So nobody makes one key pass for another by its kid."""
    (tmp_path / "keys.json").write_text(jwk(tmp_path, kid="other", alg="none"))
    (found,) = read_public_keys(tmp_path / "keys.json").items()
    own = read_key(tmp_path / "key.pem").public
    assert (found[0], found[1].id, found[1].algorithm) == (own.id, own.id, "ES256")


def test_the_key_of_the_token_service_signs_no_password(file: str, tmp_path: Path) -> None:
    """Whatever it says of itself; and what it signs for the registry is no password."""
    keys, key, of_tokens = published(file), read_key(Path(file)), read_key(Path(key_file(tmp_path / "token.pem")))
    tokens = Tokens(REGISTRY, TokenService(key_file=str(tmp_path / "token.pem"), password_keys_file=str(file)))
    token = tokens.token(Login("project-alice", Right("project-alice", frozenset({PULL}))), ())
    for password, why in {
        pull_password(of_tokens, REGISTRY, "project-alice", HOUR): "signed with no key for passwords",
        pull_password(SigningKey(of_tokens.private, key.public), REGISTRY, "a", HOUR): "its signature is wrong",
        token: "signed with no key for passwords",
    }.items():
        with pytest.raises(NotGood, match=why):
            read(password, keys, REGISTRY)


def another(part: str) -> str:
    """With another character in it; the last ones need not count in base64."""
    return part[:8] + ("B" if part[8] == "A" else "A") + part[9:]


def test_passwords_that_open_nothing(file: str, tmp_path: Path) -> None:
    keys, key, other = published(file), read_key(Path(file)), read_key(Path(key_file(tmp_path / "other.pem")))
    own = {"kid": key.public.id}
    claims = {"iss": REGISTRY, "aud": "pull", "sub": "project-alice"}
    good = signed(key, claims, HOUR)
    assert read(good, keys, REGISTRY).below == "project-alice"
    head, body, signature = good.split(".")
    now = datetime.now(UTC)
    times = {"iat": now, "exp": now + HOUR}

    def made(**header: Any) -> str:
        return jwt.encode({**claims, **times}, other.private, algorithm="EdDSA", headers=header)

    def unsigned(algorithm: str) -> str:
        text = json.dumps({"alg": algorithm, "typ": "JWT", "kid": key.public.id}).encode()
        return f"{base64.urlsafe_b64encode(text).rstrip(b'=').decode()}.{body}."

    public = json.dumps(dict(key.public.members)).encode()
    for password, why in {
        signed(key, claims, -2 * timedelta(minutes=1)): "has expired",
        signed(key, claims | {"iss": "other.example.com"}, HOUR): "for another registry",
        signed(key, claims | {"aud": REGISTRY}, HOUR): "for another registry, or for another purpose",
        signed(key, claims | {"aud": ["pull", "x"]}, HOUR): "for another registry, or for another purpose",
        signed(key, {"iss": REGISTRY, "aud": "pull"}, HOUR): "it lacks what a password has",
        jwt.encode(claims | {"iat": now}, key.private, algorithm="EdDSA", headers=own): "it lacks what a password has",
        jwt.encode(
            claims | {"exp": now + HOUR}, key.private, algorithm="EdDSA", headers=own
        ): "it lacks what a password has",
        jwt.encode(
            claims | {"iat": now + HOUR, "exp": now + 2 * HOUR},
            key.private,
            algorithm="EdDSA",
            headers=own,
        ): "from a time to come",
        made(kid=key.public.id): "signature is wrong",
        made(kid=other.public.id): "signed with no key for passwords of this registry",
        made(): "signed with no key for passwords of this registry",
        jwt.encode({**claims, **times}, public * 2, algorithm="HS256", headers=own): "signature is wrong",
        unsigned("none"): "signature is wrong",
        unsigned("EdDSA"): "signature is wrong",
        f"{head}.{another(body)}.{signature}": "signature is wrong",
        f"{head}.{body}.{another(signature)}": "signature is wrong",
    }.items():
        with pytest.raises(NotGood, match=why) as e:
            read(password, keys, REGISTRY)
        assert "project-alice" not in str(e.value)
    nested = base64.urlsafe_b64encode(b'{"a":' + b"[" * 1200).decode()
    for password in ("", "x", "a.b", "a.b.c", "..", "ä.ö.ü", f"{nested}.b.c", "a" * MAX_CHARS + ".b.c"):
        with pytest.raises(NotSigned):
            read(password, keys, REGISTRY)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode() + ".e30.e30"))
def test_whatever_comes_as_a_password(text: str) -> None:
    with pytest.raises((NotSigned, NotGood)):
        read(text, dict, REGISTRY)


def test_clocks_may_differ_a_little(file: str) -> None:
    password = pull_password(read_key(Path(file)), REGISTRY, "a", -timedelta(seconds=30))
    assert read(password, published(file), REGISTRY).below == "a"


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"repositories": "all"}, "repositories must have {owner} once"),
        ({"repositories": "{owner}-{owner}"}, "repositories must have {owner} once"),
        ({"repositories": "{owner}/"}, "no repository's name begins so; write {owner} or project-{owner}"),
        ({"repositories": "Team-{owner}"}, "no repository's name begins so"),
        ({"repositories": "../{owner}"}, "no repository's name begins so"),
        ({"keyFile": planted.token()}, "keyFile must be the path of a file, beginning with /"),
        ({"tokenService": SERVICE | {"keyFile": planted.token()}}, "keyFile must be the path of a file"),
        ({"tokenService": SERVICE | {"passwordKeysFile": "{}"}}, "passwordKeysFile must be the path of a file"),
        ({"tokenService": SERVICE | {"pushersFile": "pushers"}}, "pushersFile must be the path of a file"),
        ({"tokenService": {"keyFile": "/t.pem"}}, "passwordKeysFile"),
        (
            {"tokenService": SERVICE | {"keyFile": "/k.pem"}},
            f"keyFile of {REGISTRY} and tokenService.keyFile of {REGISTRY} are one file; make two keys",
        ),
        ({"registry": "registry"}, "the name of a registry is not valid"),
        ({"registry": "index.docker.io"}, "images of Docker Hub are called docker.io"),
        ({"registry": "registry.example.com:443"}, "write registry.example.com"),
    ],
)
def test_a_configuration_that_is_refused(keys: dict[str, Any], why: str) -> None:
    config_refused({"issue": "registry", "registry": REGISTRY, "keyFile": "/k.pem", **keys}, why)


def test_one_issuer_for_a_registry() -> None:
    model = {"issue": "registry", "registry": REGISTRY, "keyFile": "/k.pem"}
    with pytest.raises(ConfigError, match="use one issuer for a registry"):
        reading.convert({"issuers": [model, model | {"name": "teams", "repositories": "teams/{owner}"}]})


@pytest.mark.parametrize("turned", [False, True])
def test_a_key_for_passwords_of_one_registry_is_none_for_tokens_of_another(turned: bool) -> None:
    one = {"issue": "registry", "registry": REGISTRY, "keyFile": "/k.pem", "tokenService": SERVICE}
    other = {"issue": "registry", "name": "other", "registry": "other.example.com", "keyFile": SERVICE["keyFile"]}
    told = f"keyFile of other.example.com and tokenService.keyFile of {REGISTRY} are one file; make two keys"
    with pytest.raises(ConfigError, match=re.escape(told)):
        reading.convert({"issuers": [other, one] if turned else [one, other]})
    # Passwords and tokens name their registry, so two of these may have one key of each kind.
    assert reading.convert({"issuers": [one, other | {"keyFile": "/k.pem", "tokenService": SERVICE}]}).issuers


def test_the_webhook_itself_loads_nothing_that_signs() -> None:
    code = "import sys, webhook.app, webhook.cli, webhook.config.models; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "webhook.config.issuers" in loaded
    assert not {one for one in loaded if one.partition(".")[0] == "jwt" or one.startswith("webhook.issuers")}
