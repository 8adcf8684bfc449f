"""Kubeconfig files: one cluster, one user, one context; everything secret stays in files of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controlplane.pki import Pair


@dataclass(frozen=True)
class Access:
    """How to reach an API server and as whom: by client certificate or by the token in a file."""

    server: str
    ca: Path
    pair: Pair | None = None
    token_file: Path | None = None

    def write(self, file: Path) -> Path:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "test", "cluster": {"server": self.server, "certificate-authority": str(self.ca)}},
            ],
            "users": [{"name": "user", "user": self._user()}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        return file

    def _user(self) -> dict[str, str]:
        if self.pair is not None:
            return {"client-certificate": str(self.pair.certificate), "client-key": str(self.pair.key)}
        return {"tokenFile": str(self.token_file)}

    @staticmethod
    def read(file: Path) -> "Access":
        """Of a file that `write` wrote."""
        config: dict[str, Any] = yaml.load(file.read_text(), yaml.CSafeLoader)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        server, ca = cluster["server"], Path(cluster["certificate-authority"])
        if "tokenFile" in user:
            return Access(server, ca, token_file=Path(user["tokenFile"]))
        return Access(server, ca, pair=Pair(Path(user["client-certificate"]), Path(user["client-key"])))
