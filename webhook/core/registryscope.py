"""What a token service is asked for, and what of it a client gets. Pure.

Source: the token specification of the distribution registry: `repository:project-alice/app:pull`, several with a space
between them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from webhook.core.errors import PullsecretError
from webhook.core.imagename import is_repository
from webhook.core.shown import counted

MAX_SCOPES, MAX_SCOPE_CHARS = 20, 600
"""In one question, of which clients put one for each repository; and characters of one."""
REPOSITORY = "repository"
PULL, PUSH = "pull", "push"


class TooMuch(PullsecretError):
    """No client asks for so much at once."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Of one repository. `actions`: each once, in the order of the question."""

    name: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Right:
    """To do `actions` in the repositories whose names begin with `below` and a slash; None: in all."""

    below: str | None
    actions: frozenset[str]

    def of(self, asked: Iterable[Scope]) -> tuple[Scope, ...]:
        """What a client gets of what it has asked for."""
        found = (Scope(one.name, tuple(a for a in one.actions if a in self.actions)) for one in asked)
        return tuple(one for one in found if one.actions and self._reaches(one.name))

    def _reaches(self, name: str) -> bool:
        return self.below is None or name.startswith(f"{self.below}/")


def scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """Those of repositories, each once. Others, such as `registry:catalog:*`, and what is no name of a repository, are
    left out: nobody gets them. Raises TooMuch.
    """
    words = [word for text in texts for word in text.split(" ") if word]
    if len(words) > MAX_SCOPES:
        raise TooMuch(f"there are {counted(len(words), 'scope')}; ask for at most {MAX_SCOPES}")
    if any(len(word) > MAX_SCOPE_CHARS for word in words):
        raise TooMuch(f"a scope has more than {MAX_SCOPE_CHARS} characters")
    found = dict.fromkeys(map(_scope, words))
    return tuple(one for one in found if one is not None)


def _scope(word: str) -> Scope | None:
    kind, _, rest = word.partition(":")
    name, _, actions = rest.rpartition(":")
    if kind != REPOSITORY or not is_repository(name):
        return None
    return Scope(name, tuple(dict.fromkeys(action for action in actions.split(",") if action)))
