"""The command `pullsecret`. Exit codes: 0 done, 1 it failed while running, 2 something was called or written wrong."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from webhook import verbs
from webhook.config.reading import ConfigError
from webhook.core.errors import PullsecretError
from webhook.core.shown import shown
from webhook.verbs import FAILED, USAGE, UsageError

MAX_COMPLAINT_CHARS = 2000
"""Characters of an error: what is said of a file or by the API server may quote anything."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
    except (ConfigError, UsageError) as e:
        code = _complain(e, USAGE)
    except PullsecretError as e:
        code = _complain(e, FAILED)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `pullsecret inject ... | head`
        sys.stderr.close()
        code = FAILED
    sys.exit(code)


def _complain(e: Exception, code: int) -> int:
    print(f"pullsecret: {shown(str(e), MAX_COMPLAINT_CHARS)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pullsecret",
        description="Gives every namespace its owner's image pull secret, and every pod a reference to it.",
        epilog="Exit codes: 0 done; 1 it failed while running; 2 the call, a file or the configuration is wrong.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _serve_command(commands)
    _inject_command(commands)
    _config_command(commands)
    _try_command(commands)
    _status_command(commands)
    _adopt_command(commands)
    _uninstall_command(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=verbs.version)
    return parser


Commands = argparse._SubParsersAction  # noqa: SLF001  # the only name argparse has for it


def _serve_command(commands: "Commands[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser(
        "serve",
        help="run the admission server",
        description="Runs the admission server until SIGTERM. In a pod it needs no arguments; a flag goes before the "
        "configuration file. Without --tls-cert it makes its own certificate and publishes its CA.",
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="YAML; see `pullsecret config schema`")
    serve.add_argument("--kubeconfig", metavar="FILE", help="how to reach the API server (default: as a pod)")
    serve.add_argument("--address", help="where to listen (default 0.0.0.0)")
    serve.add_argument("--port", type=int, help="TLS port for the API server (default 8443)")
    serve.add_argument("--metrics-port", type=int, help="plain HTTP port for /metrics (default 8080)")
    serve.add_argument("--tls-cert", metavar="FILE", help="certificate chain, PEM; read again when it changes")
    serve.add_argument("--tls-key", metavar="FILE", help="its private key, PEM")
    serve.add_argument("--log-format", choices=("text", "json"), default="json" if not sys.stderr.isatty() else "text")
    serve.add_argument("--verbose", action="store_true", help="log more")
    serve.set_defaults(run=verbs.serve)


def _inject_command(commands: "Commands[argparse.ArgumentParser]") -> None:
    inject = commands.add_parser(
        "inject",
        help="print manifests as the webhook would leave them",
        description="Prints manifests (YAML or JSON, any number of documents, Lists too) as the webhook would leave "
        "them in a namespace of the given owner. Needs no cluster. What changes goes to stderr, one line each; "
        "everything else stays byte for byte.",
        epilog="Example: kustomize build . | pullsecret inject -f - --owner alice | kubectl diff -f -",
    )
    inject.add_argument("-f", "--filename", required=True, metavar="FILE", help="the manifests; - for standard input")
    inject.add_argument("--owner", required=True, metavar="NAME", help="the owner of the namespace that they are for")
    inject.add_argument("--config", type=Path, metavar="FILE", help="for the pull secret's name and `deployments`")
    inject.add_argument("-q", "--quiet", action="store_true", help="nothing on stderr but errors")
    inject.set_defaults(run=verbs.inject)


def _config_command(commands: "Commands[argparse.ArgumentParser]") -> None:
    config = commands.add_parser("config", help="check a configuration file, or print its schema")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="say whether a file is a valid configuration, and what it comes to")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="json: all values, defaults too"
    )
    check.set_defaults(run=verbs.config_check)
    schema = actions.add_parser("schema", help="print the configuration's JSON Schema")
    schema.set_defaults(run=verbs.config_schema)


def _try_command(commands: "Commands[argparse.ArgumentParser]") -> None:
    trial = commands.add_parser(
        "try",
        help="see whether a pod in a namespace would get the reference",
        description="Creates a pod by dry run in an owned namespace and looks whether the API server adds the "
        "reference to the pull secret. Nothing is stored. The chart's `helm test` does this.",
    )
    trial.add_argument("--namespace", required=True, metavar="NAME", help="a namespace that has an owner")
    trial.add_argument(
        "--within", type=float, default=60.0, metavar="SECONDS", help="how long to try again (default 60)"
    )
    _reach(trial)
    trial.set_defaults(run=verbs.try_pod)


def _status_command(commands: "Commands[argparse.ArgumentParser]") -> None:
    status = commands.add_parser(
        "status",
        help="show whether each namespace has what it should have",
        description="For each namespace that has an owner: the state of its pull secret, when the first of its "
        "credentials ends, when it was written, its registries, and below that what is wrong and which running pods "
        "have no reference to it. Reads from the cluster and writes nothing; prints no token and no user name. "
        "SECRET is right, wrong, or none: no credential of the owner is known, so there is nothing to write.",
        epilog="Exit codes: 0 all fine; 1 a human is needed; 2 the call or the configuration is wrong.",
    )
    status.add_argument("-n", "--namespace", metavar="NAME", help="only this one")
    _view_arguments(status)
    status.set_defaults(run=verbs.status)


def _adopt_command(commands: "Commands[argparse.ArgumentParser]") -> None:
    adopt = commands.add_parser(
        "adopt",
        help="take over pull secrets that something else wrote",
        description="Makes existing dockerconfigjson Secrets of the pull secret's name, in namespaces that have an "
        "owner, the webhook's own. Each keeps UID and content; the webhook then writes the owner's credentials into "
        "it. One is refused, with what to do, if something still writes it, or if its owner's credentials are unknown "
        "or lack a registry that the Secret has. Only credentials in source Secrets can be seen from here.",
        epilog="Exit codes: 0 all fine; 1 a human is needed; 2 the call or the configuration is wrong. "
        "Example: pullsecret adopt --all --dry-run",
    )
    where = adopt.add_mutually_exclusive_group(required=True)
    where.add_argument("-n", "--namespace", metavar="NAME", help="the namespace of the Secret")
    where.add_argument("--all", action="store_true", help="in all namespaces that have an owner")
    adopt.add_argument("--dry-run", action="store_true", help="say what would be done; the API server checks it too")
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
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: the ConfigMap that the chart made")
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, ~/.kube/config, or as a pod")


def _uninstall_command(commands: "Commands[argparse.ArgumentParser]") -> None:
    uninstall = commands.add_parser(
        "uninstall",
        help="remove what the webhook leaves in the cluster",
        description="For the chart's `helm uninstall`. `registration`: the MutatingWebhookConfiguration, so that the "
        "API server calls nobody. `secrets`: the pull secrets in all namespaces and the webhook's CA; containers whose "
        "image must be pulled or verified again cannot start then. Stop the webhook first: it would write them anew.",
    )
    uninstall.add_argument("what", choices=("registration", "secrets"))
    _reach(uninstall)
    uninstall.set_defaults(run=verbs.uninstall)


def _reach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="for the names of the objects")
    parser.add_argument("--kubeconfig", metavar="FILE", help="how to reach the API server (default: as a pod)")
