"""What was looked at beside the API server. Values only."""

from collections.abc import Iterator
from dataclasses import dataclass

from webhook.commands.doctor.asking import Asked
from webhook.commands.doctor.evidence import HostSeen, Probed, Role
from webhook.commands.doctor.reach import Clock, Reach, reach

THE_REGISTRY, THE_NODE, OWN_CA = "the registry (--ask)", "the node (--node)", "a CA of your own (--ca-file)"
"""What is not looked at unless somebody wants it."""
ROLES: dict[Role, str] = {"registry": "", "realm": " (its token service)", "blobs": " (where its layers are)"}
"""What follows the name of a host that is not the image's own."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a probe saw. `place`: such as `node k3s-1`."""

    place: str
    probed: Probed

    @property
    def clock(self) -> Clock:
        return Clock.of(self.probed)

    def reaches(self) -> Iterator[tuple[HostSeen, Reach]]:
        for seen in self.probed.hosts:
            yield seen, reach(seen, self.clock, knows_cas=self.probed.public_cas)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was looked at beside the API server. None: it was not; `not_looked`: why not, and at what else. `missed`:
    the node was wanted, and could not be looked at.
    """

    node: Looked | None = None
    here: Looked | None = None
    asked: Asked | None = None
    not_looked: tuple[str, ...] = ()
    missed: bool = False
