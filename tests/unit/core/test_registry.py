"""Which entries match an image. tests/e2e/test_keyring.py asks the kubelet's own code, too."""

import pytest

from webhook.core.registry import DOCKER_HUB, matching, repository


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("nginx:1.27@sha256:0123", "docker.io/library/nginx"),
        ("acme/app:1", "docker.io/acme/app"),
        ("index.docker.io/nginx", "docker.io/library/nginx"),
        ("docker.io/acme/app", "docker.io/acme/app"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app:1", "localhost:5000/app"),
        ("ghcr.io/acme/app@sha256:0123", "ghcr.io/acme/app"),
        ("Acme/app", "Acme/app"),
    ],
)
def test_the_name_that_credentials_are_looked_for_with(image: str, name: str) -> None:
    assert repository(image) == name


@pytest.mark.parametrize(
    ("registries", "image", "found"),
    [
        (("ghcr.io", "ghcr.io/acme"), "ghcr.io/acme/app:1", ("ghcr.io/acme", "ghcr.io")),
        (("ghcr.io/acme/",), "ghcr.io/acme-labs/app", ()),
        (("ghcr.io/acme",), "ghcr.io/acme-labs/app", ("ghcr.io/acme",)),
        (("ghcr.io",), "ghcr.io:443/app", ()),
        (("*.example.com",), "eu.example.com/app", ("*.example.com",)),
        (("*.example.com",), "example.com/app", ()),
        (("*.example.com",), "a.b.example.com/app", ()),
        (
            ("*.example.com:5000", "e*u.example.com:5000"),
            "eu.example.com:5000/app",
            ("e*u.example.com:5000", "*.example.com:5000"),
        ),
        (("a*a.example.com",), "a.example.com/app", ()),
        (("a*b*c.example.com",), "aXbYbc.example.com/app", ("a*b*c.example.com",)),
        (("a*b*c.example.com",), "acb.example.com/app", ()),
        ((DOCKER_HUB, "docker.io/acme"), "acme/app", ("docker.io/acme",)),
        ((DOCKER_HUB, "docker.io/acme"), "nginx", (DOCKER_HUB,)),
        ((DOCKER_HUB,), "localhost/app", (DOCKER_HUB,)),
        (("[::1]",), "[::1]/app", ()),
        (("[::1]:5000",), "[::1]:5000/app", ("[::1]:5000",)),
        (("registry.gitlab.com",), "ghcr.io/acme/app", ()),
    ],
)
def test_which_entries_match_and_in_which_order(
    registries: tuple[str, ...], image: str, found: tuple[str, ...]
) -> None:
    assert matching(registries, image) == found
