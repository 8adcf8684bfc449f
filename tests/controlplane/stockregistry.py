"""The distribution registry alone, as everybody runs it: with a configuration of its own, and a token service that
others run. What stands in for ghcr.io is another one (registry.py).
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from controlplane.binaries import need
from controlplane.image import MANIFEST
from controlplane.pki import Pki
from controlplane.ports import free_port
from controlplane.process import Child

Configure = Callable[[dict[str, Any]], None]


class StockRegistry:
    """On loopback. Images have its address in their names."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"https://{self.address}"
        self._folder, self._pki, self.ca = folder, pki, pki.ca
        self._child: Child | None = None

    @contextmanager
    def serving(self, text: str, configure: Configure) -> Iterator[Self]:
        """`text`: its configuration file, of which `configure` changes what is another one here."""
        config = yaml.safe_load(text)
        pair = self._pki.server("registry", "127.0.0.1", "localhost")
        config["storage"]["filesystem"]["rootdirectory"] = str(self._folder / "storage")
        config["http"] |= {"addr": self.address, "tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}
        configure(config)
        file = self._folder / "config.yml"
        file.write_text(yaml.safe_dump(config))
        command: list[str | Path] = [need("registry")["registry"], file]
        with Child("stock registry", command, log=self._folder / "registry.log") as child:
            self._child = child
            child.until(self._answers, "the registry answers", within=20)
            yield self

    def restart(self) -> None:
        assert self._child is not None
        self._child.stop()
        self._child.again()
        self._child.until(self._answers, "the registry answers", within=20)

    def client(self, token: str = "") -> httpx.Client:
        headers = {"Accept": MANIFEST} | ({"Authorization": f"Bearer {token}"} if token else {})
        context = ssl.create_default_context(cafile=self.ca)
        return httpx.Client(base_url=self.url, headers=headers, verify=context, timeout=30, trust_env=False)

    def log(self) -> str:
        return (self._folder / "registry.log").read_text()

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/v2/").status_code == 401
        except httpx.TransportError:
            return False
