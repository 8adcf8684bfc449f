"""From a JSON answer to credentials: a dockerconfigjson, or fields that the configuration names. Pure.

As in source Secrets, an entry that cannot be used is a problem beside valid entries, and an error if there are none. A
list that is missing is an error too: the answer may come from another service, or be an error page. A password that is
still encrypted cannot be used: no registry accepts it, and it would replace one that works.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

import msgspec

from webhook.config.sourceconfig import Fields
from webhook.core import times
from webhook.core.credential import MAX_CREDENTIALS, Credential
from webhook.core.dockerconfig import Parsed, crowded, parse
from webhook.core.errors import CredentialError
from webhook.core.registry import canonical_registry
from webhook.core.shown import few
from webhook.sources.encrypted import is_sealed


def read(data: bytes, answer: Literal["auths"] | Fields) -> Parsed:
    """Raises CredentialError or DockerConfigError."""
    if not isinstance(answer, Fields):
        return parse(data, may_be_empty=True, check=_plain)
    if crowded(data):
        raise CredentialError(f"it has too much in it; at most {MAX_CREDENTIALS} credentials are read")
    try:
        whole = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CredentialError("it is not JSON") from None
    items = _at(whole, answer.items)
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list):
        raise CredentialError(f"there is no list of credentials at {answer.items or 'its top'}")
    if len(items) > MAX_CREDENTIALS:
        raise CredentialError(f"it has {len(items):,} credentials; at most {MAX_CREDENTIALS} are read")
    credentials, problems = [], []
    for number, item in enumerate(items):
        try:
            credentials.append(_plain(_credential(item, answer)))
        except CredentialError as e:
            problems.append(f"credential {number}: {e}")
    if problems and not credentials:
        raise CredentialError("; ".join(few(problems)))
    return Parsed(tuple(credentials), few(problems))


def _plain(credential: Credential) -> Credential:
    if is_sealed(credential.password):
        raise CredentialError(f"the password for {credential.registry} is encrypted; the service must decrypt it")
    return credential


def _credential(item: Any, fields: Fields) -> Credential:
    if not isinstance(item, dict):
        raise CredentialError("it is not an object")
    registry = _text(item, fields.registry, fields.default_registry)
    username = _text(item, fields.username, fields.default_username)
    password = _text(item, fields.password, None)
    return Credential(canonical_registry(registry), username, password, _expires(_at(item, fields.expires)))


def _text(item: dict[str, Any], path: str, default: str | None) -> str:
    found = _at(item, path)
    value = default if found is None else found
    if not isinstance(value, str):
        raise CredentialError(f"it has no string at {path}")
    return value


def _expires(value: Any) -> datetime | None:
    if value is None:
        return None
    with suppress(ValueError):
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return times.end(value)
    raise CredentialError(f"its end {times.NO_TIME}, nor seconds since 1970")


def _at(value: Any, path: str) -> Any:
    """None: null, or nothing is there."""
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, dict) else None
    return value
