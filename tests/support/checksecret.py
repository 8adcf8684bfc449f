"""The Secret with what registries said, in memory."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from certs.errors import ApiTrouble, Conflict
from certs.ports import Stored
from webhook.core.check import KEY, RECORDS, Checks, decoded


@dataclass
class Secret:
    """The shared Secret. `trouble`: what the next calls meet."""

    stored: Stored | None = None
    version: int = 0
    trouble: list[ApiTrouble] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    async def read(self) -> Stored | None:
        self.calls["read"] += 1
        if self.trouble:
            raise self.trouble.pop()
        return self.stored

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> Stored:
        self.calls["write"] += 1
        if self.trouble:
            raise self.trouble.pop()
        if (over and over.version) != (self.stored and self.stored.version):
            raise Conflict("changed")
        self.version += 1
        self.stored = Stored(dict(data), str(self.version))
        return self.stored

    @property
    def checks(self) -> Checks:
        assert self.stored is not None
        return Checks(self.stored.data[KEY], decoded(self.stored.data[RECORDS]))
