"""Which images of a Pod get names at mirrors, if nothing is wrong with credentials and mirrors."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from webhook.config.models import Config
from webhook.core.pullsecret import ExistingSecret, Namespace
from webhook.core.review import Request
from webhook.core.rewrite import Rewritten
from webhook.rewriting import Rewriting


def names_at_mirrors(config: Config, owner: str, regions: Mapping[str, str]) -> Callable[[Request, str], Rewritten]:
    """By the review of a Pod's creation and its namespace: as if the owner had a credential for each mirror that works,
    and the mirrors answered. `regions`: of namespaces, as far as they are known.
    """
    rewriting = Rewriting(config, silent=frozenset, known=lambda _owner: None, now=lambda: datetime.now(UTC))
    entries = tuple(rule.host for rule in config.rewrite_rules)

    def rewritten(review: Request, name: str) -> Rewritten:
        namespace = Namespace(name, "", 0, owner, region=regions.get(name, ""))
        secret = ExistingSecret(name, "", 0, True, True, False, False, owner, b"", entries)
        return rewriting(review, namespace, secret, debugged=False)

    return rewritten
