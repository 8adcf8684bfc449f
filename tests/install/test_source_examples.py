"""The examples in docs/examples/sources: valid configurations whose files the chart puts where they look for them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.helm import Helm, one
from webhook.config import reading
from webhook.config.sourceconfig import HttpSource, SqlSource

pytestmark = pytest.mark.helm
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "sources"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example(helm: Helm, file: Path) -> None:
    values = yaml.safe_load(file.read_text())
    rendered = helm.render(values)
    written = yaml.safe_load(one(rendered, "ConfigMap", "pullsecret-webhook")["data"]["config.yaml"])
    sources = reading.convert(written).sources
    assert sources == reading.convert(values["config"]).sources
    container, volumes = _webhook(rendered)
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    for path in _files(sources):
        assert mounted[str(Path(path).parent)]["secret"]["secretName"] in values["sourceFiles"]


def _webhook(rendered: list[Any]) -> tuple[Any, dict[str, Any]]:
    spec = one(rendered, "Deployment")["spec"]["template"]["spec"]
    return spec["containers"][0], {volume["name"]: volume for volume in spec["volumes"]}


def _files(sources: Any) -> list[str]:
    found: list[str | None] = []
    for source in sources:
        if isinstance(source, SqlSource):
            found.append(source.url_file)
            if source.decrypt:
                found += [source.decrypt.keys_file, source.decrypt.passphrase_file]
        if isinstance(source, HttpSource):
            found += [source.token_file, source.ca_file, source.cert_file, source.key_file]
    assert found
    return [path for path in found if path is not None]
