"""Runs each verb of the command `pullsecret` and prints its result. Each function returns the exit code."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from webhook.config import reading
from webhook.config.models import Config
from webhook.config.reading import ConfigError
from webhook.core.errors import PullsecretError

if TYPE_CHECKING:
    from webhook.commands.cluster_view import ClusterView

OK, FAILED, USAGE, UNSEEN = 0, 1, 2, 3


class UsageError(PullsecretError):
    """Wrong arguments, or a wrong file: exit code 2."""


class UnseenError(PullsecretError):
    """The cluster could not be looked at: exit code 3."""


def serve(arguments: argparse.Namespace) -> int:
    # Until the app sets its own handler: the kernel drops a signal to process 1 that has no handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(OK))
    # Imported here: these load the server and the Kubernetes client, which no other command needs.
    from webhook import app  # noqa: PLC0415
    from webhook.serving import lines, log, secrecy  # noqa: PLC0415
    from webhook.serving.loop import Loop  # noqa: PLC0415

    config = _with_flags(reading.load(arguments.config), arguments)
    secrecy.hide_memory()
    if lines.take_over(log.taken_again):
        log.hooks()
    log.configure(arguments.log_format, verbose=arguments.verbose)
    code = OK
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(app.serve(config, arguments.kubeconfig))
    except* PullsecretError as group:
        raise PullsecretError("; ".join(str(e) for e in group.exceptions)) from None
    except* Exception as group:  # noqa: BLE001  # Python's traceback would print their messages
        log.ended(group)
        code = FAILED
    return code


def _with_flags(config: Config, arguments: argparse.Namespace) -> Config:
    server = {"address": arguments.address, "port": arguments.port, "metricsPort": arguments.metrics_port}
    tls = {"certFile": arguments.tls_cert, "keyFile": arguments.tls_key}
    raw = msgspec.to_builtins(config)
    for part, flags in (("server", server), ("tls", tls)):
        raw[part] |= {key: value for key, value in flags.items() if value is not None}
    try:
        return reading.convert(raw)
    except ConfigError as e:
        raise UsageError(f"the configuration with these flags: {e}") from None


def inject(arguments: argparse.Namespace) -> int:
    from webhook.commands.inject.references import ManifestError, inject  # noqa: PLC0415  # no other command needs it

    config = reading.load(arguments.config)
    if not arguments.owner.strip():
        raise UsageError("--owner is empty; a namespace without an owner gets no pull secret")
    templates = config.deployments == "inject"
    results = []
    for filename in arguments.filename:  # all before the first is printed: half of them may be taken for all
        try:
            results.append(inject(_read(filename), secret=config.pull_secret.name, templates=templates))
        except ManifestError as e:
            raise UsageError(f"{filename}: {e}") from None
    sys.stdout.buffer.write(_documents([result.text for result in results]).encode())
    sys.stdout.flush()
    if not arguments.quiet:
        for change in chain.from_iterable(result.changed for result in results):
            print(f"{change}: {config.pull_secret.name} of owner {arguments.owner} added", file=sys.stderr)
    return OK


def _documents(texts: Sequence[str]) -> str:
    """One file as it is; between several a line that ends a document, where there is none."""
    whole = texts[0]
    for text in texts[1:]:
        whole += "" if whole.endswith("\n") else "\n"
        whole += ("...\n" if text.startswith("%") else "" if text.startswith("---") else "---\n") + text
    return whole


def _read(filename: str) -> str:
    """Reads bytes: a text file would have its line ends changed."""
    try:
        data = sys.stdin.buffer.read() if filename == "-" else Path(filename).read_bytes()
        return data.decode()
    except OSError as e:
        raise UsageError(f"{filename}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{filename}: not UTF-8") from None


def config_check(arguments: argparse.Namespace) -> int:
    config = reading.load(arguments.file)
    if arguments.output == "json":
        print(json.dumps(msgspec.to_builtins(config), indent=2))
        return OK
    print(f"{arguments.file}: valid")
    for number, rule in enumerate(msgspec.to_builtins(config)["ownerRules"], 1):
        key = f" {rule['key']}" if "key" in rule else ""
        defaults = {"prefix": "", "owner": ".+", "suffix": ""}
        parts = (f", {part} {rule[part]}" for part, default in defaults.items() if rule[part] != default)
        print(f"owner rule {number}: {rule['from']}{key}{''.join(parts)}")
    excluded = ", ".join((*config.excluded_namespaces, config.namespace))
    print(f"pull secret: {config.pull_secret.name}; deployments: {config.deployments}")
    print(f"never served: {excluded}")
    return OK


def config_schema(_arguments: argparse.Namespace) -> int:
    print(json.dumps(reading.schema(), indent=2))
    return OK


def try_pod(arguments: argparse.Namespace) -> int:
    from webhook.commands import try_pod  # noqa: PLC0415
    from webhook.kube.cluster import Cluster, is_name  # noqa: PLC0415

    config, name = reading.load(arguments.config), arguments.namespace
    if not name:
        raise UsageError("--namespace is empty; name a namespace that has an owner (in the chart: test.namespace)")
    if not is_name(name) or config.excluded(name):
        raise UsageError(f"{name} is not a namespace that the webhook serves; name a namespace that has an owner")

    async def run() -> None:
        async with Cluster.connect(arguments.kubeconfig) as cluster:
            await try_pod.run(cluster, config, name, arguments.within)

    asyncio.run(run())
    print(f"a pod in {name} gets {config.pull_secret.name}")
    return OK


def status(arguments: argparse.Namespace) -> int:
    from webhook.commands import status  # noqa: PLC0415

    async def run() -> status.Report:
        async with _administrator(arguments, reads_only=True) as view:
            report = await status.run(view, arguments.namespace, datetime.now(UTC))
            return report.of(arguments.owner, problems_only=arguments.problems)

    with _looking():
        report = asyncio.run(run())
    if arguments.output == "json":
        print(json.dumps(msgspec.to_builtins(report.document), indent=2))
    else:
        print(status.text(report))
    return FAILED if report.needs_a_human else OK


def explain(arguments: argparse.Namespace) -> int:
    from webhook.commands import explain  # noqa: PLC0415

    async def run() -> explain.Explained:
        async with _administrator(arguments, reads_only=True) as view:
            if arguments.kind == "pod":
                return await explain.pod(view, arguments.name, arguments.namespace, datetime.now(UTC))
            return await explain.namespace(view, arguments.name, datetime.now(UTC))

    with _looking():
        explained = asyncio.run(run())
    if arguments.output == "json":
        print(json.dumps(msgspec.to_builtins(explained.document), indent=2))
    else:
        print(explain.text(explained))
    return FAILED if explained.needs_a_human else OK


def adopt(arguments: argparse.Namespace) -> int:
    from webhook.commands import adopt  # noqa: PLC0415

    async def run() -> list[adopt.Outcome]:
        async with _administrator(arguments) as view:
            flags = {"dry_run": arguments.dry_run, "force": arguments.force}
            outcomes = []
            async for outcome in adopt.run(view, arguments.namespace, datetime.now(UTC), **flags):
                outcomes.append(outcome)
                if arguments.output == "text":
                    print(adopt.line(outcome, dry_run=arguments.dry_run), flush=True)
            return outcomes

    outcomes = asyncio.run(run())
    if arguments.output == "json":
        print(json.dumps(msgspec.to_builtins(outcomes), indent=2))
    else:
        print(adopt.summary(outcomes, dry_run=arguments.dry_run))
    return FAILED if any(outcome.result == "refused" for outcome in outcomes) else OK


@contextmanager
def _looking() -> Iterator[None]:
    """What cannot be looked at is told apart from what needs a human."""
    try:
        yield
    except (ConfigError, UsageError):
        raise
    except PullsecretError as e:
        raise UnseenError(str(e)) from None


@asynccontextmanager
async def _administrator(arguments: argparse.Namespace, *, reads_only: bool = False) -> "AsyncIterator[ClusterView]":
    from webhook.commands.cluster_view import ClusterView, deployed_config, readable_config  # noqa: PLC0415
    from webhook.kube.cluster import Cluster  # noqa: PLC0415

    own = Path.home() / ".kube" / "config"
    kubeconfig = arguments.kubeconfig or os.environ.get("KUBECONFIG") or (str(own) if own.exists() else None)
    config = reading.load(arguments.config) if arguments.config else None
    async with Cluster.connect(kubeconfig) as cluster:
        if config is not None or not reads_only:
            yield ClusterView(cluster, config or await deployed_config(cluster))
            return
        config, found = await readable_config(cluster)
        view = ClusterView(cluster, config)
        if not found:
            view.cannot_read("the configuration, so the default values count (or name it with --config)")
        yield view


def uninstall(arguments: argparse.Namespace) -> int:
    from webhook.commands import uninstall  # noqa: PLC0415
    from webhook.kube.cluster import Cluster  # noqa: PLC0415

    config = reading.load(arguments.config)
    delete = uninstall.registration if arguments.what == "registration" else uninstall.secrets

    async def run() -> str:
        async with Cluster.connect(arguments.kubeconfig) as cluster:
            return await delete(cluster, config)

    print(asyncio.run(run()))
    return OK


def version(_arguments: argparse.Namespace) -> int:
    print(metadata.version("pullsecret-webhook"))
    return OK
