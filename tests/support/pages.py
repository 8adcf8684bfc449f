"""The pages of the documentation, and what is in them."""

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pullsecret-webhook"
PAGES = {
    file.relative_to(ROOT).as_posix(): file.read_text()
    for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), CHART / "README.md", *ROOT.glob("tests/*/README.md"))
}


def block(page: str, language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


def missing(page: str, figures: Iterable[str]) -> list[str]:
    """Of what it has to say of the code's bounds."""
    text = " ".join(PAGES[page].split())
    return [figure for figure in figures if " ".join(figure.split()) not in text]
