"""Connects the parts that decide, for app.py and for tests, which have their own source and their own API server."""

from webhook.accounts import Tightened
from webhook.admission import Admission
from webhook.config.models import Config
from webhook.refresh import Refresh
from webhook.supply import Supply


class Parts:
    """What decides. `state` reports its changes to the others."""

    def __init__(self, config: Config, supply: Supply) -> None:
        name, self.state, self.supply = supply.planner.name, supply.state, supply
        self.refresh = Refresh(supply, self.state.namespaces.of_owner, supply.record, name)
        self.admission = Admission(config, self.state, supply, supply.lookup, self.refresh.look, supply.record)
        self.state.namespaces.new_or_moved = self.refresh.new_or_moved
        self.state.accounts.on_change.append(Tightened(name, self.state, supply.record))
