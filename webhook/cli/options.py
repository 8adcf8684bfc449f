"""Options that several commands have, as kubectl's users know them, and what they come to."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)  # whether it can be read is said by those who read it, in our words
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server. `kubeconfig`: a file, or several with `:` between them; None: a pod's own account.
    `context`: of it; None: the current one. `as_user`: who is impersonated. `seconds`: for each request; None: as each
    has it.
    """

    kubeconfig: str | None = None
    context: str | None = None
    as_user: str | None = None
    seconds: float | None = None


class Seconds(click.ParamType[float]):
    """As kubectl reads them: `30`, `30s`, `2m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value).strip())
        if found is None:
            self.fail("expected a time such as 30s or 2m", param, ctx)
        return float(found[1]) * _SECONDS[found[2] or ""]


def access(command: F) -> F:
    """Hands on `access`: how to reach the API server."""

    @click.option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, ~/.kube/config, or a pod's account.")
    @click.option("--context", metavar="NAME", help="A context of the kubeconfig.  [default: the current one]")
    @click.option("--as", "as_user", metavar="USER", help="Act as this user, if you may impersonate.")
    @click.option(
        "--request-timeout",
        type=Seconds(),
        metavar="TIME",
        help="For each request.  [default: 10s to 30s]",
    )
    @wraps(command)
    def with_access(
        *args: Any,
        kubeconfig: str | None,
        context: str | None,
        as_user: str | None,
        request_timeout: float | None,
        **rest: Any,
    ) -> Any:
        found = Access(kubeconfig or _kubeconfig(), context, as_user, request_timeout or None)
        return command(*args, access=found, **rest)

    return with_access  # type: ignore[return-value]  # click's options add the parameters


def _kubeconfig() -> str | None:
    """As kubectl: None, a pod's own account, only where there is no file."""
    if named := os.environ.get("KUBECONFIG"):
        return named
    with suppress(OSError, RuntimeError):  # a home that may not be looked into, or none
        own = Path.home() / ".kube" / "config"
        return str(own) if own.exists() else None
    return None


def config_file(text: str) -> Callable[[F], F]:
    return click.option("--config", "config_file", type=FILE, metavar="FILE", help=text)


def namespace(text: str, *, required: bool = False) -> Callable[[F], F]:
    return click.option("-n", "--namespace", required=required, metavar="NAME", help=text)


def output(*more: str, text: str = "") -> Callable[[F], F]:
    """`more` formats than text and json."""
    kinds = click.Choice(("text", "json", *more))
    return click.option("-o", "--output", type=kinds, default="text", show_default=True, help=text)


CHART_CONFIG = "Configuration.  [default: the chart's ConfigMap]"
EITHER = "give either -n NAMESPACE or -A"
