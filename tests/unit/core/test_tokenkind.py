import pytest

from webhook.core.registry import DOCKER_HUB
from webhook.core.tokenkind import doubt, hint, lacks_scope


@pytest.mark.parametrize(
    ("registry", "password", "words"),
    [
        (
            "ghcr.io",
            "github_pat_11A",
            "a fine-grained personal access token of GitHub; GitHub's registry takes",
        ),
        ("ghcr.io/acme", "ghp_a", "it looks like a classic personal access token of GitHub: is it revoked"),
        ("ghcr.io", "ghs_a", "an installation token of a GitHub App, which ends within an hour"),
        ("ghcr.io", "ghu_a", "a user token of a GitHub App"),
        ("ghcr.io", "gho_a", "an OAuth token of GitHub"),
        ("docker.pkg.github.com", "ghp_a", "a classic personal access token of GitHub"),
        ("containers.git.example.com", "ghp_a", "it looks like a token of GitHub; is it for this registry?"),
        (DOCKER_HUB, "ghp_a", "it looks like a token of GitHub; is it for this registry?"),
        (DOCKER_HUB, "dckr_pat_a", "it looks like a personal access token of Docker Hub"),
        ("registry-1.docker.io", "dckr_oat_a", "an organization access token of Docker Hub"),
        ("ghcr.io", "dckr_pat_a", "it looks like a token of Docker Hub; is it for this registry?"),
        ("registry.example.com", "glpat-a", "a personal or project access token of GitLab"),
        ("registry.gitlab.com", "gldt-a", "a deploy token of GitLab"),
        ("ghcr.io", "a password", ""),
        ("ghcr.io", "", ""),
    ],
)
def test_what_a_token_looks_like(registry: str, password: str, words: str) -> None:
    said = hint(registry, password)
    assert words in said if words else said == ""


@pytest.mark.parametrize(
    ("scopes", "lacks"),
    [
        ("", False),  # not a classic token, or not GitHub
        ("read:packages", False),
        ("repo, write:packages", False),
        ("repo,delete:packages", False),
        ("repo, user", True),
        ("read:packages2", True),
        (", ,", True),
    ],
)
def test_scopes_that_pull_no_image(scopes: str, lacks: bool) -> None:
    assert lacks_scope(scopes) == lacks


@pytest.mark.parametrize(
    ("registry", "password", "doubtful"),
    [
        ("ghcr.io", "github_pat_x", True),
        ("ghcr.io", "ghs_x", True),
        ("ghcr.io", "ghp_x", False),
        ("quay.io", "ghp_x", True),
        ("registry.example.com", "glpat-x", False),
        ("docker.io", "dckr_pat_x", False),
        ("ghcr.io", "dckr_pat_x", True),
        ("ghcr.io", "anything", False),
    ],
)
def test_which_will_probably_be_refused(registry: str, password: str, doubtful: bool) -> None:
    assert doubt(registry, password) == (hint(registry, password) if doubtful else "")
