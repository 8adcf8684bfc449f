import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.imagename import ImageName, image_name, is_digest
from webhook.core.registry import repository

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("nginx", ("docker.io", "library/nginx", "latest")),
        ("nginx:1.27", ("docker.io", "library/nginx", "1.27")),
        ("alice/app", ("docker.io", "alice/app", "latest")),
        ("docker.io/nginx", ("docker.io", "library/nginx", "latest")),
        ("index.docker.io/alice/app:1", ("docker.io", "alice/app", "1")),
        ("registry-1.docker.io/library/nginx", ("registry-1.docker.io", "library/nginx", "latest")),
        ("ghcr.io/alice/app:1", ("ghcr.io", "alice/app", "1")),
        ("ghcr.io/a/b/c__d.e--f:V_1.2-x", ("ghcr.io", "a/b/c__d.e--f", "V_1.2-x")),
        (f"ghcr.io/alice/app@{DIGEST}", ("ghcr.io", "alice/app", DIGEST)),
        (f"ghcr.io/alice/app:1@{DIGEST}", ("ghcr.io", "alice/app", DIGEST)),
        ("localhost/app", ("localhost", "app", "latest")),
        ("localhost:5000/app", ("localhost:5000", "app", "latest")),
        ("Registry/app:1", ("Registry", "app", "1")),
        ("10.0.0.1:5000/team/app:1", ("10.0.0.1:5000", "team/app", "1")),
        ("[::1]:5000/app:1", ("[::1]:5000", "app", "1")),
        ("[2001:db8::1]/team/app", ("[2001:db8::1]", "team/app", "latest")),
    ],
)
def test_parts(image: str, found: tuple[str, str, str]) -> None:
    name = image_name(image)
    assert name == ImageName(*found)
    assert name.digest == (DIGEST if "@" in image else "")
    assert str(name) == f"{found[0]}/{found[1]}{'@' if name.digest else ':'}{found[2]}"
    assert image_name(str(name)) == name


@pytest.mark.parametrize(
    "image",
    ["", "/", ":", "@", "ghcr.io/", "ghcr.io/Alice/app", "ghcr.io/alice//app", "ghcr.io/../v2", "ghcr.io/a/..",
     "ghcr.io/a?b=c", "ghcr.io/a#b", "ghcr.io/a%2fb", "ghcr.io/a b", "ghcr.io/a:", "ghcr.io/a:-", "ghcr.io/a:x/y",
     "ghcr.io/a@", "ghcr.io/a@sha256:", "ghcr.io/a@sha256:xyz", f"ghcr.io/a:1:2@{DIGEST}", f"ghcr.io/a@{DIGEST}@x",
     "u:p@ghcr.io/a", "https://ghcr.io/a", "-.io/a", "ghcr..io/a", "ghcr.io:/a", "[::1/a", "ghcr.io/a___b",
     "ghcr.io/a\n", "ghcr.io/a:1\n", "ghcr.io:99999999/a", f"ghcr.io/{'a' * 255}", f"ghcr.io/a:{'x' * 129}",
     "ghcr.io\\@evil.io/a", "gh\u0441r.io/a", f"ghcr.io/a@sha256:{'AB' * 32}"],
)  # fmt: skip
def test_no_names(image: str) -> None:
    assert image_name(image) is None


@given(st.text(st.sampled_from("aZ1.:/@?#%_-[]\\ \n") | st.characters(), max_size=40))
def test_what_is_taken_is_safe_in_an_address(image: str) -> None:
    name = image_name(image)
    if name is not None:
        assert f"{name.host}/{name.path}" == repository(image)
        whole = f"{name.host}/v2/{name.path}/manifests/{name.version}"
        assert re.fullmatch(r"[A-Za-z0-9.:/_\[\]+-]+", whole)
        assert not {"", ".", ".."} & {*whole.split("/")}


def test_digests() -> None:
    assert is_digest(DIGEST)
    assert is_digest(f"sha512:{'0' * 128}")
    assert not any(
        map(is_digest, ("", "sha256:", DIGEST + "/..", f"{DIGEST}\n", f"../{DIGEST}", f"sha256:{'0' * 500}"))
    )
