"""Kinds and names as kubectl's users write them."""

import click

_SHORT = {"po": "pod", "pods": "pod", "ns": "namespace", "namespaces": "namespace"}


class Kinds(click.Group):
    """Takes `pod/NAME`, as `kubectl get -o name` prints it, and kubectl's short names."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        kind, slash, name = args[0].partition("/")
        kind = _SHORT.get(kind, kind)
        return super().resolve_command(ctx, [kind, *([name] if slash else []), *args[1:]])
