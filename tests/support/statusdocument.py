"""What `pullsecret status -o json` prints, held against its documentation."""

import json
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "status.schema.json").read_text())
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def read(printed: str) -> dict[str, Any]:
    """Fails where it is not as documented."""
    found: dict[str, Any] = json.loads(printed)
    _VALIDATOR.validate(found)
    return found
