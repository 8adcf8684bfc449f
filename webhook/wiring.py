"""Connects the parts that decide, for app.py and for tests, which have their own source and their own API server."""

from collections.abc import Callable
from functools import partial

from webhook.accounts import Tightened
from webhook.admission import Admission
from webhook.config.models import Config
from webhook.core.notice import Notice, Record
from webhook.core.pullsecret import Namespace
from webhook.refresh import Refresh
from webhook.rewriting import Rewriting
from webhook.supply import Supply


class Parts:
    """What decides. `state` reports its changes to the others. `silent`: hosts of mirrors that do not answer."""

    def __init__(self, config: Config, supply: Supply, silent: Callable[[], frozenset[str]] = frozenset) -> None:
        name, self.state, self.supply = supply.planner.name, supply.state, supply
        namespaces = self.state.namespaces
        self.refresh = Refresh(
            partial(supply, in_background=True),
            namespaces.of_owner,
            namespaces.owner_of,
            supply.source.prefetch,
            supply.record,
            name,
            supply.mine,
            supply.left_to_others,
        )
        rewriting = Rewriting(config, silent, supply.source.known, supply.now) if config.rewrite_rules else None
        self.admission = Admission(
            config, self.state, supply, supply.lookup, self.refresh.look, supply.record, rewriting
        )
        self.state.namespaces.new_or_moved = self.refresh.new_or_moved
        self.state.namespaces.on_change.append(partial(_mistakes, supply.record))
        self.state.accounts.on_change.append(Tightened(name, self.state, supply.record))


def _mistakes(record: Record, name: str, before: Namespace | None, after: Namespace | None) -> None:
    """In a served namespace, and in one that is not, perhaps because of them."""
    if after is not None and after.mistakes and (before is None or before.mistakes != after.mistakes):
        record(Notice("NamespaceMistake", after.mistakes, name, "Namespace", name))
