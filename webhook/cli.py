"""The command `pullsecret`. Exit codes: 0 success, 1 failure while running, 2 wrong arguments, file, configuration; and
of `status` 3, if the cluster could not be looked at.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from webhook import verbs
from webhook.config.reading import ConfigError
from webhook.core.errors import PullsecretError
from webhook.core.shown import shown
from webhook.verbs import FAILED, UNSEEN, USAGE, UnseenError, UsageError

AddParser = Callable[..., argparse.ArgumentParser]
MAX_ERROR_CHARS = 2000
"""Characters. An error about a file or from the API server may quote text of any length."""

OBJECT_NAMES = "configuration; has the names of the objects"
POD_ACCESS = "access to the API server (default: the pod's service account)"
ADMIN_ACCESS = "access to the API server (default: $KUBECONFIG, ~/.kube/config, or the pod's service account)"
VIEW_EXIT_CODES = "Exit codes: 0 all fine; 1 something needs attention; 2 wrong arguments or configuration."


STATUS_EXIT_CODES = f"{VIEW_EXIT_CODES.removesuffix('.')}; 3 the cluster could not be looked at."


def main(argv: Sequence[str] | None = None) -> NoReturn:
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
    except PullsecretError as e:
        print(f"pullsecret: {shown(str(e), MAX_ERROR_CHARS)}", file=sys.stderr)
        code = UNSEEN if isinstance(e, UnseenError) else USAGE if isinstance(e, ConfigError | UsageError) else FAILED
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `pullsecret inject ... | head`
        sys.stderr.close()
        code = FAILED
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pullsecret",
        description="Gives every namespace the image pull secret of its owner, and every pod a reference to it.",
        epilog="Exit codes: 0 success; 1 failure while running; 2 wrong arguments, file or configuration.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for define in (_serve, _inject, _config, _try, _status, _explain, _adopt, _uninstall, _version):
        define(commands.add_parser)
    return parser


def _serve(add: AddParser) -> None:
    serve = add(
        "serve",
        help="run the admission server",
        description="Runs the admission server until SIGTERM. In a pod it needs no arguments. A flag overrides the "
        "configuration file. Without --tls-cert the server creates a CA and a certificate, and publishes the CA.",
    )
    _files(serve, "configuration; see `pullsecret config schema`", POD_ACCESS)
    serve.add_argument("--address", help="IP address to listen on (default: 0.0.0.0)")
    serve.add_argument("--port", type=int, metavar="PORT", help="TLS port for the API server (default: 8443)")
    serve.add_argument("--metrics-port", type=int, metavar="PORT", help="HTTP port for /metrics (default: 8080)")
    serve.add_argument("--tls-cert", metavar="FILE", help="certificate chain in PEM; read again when it changes")
    serve.add_argument("--tls-key", metavar="FILE", help="private key of the certificate in PEM")
    serve.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text" if sys.stderr.isatty() else "json",
        help="default: text on a terminal, otherwise json",
    )
    serve.add_argument("--verbose", action="store_true", help="also log each review, and what it was answered")
    serve.set_defaults(run=verbs.serve)


def _inject(add: AddParser) -> None:
    inject = add(
        "inject",
        help="print manifests with the changes that the webhook would make",
        description="Prints manifests (YAML or JSON, also several documents and Lists) with the changes that the "
        "webhook would make in a namespace of the given owner. Needs no cluster. Prints one line on stderr for each "
        "changed object. All other bytes stay the same.",
        epilog="Example: kustomize build . | pullsecret inject -f - --owner alice | kubectl diff -f -",
    )
    inject.add_argument(
        *("-f", "--filename"),
        required=True,
        action="append",
        metavar="FILE",
        help="the manifests; - means standard input; may be given several times",
    )
    inject.add_argument("--owner", required=True, metavar="NAME", help="owner of the namespace")
    inject.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration; its pullSecret.name and deployments are used"
    )
    inject.add_argument("-q", "--quiet", action="store_true", help="print only errors on stderr")
    inject.set_defaults(run=verbs.inject)


def _config(add: AddParser) -> None:
    config = add("config", help="check a configuration file, or print its schema")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="check a configuration file, and print what follows from it")
    check.add_argument("file", type=Path, metavar="FILE")
    _output(check, "json prints all values, also defaults (default: text)")
    check.set_defaults(run=verbs.config_check)
    schema = actions.add_parser("schema", help="print the JSON Schema of the configuration")
    schema.set_defaults(run=verbs.config_schema)


def _try(add: AddParser) -> None:
    trial = add(
        "try",
        help="check that a new pod in a namespace gets the reference",
        description="Creates a pod by dry run in a namespace that has an owner, and checks that the pod gets the "
        "reference to the pull secret. Nothing is stored. `helm test` of the chart runs this command.",
    )
    trial.add_argument("--namespace", required=True, metavar="NAME", help="a namespace that has an owner")
    trial.add_argument("--within", type=float, default=60.0, metavar="SECONDS", help="how long to retry (default: 60)")
    _files(trial, OBJECT_NAMES, POD_ACCESS)
    trial.set_defaults(run=verbs.try_pod)


def _status(add: AddParser) -> None:
    status = add(
        "status",
        help="show whether each namespace has the right pull secret",
        description="Prints what is wrong with the webhook itself: its registration, caBundle, replicas and "
        "policies. Then a line for each namespace that has an owner, or lacks one because of a mistake in its labels "
        "or annotations: the state of its pull secret, when the next of its credentials expires, when it was written, "
        "and its registries. Below the line: what is wrong, the pods that cannot pull an image and why, and the "
        "running pods that lack the reference that one of their images needs. The state is right, wrong, none, "
        "withdrawn, refused, unserved or unknown. None means: no credential of the owner is known, so there is nothing "
        "to write. Withdrawn: there was one within the last hour. The command reads from the cluster and writes "
        "nothing. What the user may not read is named in one line. It prints no token and no user name.",
        epilog=STATUS_EXIT_CODES,
    )
    where = status.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NAME", help="only this namespace")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="all namespaces (the default)")
    status.add_argument("--owner", metavar="NAME", help="only the namespaces of this owner")
    status.add_argument(
        "--problems", action="store_true", help="only namespaces that need attention; the summary counts all"
    )
    _view_arguments(status)
    status.set_defaults(run=verbs.status)


def _explain(add: AddParser) -> None:
    explain = add("explain", help="explain one pod or one namespace, and name the next step")
    kinds = explain.add_subparsers(metavar="KIND", required=True, dest="kind")
    pod = kinds.add_parser(
        "pod",
        help="why a pod has or lacks the reference, and why it cannot pull",
        description="Prints the owner of the pod's namespace and the rule that found it, whether the pod has the "
        "reference to the pull secret and if not, why, its pull secrets, for each image the entries that match in the "
        "order in which the kubelet tries them, what the kubelet says, what that means, and the one next step. Reads "
        "only. Prints no token and no user name.",
        epilog=f"{STATUS_EXIT_CODES} Example: pullsecret explain pod web-7d9f -n team-a",
    )
    pod.add_argument("name", metavar="NAME", help="the pod")
    pod.add_argument("-n", "--namespace", required=True, metavar="NAME", help="its namespace")
    namespace = kinds.add_parser(
        "namespace",
        help="the owner of a namespace, its pull secret, and its pods that cannot pull",
        description="Prints the owner of the namespace and the rule that found it, whether the webhook serves it and "
        "if not, why, its pull secret, its pods that cannot pull or lack the reference, and the one next step. Reads "
        "only. Prints no token and no user name.",
        epilog=f"{STATUS_EXIT_CODES} Example: pullsecret explain namespace team-a",
    )
    namespace.add_argument("name", metavar="NAME", help="the namespace")
    for one in (pod, namespace):
        _view_arguments(one)
        one.set_defaults(run=verbs.explain)


def _adopt(add: AddParser) -> None:
    adopt = add(
        "adopt",
        help="take over pull secrets that something else wrote",
        description="Lets the webhook take over existing dockerconfigjson Secrets with the name of the pull secret, in "
        "namespaces that have an owner. Each Secret keeps its UID, and its content until the webhook writes the "
        "credentials of the owner into it. A Secret is refused if something else still writes it, or if the "
        "credentials of its owner are unknown or lack a registry that the Secret has. The output says what to do. "
        "This command sees only credentials in source Secrets.",
        epilog=f"{VIEW_EXIT_CODES} Example: pullsecret adopt --all --dry-run",
    )
    where = adopt.add_mutually_exclusive_group(required=True)
    where.add_argument("-n", "--namespace", metavar="NAME", help="the namespace of the Secret")
    where.add_argument("--all", action="store_true", help="all namespaces that have an owner")
    adopt.add_argument("--dry-run", action="store_true", help="only print what would change; the API server checks it")
    adopt.add_argument(
        "--force",
        action="store_true",
        help="adopt even if the owner's credentials are unknown, expired or incomplete; the webhook then removes every "
        "entry that its sources do not have",
    )
    _view_arguments(adopt)
    adopt.set_defaults(run=verbs.adopt)


def _view_arguments(parser: argparse.ArgumentParser) -> None:
    """For an administrator, who has a kubeconfig and need not know where the configuration is."""
    _output(parser, "default: text")
    _files(parser, "configuration (default: the chart's ConfigMap)", ADMIN_ACCESS)


def _output(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help=text)


def _files(parser: argparse.ArgumentParser, config: str, kubeconfig: str) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help=config)
    parser.add_argument("--kubeconfig", metavar="FILE", help=kubeconfig)


def _uninstall(add: AddParser) -> None:
    uninstall = add(
        "uninstall",
        help="delete what the webhook created in the cluster",
        description="`helm uninstall` of the chart runs this command. `registration` deletes the "
        "MutatingWebhookConfiguration, so that the API server no longer calls the webhook. `secrets` deletes the pull "
        "secrets in all namespaces and the CA Secret; after that, a container cannot start if its image must be pulled "
        "or verified again. Stop the webhook first: it would create the Secrets again.",
    )
    uninstall.add_argument("what", choices=("registration", "secrets"))
    _files(uninstall, OBJECT_NAMES, POD_ACCESS)
    uninstall.set_defaults(run=verbs.uninstall)


def _version(add: AddParser) -> None:
    add("version", help="print the version").set_defaults(run=verbs.version)
