"""Writes the chart as a release has it: it names the image that was pushed, and where it all comes from.

The chart in the repository names neither: there is no image before somebody has pushed one.
"""

import argparse
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

OWN_IMAGE = (
    "  --set image.repository=registry.example.com/pullsecret-webhook  # `make image` in the repository builds it"
)
"""In the README; a release needs no such line."""
CHART = Path(__file__).parent / "pullsecret-webhook"


@dataclass(frozen=True)
class Release:
    """`image`: REPOSITORY@sha256:...; `charts`: the OCI repository that gets the chart, without `oci://`; `source`: the
    address of the Git repository; `platforms` are those of the image.
    """

    image: str
    charts: str
    source: str
    platforms: tuple[str, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64}", self.image):
            raise ValueError(
                f"--image {self.image} is not REPOSITORY@sha256:DIGEST; name what was pushed by its digest"
            )
        if not re.fullmatch(r"https://[!-~]+", self.source):
            raise ValueError(f"--source {self.source} is no https address of a repository")

    def write(self, folder: Path) -> Path:
        """`folder` must not have the chart yet."""
        made = folder / CHART.name
        shutil.copytree(CHART, made)
        repository, _, digest = self.image.partition("@")
        _change(
            made / "values.yaml", ('repository: ""', f"repository: {repository}"), ('digest: ""', f"digest: {digest}")
        )
        _change(
            made / "README.md",
            ('| `image.repository` | `""` |', f"| `image.repository` | `{repository}` |"),
            ('| `image.digest` | `""` |', f"| `image.digest` | `{digest}` |"),
            (
                f"helm install {CHART.name} charts/{CHART.name} ",
                f"helm install {CHART.name} oci://{self.charts}/{CHART.name} ",
            ),
            (f"--create-namespace \\\n{OWN_IMAGE}\n", "--create-namespace\n"),
        )
        with (made / "Chart.yaml").open("a") as file:
            file.write(self._about(repository, digest))
        return made

    def _about(self, repository: str, digest: str) -> str:
        text = (CHART / "Chart.yaml").read_text()
        (version,) = re.findall(r"^version: (\S+)$", text, re.MULTILINE)
        return f"""\
home: {self.source}
sources: [{self.source}]
icon: {self.source}/raw/v{version}/docs/icon.svg
annotations:
  artifacthub.io/category: security
  artifacthub.io/license: Apache-2.0
  artifacthub.io/images: |
    - name: webhook
      image: {repository}:{version}@{digest}
      platforms: [{", ".join(self.platforms)}]
  artifacthub.io/links: |
    - name: documentation
      url: {self.source}/tree/v{version}/docs
"""


def _change(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for before, after in changes:
        if text.count(before) != 1:
            raise ValueError(f"{file.name} has {before!r} {text.count(before)} times, not once; see charts/release.py")
        text = text.replace(before, after)
    file.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image", required=True)
    parser.add_argument("--charts", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--platforms", nargs="+", required=True)
    given = parser.parse_args()
    Release(given.image, given.charts, given.source, tuple(given.platforms)).write(given.folder)


if __name__ == "__main__":
    main()
