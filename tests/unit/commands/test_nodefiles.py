"""The files of nodes, read back by parsers of their formats."""

import tomllib
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from support import planted
from webhook.cli.mirrors import mirrors
from webhook.commands import nodefiles
from webhook.commands.nodefiles import NoMirror, chosen
from webhook.config import reading

CONFIG: dict[str, Any] = {
    "mirrors": [
        {"of": "ghcr.io", "to": "eu.test:5000", "nodeCaFile": "/etc/ssl/eu.crt"},
        {"of": "docker.io", "to": "eu.test:5000", "nodeCaFile": "/etc/ssl/eu.crt", "path": "{owner}/"},
        {"of": "ghcr.io", "to": "cn.test/ghcr"},
        {"of": "quay.io", "to": "plain.test:5000"},
    ],
    "registries": [{"host": "plain.test:5000", "plain": True}],
}
ALL = reading.convert(CONFIG)
PULLS = {"capabilities": ["pull", "resolve"]}


def toml(of: str | None = None, *to: str) -> dict[str, dict[str, Any]]:
    """By path."""
    return {one.path: tomllib.loads(one.text) for one in nodefiles.hosts_toml(ALL, chosen(ALL, of, to))}


def k3s(of: str | None = None, *to: str) -> Any:
    return yaml.safe_load(nodefiles.registries_yaml(ALL, chosen(ALL, of, to)).text)


def test_containerd_gets_a_file_for_each_registry() -> None:
    eu = {"https://eu.test:5000": PULLS | {"ca": "/etc/ssl/eu.crt"}}
    assert toml() == {
        "/etc/containerd/certs.d/ghcr.io/hosts.toml": {
            "server": "https://ghcr.io",
            "host": eu | {"https://cn.test/v2/ghcr": PULLS | {"override_path": True}},
        },
        "/etc/containerd/certs.d/docker.io/hosts.toml": {"server": "https://registry-1.docker.io", "host": eu},
        "/etc/containerd/certs.d/quay.io/hosts.toml": {
            "server": "https://quay.io",
            "host": {"http://plain.test:5000": PULLS},
        },
    }


def test_k3s_gets_one_file() -> None:
    assert k3s() == {
        "mirrors": {
            "ghcr.io": {"endpoint": ["https://eu.test:5000", "https://cn.test/v2/ghcr"]},
            "docker.io": {"endpoint": ["https://eu.test:5000"]},
            "quay.io": {"endpoint": ["http://plain.test:5000"]},
        },
        "configs": {"eu.test:5000": {"tls": {"ca_file": "/etc/ssl/eu.crt"}}},
    }
    assert k3s("quay.io") == {"mirrors": {"quay.io": {"endpoint": ["http://plain.test:5000"]}}}


def test_which_mirrors_and_in_which_order() -> None:
    (file,) = toml("ghcr.io", "cn.test/ghcr", "eu.test:5000").values()
    assert [*file["host"]] == ["https://cn.test/v2/ghcr", "https://eu.test:5000"]
    assert k3s(None, "cn.test/ghcr")["mirrors"] == {"ghcr.io": {"endpoint": ["https://cn.test/v2/ghcr"]}}


@pytest.mark.parametrize(
    ("of", "to", "said"),
    [
        ("gcr.io", [], "no mirror of this registry; there are some of ghcr.io, docker.io, quay.io"),
        (None, ["us.test"], "no such mirror; there are eu.test:5000, cn.test/ghcr, plain.test:5000"),
        ("quay.io", ["cn.test/ghcr"], "none of these is a mirror of quay.io"),
    ],
)
def test_what_is_not_there(of: str | None, to: list[str], said: str) -> None:
    with pytest.raises(NoMirror, match=said.replace("/", ".")):
        chosen(ALL, of, to)


def test_the_command_prints_a_file_that_says_where_it_belongs(tmp_path: Any) -> None:
    """Of chart values, which may have anything else in them."""
    values, token = tmp_path / "values.yaml", planted.token()
    values.write_text(yaml.safe_dump({"config": CONFIG, "extra": {"password": token}}))
    ran = CliRunner().invoke(mirrors, ["hosts-toml", "--config", str(values), "--of", "ghcr.io"])
    assert ran.output.startswith("# /etc/containerd/certs.d/ghcr.io/hosts.toml: read at every pull")
    assert [*tomllib.loads(ran.output)["host"]] == ["https://eu.test:5000", "https://cn.test/v2/ghcr"]
    both = CliRunner().invoke(mirrors, ["hosts-toml", "--config", str(values)])
    assert both.output.count("# /etc/containerd/certs.d/") == 3
    other = CliRunner().invoke(mirrors, ["registries-yaml", "--config", str(values)])
    assert other.output.startswith("# /etc/rancher/k3s/registries.yaml: read when K3s starts")
    assert [*yaml.safe_load(other.output)["mirrors"]] == ["ghcr.io", "docker.io", "quay.io"]
    assert not planted.leaks(ran.output + both.output + other.output)
