"""Connects the parts that decide, for app.py and for tests, which have their own source and their own API server."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from webhook.accounts import Tightened
from webhook.admission import Admission
from webhook.config.models import Config
from webhook.core.metrics import Metrics
from webhook.core.notice import Record
from webhook.core.pullsecret import Planner
from webhook.kube.store import Lookup, PullSecrets
from webhook.kube.views import State
from webhook.refresh import Refresh
from webhook.sources import Answers
from webhook.supply import Supply


class Parts:
    """What decides. `state` reports its changes to the others."""

    def __init__(
        self,
        *,
        config: Config,
        state: State,
        source: Answers,
        store: PullSecrets,
        lookup: Lookup,
        policy: Callable[[], Awaitable[bool]],
        planner: Planner,
        now: Callable[[], datetime],
        metrics: Metrics,
        record: Record,
    ) -> None:
        self.state = state
        self.supply = Supply(state, source, store, lookup, policy, planner, now, metrics, record)
        self.refresh = Refresh(self.supply, state.namespaces.of_owner, record, secret=planner.name)
        self.admission = Admission(config, state, self.supply, lookup, self.refresh.look, record)
        state.namespaces.new_or_moved = self.refresh.new_or_moved
        state.accounts.on_change.append(Tightened(planner.name, state, record))
