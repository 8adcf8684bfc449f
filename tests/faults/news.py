"""What changes while a fault lasts: each of these must be right soon after it."""

import itertools
import time

from controlplane.waiting import until
from faults.load import Load
from faults.tenants import Tenants

_KNOWN = 0.2
"""Seconds until the API server itself knows a namespace's new label. It asks nobody before."""


class News:
    def __init__(self, tenants: Tenants, load: Load) -> None:
        self._tenants, self._load = tenants, load
        self._deleted = itertools.count()

    def all(self, pause: float) -> None:
        """One of each, so many seconds apart."""
        for change in (self.rotated, self.moved, self.first_pod, self.deleted, self.labelled):
            change()
            time.sleep(pause)

    def rotated(self) -> None:
        self._tenants.rotate(self._tenants.owners[0])

    def moved(self) -> None:
        owners = sorted(self._tenants.owners, key=lambda owner: len(self._tenants.owned(owner)))
        self._tenants.label(self._tenants.owned(owners[-1])[0], owners[0])

    def deleted(self) -> None:
        """Another one each time: who deletes the same Secret again and again is made to wait by the back-off."""
        spaces = self._tenants.spaces
        self._tenants.lose(spaces[next(self._deleted) % len(spaces)])

    def labelled(self) -> None:
        """One that was known as nobody's."""
        space = self._tenants.taken()
        time.sleep(_KNOWN)  # for pods under way
        self._tenants.label(space, self._tenants.owners[4])
        time.sleep(_KNOWN)
        self._tenants.load(space)
        self._tenants.control()

    def first_pod(self) -> None:
        first_pod(self._tenants, self._load, self._tenants.owners[5])


def first_pod(tenants: Tenants, load: Load, owner: str) -> None:
    """A namespace that comes with a pod, whose service account comes along."""
    space = tenants.namespace(owner, ready=False)
    account = tenants.account(space)
    until(lambda: load.one(space, account=account), "the API server takes the first pod", within=180, every=0.2)
    tenants.await_account(space)
    tenants.load(space)
