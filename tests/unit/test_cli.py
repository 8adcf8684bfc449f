"""The command: what it prints, its exit codes, and one line without a traceback for whatever is wrong."""

import http.server
import io
import json
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import httpx
import pytest
import structlog
import trustme
import yaml

from controlplane.ports import free_port
from controlplane.waiting import until
from support import planted
from support.signing import key_file
from webhook.cli import main
from webhook.kube import preflight

CA = trustme.CA()
PAIR = CA.issue_cert("127.0.0.1")
CERTIFICATE = b"".join(blob.bytes() for blob in PAIR.cert_chain_pems)
KEY = PAIR.private_key_pem.bytes()


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Not in a pod, and what `serve` does to logging and signals ends with the test."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()


@pytest.fixture
def capture(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    return capsys


def run(capture: pytest.CaptureFixture[str], *arguments: str | Path) -> Ran:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capture.readouterr()
    return Ran(int(ended.value.code or 0), said.out, said.err)


def refused(ran: Ran, code: int) -> str:
    """The one line of one that failed."""
    assert (ran.code, ran.out) == (code, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("pullsecret: ")
    assert "Traceback" not in line
    return line.removeprefix("pullsecret: ")


# -- what it prints --


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Exit codes: 0 success; 1 failure while running; 2 wrong arguments, file or configuration."),
        (["serve"], "Runs the admission server until SIGTERM."),
        (["inject"], "Needs no cluster."),
        (["inject"], "as if the owner had a credential"),
        (["config"], "Check a configuration file, and print what follows from it."),
        (["config", "check"], "json and yaml print all values, also defaults."),
        (["config", "schema"], "Usage: pullsecret config schema"),
        (["try"], "Creates a pod by dry run in a namespace that has an owner"),
        (["status"], "2 wrong arguments or configuration; 3 the cluster could not be looked at."),
        (["explain"], "Why a pod has or lacks the reference, and why it cannot pull."),
        (["explain", "pod"], "Example: pullsecret explain pod web-7d9f -n team-a"),
        (["explain", "namespace"], "Example: pullsecret explain namespace team-a"),
        (["credential"], "No command prints a password or takes one as an argument."),
        (["credential", "add"], "It overwrites nothing: for another token, use rotate."),
        (["credential", "list"], "3 the cluster could not be looked at."),
        (["credential", "test"], "Example: pullsecret credential test alice --registry ghcr.io"),
        (["credential", "rotate"], "Everything else in the Secret stays: labels, annotations, other registries."),
        (["credential", "rm"], "First it says which namespaces lose which entry, and asks."),
        (["adopt"], "Exit codes: 0 all fine; 1 something needs attention; 2 wrong arguments or configuration."),
        (["uninstall"], "Stop the webhook first: it would create the Secrets again."),
        (["completion"], 'bash: eval "$(pullsecret completion bash)".'),
        (["version"], "Usage: pullsecret version"),
    ],
)
def test_every_command_has_help(capture: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    ran = run(capture, *arguments, "--help")

    assert (ran.code, ran.err) == (0, "")
    assert words in " ".join(ran.out.split())
    assert run(capture, *arguments, "-h") == ran


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["surve"],
        ["config"],
        ["config", "check"],
        ["credential"],
        ["credential", "add"],
        ["credential", "rotate", "alice"],
        ["version", "1"],
        ["serve", "--port", "https"],
        ["serve", "x"],
        ["try"],
        ["uninstall", "x"],
        ["status", "--request-timeout", "soon"],
        ["completion", "tcsh"],
    ],
    ids=" ".join,
)
def test_a_call_that_is_none_says_how_to_call(capture: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    ran = run(capture, *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: pullsecret")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["statu"], "No such command 'statu'. Did you mean 'status'?"),
        (["status", "--problem"], "No such option '--problem'. Did you mean '--problems'?"),
        (["explain", "podd", "x"], "No such command 'podd'. Did you mean 'pod'?"),
    ],
)
def test_what_was_meant_is_guessed(capture: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    ran = run(capture, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


@pytest.mark.parametrize(
    "arguments", [["adopt"], ["adopt", "-n", "x", "-A"], ["status", "-n", "x", "-A"]], ids=" ".join
)
def test_one_namespace_or_all(capture: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert refused(run(capture, *arguments), 2) == "give either -n NAMESPACE or -A"


@pytest.mark.parametrize(
    "given",
    [["x"], ["--password", "x"], ["--password=x"], ["-px"], ["--password-stdin=x"], ["--token", "x"]],
    ids=" ".join,
)
@pytest.mark.parametrize("verb", ["add", "rotate"])
def test_a_password_in_the_arguments_is_not_repeated(
    capture: pytest.CaptureFixture[str], verb: str, given: list[str]
) -> None:
    more = ["--username", "alice"] if verb == "add" else []
    token = planted.token()
    words = [word.replace("x", token) for word in given]
    ran = run(capture, "credential", verb, "alice", *words, "--registry", "ghcr.io", *more)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert not planted.leaks(ran.err)


@pytest.mark.parametrize("verb", ["list", "test", "rm"])
def test_an_argument_that_is_too_many_is_not_repeated(capture: pytest.CaptureFixture[str], verb: str) -> None:
    ran = run(capture, "credential", verb, planted.token(), planted.token())
    assert (ran.code, ran.out) == (2, "")
    assert "Too many arguments." in ran.err
    assert not planted.leaks(ran.err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "", "--registry", "ghcr.io", "--username", "a"], "the owner is not valid: write 1 to 253 printable"),
        (["add", "alice", "--registry", "ghcr", "--username", "a"], "the name of a registry is not valid"),
        (["add", "alice", "--registry", "*.io", "--username", "a"], "which matches hosts of others too"),
        (["add", "alice", "--registry", "ghcr.io", "--username", "a", "--expires", "1"], "--expires is neither a time"),
        (["add", "alice", "--registry", "ghcr.io", "--username", "a", "--namespaces", ","], "--namespaces is empty"),
        (["add", "alice", "--registry", "ghcr.io", "--username", "a"], "standard input, with --password-stdin"),
        (["rotate", "alice", "--registry", "ghcr.io"], "standard input, with --password-stdin"),
        (["rm", "alice", "--registry", "x y"], "the name of a registry is not valid"),
        (["test", "alice", "--registry", "x y"], "the name of a registry is not valid"),
    ],
)
def test_wrong_arguments_of_credential(capture: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert words in refused(run(capture, "credential", *arguments), 2)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(
    capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    """By what the script calls."""
    ran = run(capture, "completion", shell)
    assert (ran.code, "_PULLSECRET_COMPLETE" in ran.out) == (0, True)
    for typed, expected in (("pullsecret stat", "status"), ("pullsecret status --prob", "--problems")):
        monkeypatch.setenv("_PULLSECRET_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", typed.split()[-1] if shell == "fish" else str(len(typed.split()) - 1))
        assert expected in run(capture).out


def test_as_a_plugin_of_kubectl(capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-pullsecret"])
    assert run(capture, "status", "-h").out.startswith("Usage: kubectl pullsecret status")
    script = run(capture, "completion", "bash").out
    monkeypatch.setattr(sys, "argv", ["pullsecret"])
    assert run(capture, "completion", "bash").out == script


def test_inject_prints_all_files_or_none(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = {
        "a": "{kind: Pod, apiVersion: v1, metadata: {name: a}, spec: {}}",
        "b": "---\nkind: Secret\n",
        "c": "x: [\n",
        "d": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, name: b}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ran = run(
        capture, "inject", "--owner", "alice", "-f", f"{tmp_path}/a", "-f", f"{tmp_path}/b", "-f", f"{tmp_path}/a"
    )
    pod, secret, again = yaml.safe_load_all(ran.out)
    assert pod == again
    assert pod["spec"] == {"imagePullSecrets": [{"name": "ghcr-secret"}]}
    assert secret == {"kind": "Secret"}
    assert (ran.code, ran.err.count("ghcr-secret of owner alice added")) == (0, 2)
    for name in "cd":
        ran = run(capture, "inject", "--owner", "alice", "-f", f"{tmp_path}/a", "-f", f"{tmp_path}/{name}")
        assert (ran.code, ran.out) == (2, "")
        assert f"{tmp_path}/{name}: document 1, line " in ran.err


def test_inject_reads_folders(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As kubectl does. What a Namespace in one file opts out is left alone in the others."""
    head = "apiVersion: v1\nkind: {}\nmetadata: {{name: {}, namespace: {}{}}}\n"
    (tmp_path / "deeper").mkdir()
    files = {
        "b.yaml": head.format("Pod", "b", "team", "") + "spec: {}\n",
        "a.yml": head.format("Pod", "a", "kube-system", "") + "spec: {}\n",
        "c.json": '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c", "namespace": "out"}, "spec": {}}',
        "notes.txt": "x: [\n",
        "deeper/d.yaml": head.format("Namespace", "out", "''", ", labels: {pullsecret-webhook/inject: disabled}"),
        "deeper/e.yaml": head.format("StatefulSet", "e", "team", "").replace("v1", "apps/v1"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ran = run(capture, "inject", "--owner", "alice", "-R", "-f", tmp_path)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "Pod kube-system/a: unchanged; the configuration excludes its namespace",
        "Pod team/b: ghcr-secret of owner alice added",
        "Pod out/c: unchanged; it or its namespace is opted out",
        "StatefulSet team/e: unchanged; its pods get ghcr-secret when they are created",
    ]
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(ran.out)] == ["a", "b", "c", "out", "e"]
    assert run(capture, "inject", "--owner", "alice", "-f", tmp_path, "-n", "x", "-q").err == ""
    assert len([*yaml.safe_load_all(run(capture, "inject", "--owner", "alice", "-f", tmp_path, "-q").out)]) == 3
    (empty := tmp_path / "empty").mkdir()
    assert "no file in this folder ends with .yaml, .yml, .json" in refused(
        run(capture, "inject", "--owner", "alice", "-f", empty), 2
    )


def test_inject_names_images_at_mirrors(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The region is that of the Namespace, which may be in another file. What cannot be known is assumed, and said."""
    (config := tmp_path / "config.yaml").write_text("""\
mirrors:
- {of: ghcr.io, to: hz.example.com/ghcr, how: rewrite, region: hz, namespace: mirrors}
- {of: ghcr.io, to: bj.example.com/ghcr, how: rewrite, region: bj}
""")
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: {}}}\n"
    pod += "spec: {{containers: [{{{}image: ghcr.io/a}}]}}\n"
    (tmp_path / "manifests").mkdir()
    files = {
        "a.yaml": pod.format("a", "team", ""),
        "b.yaml": pod.format("b", "other", ""),
        "c.yaml": pod.format("c", "mirrors", ""),
        "d.yaml": pod.format("d", "team", "imagePullPolicy: Never, "),
        "e.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {pullsecret-webhook/region: bj}}\n",
    }
    for name, text in files.items():
        (tmp_path / "manifests" / name).write_text(text)
    arguments = ("inject", "--owner", "alice", "--config", config, "-f")
    ran = run(capture, *arguments, tmp_path / "manifests")
    never = "the pull policy is Never, so it must be on the node under its name"
    assert ran.err.splitlines() == [
        "Pod team/a: ghcr-secret of owner alice added; ghcr.io/a -> bj.example.com/ghcr/a",
        "Pod other/b: ghcr-secret of owner alice added; ghcr.io/a -> hz.example.com/ghcr/a",
        "Pod mirrors/c: ghcr-secret of owner alice added",
        "Pod team/d: ghcr-secret of owner alice added",
        f"Pod team/d: images of ghcr.io are not pulled from bj.example.com/ghcr: {never}",
        "images: as if owner alice had a credential for the mirror that works, and the mirror answered",
        "images: as kubectl create makes a Pod; one that is applied (kubectl apply, Helm) keeps its images",
    ]
    a, *_ = yaml.safe_load_all(ran.out)
    assert a["spec"]["containers"] == [{"image": "bj.example.com/ghcr/a"}]
    (again := tmp_path / "again.yaml").write_text(ran.out)
    assert (other := run(capture, *arguments, again)).out == ran.out
    assert "as if" not in other.err
    assert run(capture, *arguments, tmp_path / "manifests", "-q") == Ran(0, ran.out, "")


def test_a_template_of_helm_is_named(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (file := tmp_path / "a.yaml").write_text('metadata:\n  {{- include "labels" . }}\n')
    line = refused(run(capture, "inject", "--owner", "alice", "-f", file), 2)
    assert line.startswith(f"{file}: document 1, line ")
    assert line.endswith("it looks like a template of Helm: helm template . | pullsecret inject -f - --owner ...")


def test_version(capture: pytest.CaptureFixture[str]) -> None:
    assert run(capture, "version") == Ran(0, metadata.version("pullsecret-webhook") + "\n", "")
    assert run(capture, "--version") == run(capture, "version")


def test_the_schema_is_json(capture: pytest.CaptureFixture[str]) -> None:
    ran = run(capture, "config", "schema")

    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["$schema"].startswith("https://json-schema.org/")


def test_a_valid_file_is_said_to_be_one(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    rule = "{from: name, prefix: 'project-', owner: '[0-9]+', suffix: '-dev'}"
    mirror = "mirrors: [{of: ghcr.io, to: mirror.test/ghcr}]"
    issuer = "issuers: [{issue: registry, registry: registry.test, repositories: 'team-{owner}', keyFile: /key}]"
    rules = f"ownerRules:\n- {rule}\n- {{from: label, key: team}}"
    file.write_text(f"{rules}\nnamespace: platform\n{mirror}\n{issuer}\n")

    ran = run(capture, "config", "check", file)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{file}: valid",
        "owner rule 1: name prefix project- owner [0-9]+ suffix -dev",
        "owner rule 2: label team",
        "source secrets: Secrets in the webhook's namespace with the label pullsecret-webhook/owner, watched",
        "issuer registry: passwords for registry.test/team-{owner}/, good for 24 h",
        "mirror of ghcr.io: mirror.test/ghcr",
        "registries are asked about new credentials: yes",
        "pull secret: ghcr-secret; deployments: inject",
        "never served: kube-system, kube-public, kube-node-lease, platform",
    ]


SOURCES = """\
config:
  ownerRules: [{from: name, prefix: project-, owner: "[0-9]+", suffix: -production}, {from: label, key: team}]
  sources:
  - {from: sql, urlFile: /etc/db, preset: git-connections, listen: tokens}
  - {from: http, url: "https://tokens.example.com/{owner}?key=hidden", tokenFile: /etc/token, maxAge: 60}
replicas: 3
"""


def test_values_of_the_chart_are_a_configuration(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (file := tmp_path / "values.yaml").write_text(SOURCES)
    ran = run(capture, "config", "check", file)
    assert (ran.code, ran.err) == (0, "")
    assert [line for line in ran.out.splitlines() if line.startswith("source")] == [
        (
            "source sql: PostgreSQL of /etc/db, asked with the preset git-connections; an answer is used for 300 s, or "
            "until NOTIFY on tokens"
        ),
        (
            "source http: GET tokens.example.com with the token of a file; an answer is used for 60 s without "
            "Cache-Control"
        ),
    ]
    file.write_text("image: {tag: x}\nconfig:  # all as it is\n")
    assert "owner rule 1: label pullsecret-webhook/owner" in run(capture, "config", "check", file).out
    file.write_text("config: [ownerRules]\n")
    assert refused(run(capture, "config", "check", file), 2) == (
        f"{file}: config: write a mapping, with keys such as ownerRules: and pullSecret:"
    )
    file.write_text("config: {ownerRules: [{from: label, kee: x}]}\n")
    assert refused(run(capture, "config", "check", file), 2) == (
        f"{file}: config.ownerRules[0].kee: no such key; did you mean key?"
    )


def test_a_secret_in_place_of_its_file(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (file := tmp_path / "config.yaml").write_text(
        f"sources: [{{from: sql, preset: git-connections, urlFile: 'postgresql://a:{planted.token()}@db/users'}}]\n"
    )
    line = refused(run(capture, "config", "check", file), 2)
    assert "urlFile must be the path of a file, beginning with /; put the secret into that file" in line
    assert not planted.leaks(line)


def test_standard_input_that_is_closed_is_empty(
    capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = ["credential", "add", "a", "--registry", "ghcr.io", "--username", "a"]
    for arguments, words in (
        ([*asks, "--password-stdin"], "standard input is empty; write the password to it"),
        (asks, "there is no terminal to ask for the password"),
    ):
        monkeypatch.setattr(sys, "stdin", None)
        assert words in refused(run(capture, *arguments), 2)


def test_standard_input_is_checked(capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"pullSecret: {name: token}\n")))
    assert "pull secret: token; deployments: inject" in run(capture, "config", "check", "-").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["project-42-production"], ["owner 42 (rule 1)"]),
        (["project-42", "--label", "team=shop"], ["owner shop (rule 2)"]),
        (["kube-system", "--label", "team=x"], ["owner x (rule 2); never served"]),
        (
            ["other", "--label", "team=x", "--label", "pullsecret-webhook/inject=disabled"],
            ["owner x (rule 2); opted out"],
        ),
        (["other", "--label", "Team=shop"], ["no owner"]),
        (
            ["other", "--annotation", "team=x", "--label", "pullsecret-webhook/inject=false"],
            [
                "no owner",
                "the label pullsecret-webhook/inject: false has no effect; write disabled to opt out",
            ],
        ),
    ],
)
def test_an_owner_rule_is_tried(
    capture: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], told: list[str]
) -> None:
    (file := tmp_path / "values.yaml").write_text(SOURCES)
    ran = run(capture, "config", "check", file, "--namespace", *arguments)
    assert ran.code == 0
    found = [line for line in ran.out.splitlines() if line.startswith("namespace")]
    assert found == [f"namespace {arguments[0]}: {one}" for one in told]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--label", "a=b"], "name it with --namespace"), (["-n", "x", "--label", "team"], "team is no KEY=VALUE")],
)
def test_a_rule_that_cannot_be_tried(
    capture: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], words: str
) -> None:
    (file := tmp_path / "values.yaml").write_text(SOURCES)
    assert words in refused(run(capture, "config", "check", file, *arguments), 2)


def test_all_values_as_json_are_a_configuration(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    mirrors = "mirrors: [{of: ghcr.io, to: mirror.test}, {of: quay.io, to: mirror.test, how: rewrite}]"
    file.write_text(f"pullSecret: {{name: registry-token}}\n{mirrors}\n")

    shown = run(capture, "config", "check", file, "-o", "json").out
    file.write_text(shown)

    assert json.loads(shown)["pullSecret"] == {
        "name": "registry-token",
        "whenUnowned": "delete",
        "whenWithdrawn": "delete",
        "maxWithdrawn": 0.1,
    }
    assert run(capture, "config", "check", file, "-o", "json").out == shown


# -- what it says when something is wrong --


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"ownerRule: []", "ownerRule: no such key; did you mean ownerRules?"),
        (b"server: {port: http}", "server.port: "),
        (b"a: [", "line 1: "),
        (b"\xff", "not UTF-8"),
        (None, "No such file or directory"),
    ],
)
@pytest.mark.parametrize("command", [["config", "check"], ["serve", "--config"]], ids=["check", "serve"])
def test_a_wrong_configuration(
    capture: pytest.CaptureFixture[str], tmp_path: Path, command: list[str], text: bytes | None, words: str
) -> None:
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_bytes(text)

    assert refused(run(capture, *command, file), 2).startswith(f"{file}: {words}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "9000", "--metrics-port", "9000"], "server: port and metricsPort are both 9000"),
        (["--port", "0"], "server.port: "),
        (["--tls-cert", "a"], "tls: certFile and keyFile go together"),
    ],
)
def test_wrong_flags(capture: pytest.CaptureFixture[str], flags: list[str], words: str) -> None:
    assert refused(run(capture, "serve", *flags), 2).startswith(f"the configuration with these flags: {words}")


def for_cluster(cluster: str) -> str:
    """A kubeconfig."""
    contexts = "contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}]"
    return f"{{current-context: x, {contexts}, clusters: [{{name: x, cluster: {cluster}}}]}}"


def ports() -> list[str]:
    return ["--address", "127.0.0.1", "--port", str(free_port()), "--metrics-port", str(free_port())]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file or directory"),
        ("", "is not usable; try it with kubectl"),
        ("a: [", "is not usable; try it with kubectl"),
        ("- a list", "is not usable; try it with kubectl"),
        (f"{{users: [{{name: x, user: {{token: {planted.token()}}}}}]}}", "is not usable; try it with kubectl"),
        (for_cluster("{server: [a]}"), "is not usable; try it with kubectl"),
        (
            for_cluster("{server: 'https://127.0.0.1', certificate-authority-data: eA==}"),
            ": a certificate or a key cannot be read",
        ),
    ],
)
def test_a_wrong_kubeconfig(capture: pytest.CaptureFixture[str], tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)

    line = refused(run(capture, "serve", "--kubeconfig", file, *ports()), 1)

    assert words in line
    assert str(file) in line


def test_not_in_a_pod(capture: pytest.CaptureFixture[str]) -> None:
    line = refused(run(capture, "serve", *ports()), 1)

    assert line == "not in a pod (no service account is mounted); name a kubeconfig with --kubeconfig FILE"


@pytest.mark.parametrize("flag", ["--port", "--metrics-port"])
def test_a_port_in_use(capture: pytest.CaptureFixture[str], flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(run(capture, "serve", *ports(), flag, str(port)), 1)

    assert line == f"cannot listen on 127.0.0.1 port {port}: Address already in use; choose another"


def test_an_address_that_is_not_here(capture: pytest.CaptureFixture[str]) -> None:
    line = refused(run(capture, "serve", *ports(), "--address", "203.0.113.1"), 1)

    assert line.startswith("cannot listen on 203.0.113.1 port ")


# -- with something that looks like an API server --


def kubeconfig(folder: Path, port: int) -> Path:
    file = folder / "kubeconfig"
    server = {"server": f"http://127.0.0.1:{port}"}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    clusters, users = [{"name": "x", "cluster": server}], [{"name": "x", "user": {"token": planted.token()}}]
    whole = {"current-context": "x", "contexts": [context], "clusters": clusters, "users": users}
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config"} | whole))
    return file


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "STARTING_SECONDS", 0.0)


@contextmanager
def api_server(folder: Path, *, refuse: int = 0, port: int = 0, first: Sequence[int] = ()) -> Iterator[Path]:
    """An empty cluster, whose watches say nothing; or one that refuses everything, or what comes `first`. Its
    kubeconfig.
    """
    over, answers, always = threading.Event(), list(first), refuse

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refuse = answers.pop(0) if answers else always
            self.send_response(refuse or 200)
            self.end_headers()
            if refuse:
                self.wfile.write(json.dumps({"kind": "Status", "code": refuse, "reason": "Refused"}).encode())
            elif "watch=true" in self.path:
                over.wait(60)
            else:
                self.wfile.write(b'{"metadata": {"resourceVersion": "1"}, "items": []}')

        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as stack:
        server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        stack.callback(over.set)
        yield kubeconfig(folder, server.server_address[1])


def merged(folder: Path) -> str:
    """Two files, of which the first has the current context, `x`, and the second `other`; and one that is not there."""
    first, second = folder / "first", folder / "second"
    for name, file, port in (("x", first, 1), ("other", second, 2)):
        (folder / name).mkdir()
        text = kubeconfig(folder / name, port).read_text().replace(" x\n", f" {name}\n")
        file.write_text(text)
    return f"{first}:{second}:{folder}/missing"


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ([], "http://127.0.0.1:"),
        (["--context", "other"], "http://127.0.0.1:2 (context other)"),
        (["--context", "x"], "http://127.0.0.1:1 (context x)"),
    ],
)
@pytest.mark.parametrize(
    "verb",
    [
        ["status"],
        ["explain", "pod", "a"],
        ["explain", "po/a"],
        ["explain", "ns/a"],
        ["adopt", "-A"],
        ["try", "-n", "a"],
    ],
    ids=" ".join,
)
def test_an_api_server_that_is_not_there(
    capture: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verb: list[str],
    flags: list[str],
    where: str,
) -> None:
    """KUBECONFIG has a list of files, as for kubectl."""
    monkeypatch.setenv("KUBECONFIG", merged(tmp_path))
    line = refused(run(capture, *verb, *flags), 3 if verb[0] in ("status", "explain") else 1)
    assert line.startswith(f"the API server {where}")
    assert line.endswith(" cannot be reached: connection refused")


def test_a_context_that_is_not_in_the_kubeconfig(
    capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", files := merged(tmp_path))
    line = refused(run(capture, "status", "--context", "nope"), 3)
    assert line == f"the kubeconfig {files} has no context nope; `kubectl config get-contexts` lists them"


def test_a_home_that_cannot_be_looked_into(
    capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", f"/{'x' * 300}")  # no such name is possible: an OSError for root too
    assert "not in a pod" in refused(run(capture, "status"), 3)


def test_no_kubeconfig_of_the_list_is_there(
    capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    assert "No such file or directory" in refused(run(capture, "status"), 3)


def test_a_home_in_a_list_of_kubeconfigs(
    capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where no shell has written it out."""
    kubeconfig(tmp_path, 1)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", f"~/kubeconfig:{tmp_path}/missing")
    assert refused(run(capture, "status"), 3).endswith("cannot be reached: connection refused")


def test_a_request_takes_no_longer_than_it_may(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = kubeconfig(tmp_path, silent.getsockname()[1])
        line = refused(run(capture, "status", "--kubeconfig", file, "--request-timeout", "200ms"), 3)
    assert line.endswith(" cannot be reached: no answer in time")


def test_a_user_that_the_api_server_does_not_know(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with api_server(tmp_path, refuse=401) as file:
        line = refused(run(capture, "status", "--kubeconfig", file), 3)
    assert line.endswith(" does not accept the user of the kubeconfig (401 Refused)")


@pytest.mark.parametrize("server", ["http://x:y", "ftp://127.0.0.1"])
def test_an_address_where_no_api_server_can_be(
    capture: pytest.CaptureFixture[str], tmp_path: Path, server: str
) -> None:
    file = kubeconfig(tmp_path, 1)
    file.write_text(file.read_text().replace("http://127.0.0.1:1", server))

    line = refused(run(capture, "serve", "--kubeconfig", file, *ports()), 1)

    assert line.startswith("the API server cannot be reached (")


@pytest.mark.usefixtures("impatient")
def test_missing_rights_are_named_all_at_once(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with api_server(tmp_path, refuse=403) as file:
        line = refused(run(capture, "serve", "--kubeconfig", file, *ports()), 1)

    assert line == (
        "RBAC does not let the webhook list namespaces, list secrets named ghcr-secret, list serviceaccounts, "
        "get secrets named pullsecret-webhook-ca in pullsecret-webhook, "
        "get mutatingwebhookconfigurations named pullsecret-webhook; "
        "install the chart's roles"
    )


@pytest.mark.usefixtures("impatient")
def test_a_token_that_nobody_knows(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with api_server(tmp_path, refuse=401) as file:
        line = refused(run(capture, "serve", "--kubeconfig", file, *ports()), 1)

    assert "list namespaces (not authenticated)" in line


@pytest.mark.usefixtures("impatient")
def test_an_issuer_without_rights_says_which(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "issuers.yaml"
    issuer = {"issue": "registry", "registry": "registry.example.com", "keyFile": "/missing"}
    config.write_text(yaml.safe_dump({"issuers": [issuer], "server": {"metricsPort": free_port()}}))
    with api_server(tmp_path, refuse=403) as file:
        line = refused(run(capture, "issue", "--kubeconfig", file, "--config", str(config)), 1)

    assert line == (
        "RBAC does not let the webhook list namespaces, list secrets in pullsecret-webhook, "
        "get leases named pullsecret-webhook-issuer in pullsecret-webhook; install the chart's roles"
    )


def test_issuers_are_checked_without_a_cluster(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "issuers.yaml"
    key = key_file(tmp_path / "key.pem")
    issuer = {"issue": "registry", "registry": "registry.example.com"}
    two = [{**issuer, "name": "two", "registry": "other.example.com", "keyFile": "/missing", "owners": "team-.*"}]
    one = [{**issuer, "name": "one", "keyFile": key}]
    config.write_text(yaml.safe_dump({"issuers": one}))
    ran = run(capture, "issue", "--check", "--config", str(config))
    assert (ran.code, ran.out, ran.err) == (0, "one: works\n", "")
    config.write_text(yaml.safe_dump({"issuers": one + two}))
    ran = run(capture, "issue", "--check", "--config", str(config))
    fails = "two: fails: it has no key to sign with: /missing: No such file or directory\n"
    assert (ran.code, ran.out, ran.err) == (1, f"one: works\n{fails}", "")
    ran = run(capture, "issue", "--check", "--owner", "alice", "--config", str(config))
    assert (ran.code, ran.out, ran.err) == (0, "one: works\ntwo: not checked: it is for other owners\n", "")
    assert refused(run(capture, "issue", "--owner", "alice", "--config", str(config)), 2) == "--owner is for --check"


def test_without_issuers_there_is_nothing_to_issue(capture: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "none.yaml"
    config.write_text("{}")
    line = refused(run(capture, "issue", "--config", str(config)), 2)

    assert line == "the configuration has no issuers; write them under issuers, as in docs/issuers.md"


OTHER_KEY = CA.issue_cert("other").private_key_pem.bytes()


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        (None, KEY, "cert"),
        (CERTIFICATE, None, "key"),
        (b"x", KEY, "cert"),
        (CERTIFICATE, b"x", "key"),
        (CERTIFICATE, OTHER_KEY, "does not belong"),
    ],
    ids=["no certificate", "no key", "no PEM", "no PEM key", "another's key"],
)
def test_a_wrong_certificate_or_key(
    capture: pytest.CaptureFixture[str], tmp_path: Path, certificate: bytes | None, key: bytes | None, words: str
) -> None:
    files = {tmp_path / "tls.crt": certificate, tmp_path / "tls.key": key}
    for file, data in files.items():
        if data is not None:
            file.write_bytes(data)
    tls = [part for flag, file in zip(("--tls-cert", "--tls-key"), files, strict=True) for part in (flag, str(file))]

    with api_server(tmp_path) as api:
        line = refused(run(capture, "serve", "--kubeconfig", api, *ports(), *tls), 1)

    assert words in line.lower()
    assert str(tmp_path) in line
    assert "PRIVATE" not in line


@contextmanager
def serving(folder: Path, *flags: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own. What takes 6 s after SIGTERM takes 0.2 s."""
    fast = folder / "fast.py"
    fast.write_text("from webhook import app, cli\napp.LINGER = app.CLOSING = 0.1\ncli.main()\n")
    command = [sys.executable, fast, "serve", "--log-format", "json", *flags]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, stop: signal.Signals) -> None:
    """On an empty cluster, with a certificate from files."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(CERTIFICATE)
    key.write_bytes(KEY)
    flags = ports()
    trust = ssl.create_default_context()
    CA.configure_trust(trust)

    def get(url: str) -> str:
        try:
            return httpx.get(url, verify=trust, trust_env=False).text
        except httpx.TransportError:
            return ""

    with (
        api_server(tmp_path) as api,
        serving(tmp_path, "--kubeconfig", api, *flags, "--tls-cert", certificate, "--tls-key", key) as process,
    ):
        until(lambda: get(f"https://127.0.0.1:{flags[3]}/readyz") == "ok\n", "ready", within=20)
        numbers = get(f"http://127.0.0.1:{flags[5]}/metrics")
        process.send_signal(stop)
        said = process.communicate(timeout=20)[1]

    assert process.returncode == 0
    assert 'pullsecret_webhook_known_objects{resource="namespaces"} 0.0' in numbers
    assert "pullsecret_webhook_ready 1.0\n" in numbers
    assert re.search(r'pullsecret_webhook_build_info\{python="3[0-9.]+",version="[0-9.]+"\} 1.0', numbers)
    assert "process_resident_memory_bytes" in numbers
    lines = [json.loads(line) for line in said.splitlines()]
    events = [line["event"] for line in lines if line.get("about") != "certificate"]
    assert events == ["starting", "listening", "synced", *(["draining"] if stop == signal.SIGTERM else []), "stopped"]
    assert not planted.leaks(said)


def test_an_api_server_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    """It knows neither tokens nor roles at first. Meanwhile the process says that it lives."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(CERTIFICATE)
    key.write_bytes(KEY)
    flags, port = ports(), free_port()
    trust = ssl.create_default_context()
    CA.configure_trust(trust)

    def get(url: str) -> str:
        try:
            return httpx.get(url, verify=trust, trust_env=False).text
        except httpx.TransportError:
            return ""

    tls = "--tls-cert", certificate, "--tls-key", key
    with serving(tmp_path, "--kubeconfig", kubeconfig(tmp_path, port), *flags, *tls) as process:
        assert process.stderr
        said = json.loads(process.stderr.readline())
        assert said["problem"] == "the API server cannot be reached (connection refused)"
        assert get(f"http://127.0.0.1:{flags[5]}/healthz") == "ok\n"
        assert get(f"https://127.0.0.1:{flags[3]}/readyz") == ""
        assert "pullsecret_webhook_ready 0.0\n" in get(f"http://127.0.0.1:{flags[5]}/metrics")
        with api_server(tmp_path, port=port, first=[503, 401, 401, 401, 403, 403, 403, 200, 200, 403]):
            until(lambda: get(f"https://127.0.0.1:{flags[3]}/readyz") == "ok\n", "ready", within=20)
            process.send_signal(signal.SIGTERM)
            lines = [json.loads(line) for line in process.communicate(timeout=20)[1].splitlines()]

    assert process.returncode == 0
    problems = [line["problem"] for line in lines if "problem" in line]
    assert problems[0] == "the API server cannot be reached (503 Refused)"
    assert len(problems) == 4
    assert lines[-1]["event"] == "stopped"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_while_it_waits_it_can_be_stopped(tmp_path: Path, stop: signal.Signals) -> None:
    with serving(tmp_path, "--kubeconfig", kubeconfig(tmp_path, free_port()), *ports()) as process:
        assert process.stderr
        assert "not started yet" in process.stderr.readline()
        process.send_signal(stop)
        said = process.communicate(timeout=10)[1]

    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["stopped"]


def test_process_1_can_be_stopped_before_it_has_begun(tmp_path: Path) -> None:
    """The kernel keeps from it, as from a pod's, what it does not handle. It reads a file to which nobody writes."""
    os.mkfifo(config := tmp_path / "config.yaml")
    code = "from webhook.cli import main; main()"
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        sys.executable,
        "-c",
        code,
        "serve",
        "--config",
        str(config),
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            until(children.read_text, "process 1", within=10)
            child = int(children.read_text())
            until(lambda: handles(child, signal.SIGTERM), "a handler of SIGTERM", within=10)
            os.kill(child, signal.SIGTERM)
            said = process.communicate(timeout=10)[1]
        finally:
            process.kill()

    assert (process.returncode, said) == (0, "")


def test_a_stop_before_it_has_begun_is_not_swallowed() -> None:
    """It may come in an import, which swallows what a handler raises, or makes a RuntimeError of it as `__set_name__`
    did before Python 3.12.
    """
    code = """
import os, signal
from webhook.cli import process

class Stopped:
    def __set_name__(self, *_):
        os.kill(os.getpid(), signal.SIGTERM)

process.ends_on_sigterm()
try:
    class Imported:
        attribute = Stopped()
except BaseException:
    pass
raise SystemExit("it goes on")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def handles(process: int, number: signal.Signals) -> bool:
    (caught,) = re.findall(r"SigCgt:\s+(\w+)", Path(f"/proc/{process}/status").read_text())
    return bool(int(caught, 16) >> (number - 1) & 1)
