"""Something that a human must know. A `Record` makes it a log line, a metric and an Event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from webhook.core.owner import MAX_OWNER_CHARS
from webhook.core.shown import short

MAX_MESSAGE_BYTES, MAX_NAME_BYTES = 1024, 253
"""Bytes that the API server accepts in an Event's note and in a name."""

About = Literal["Secret", "ServiceAccount", "Service", "Namespace"]
Reason = Literal[
    "AccountRefuses",
    "CredentialElsewhere",
    "CredentialExpired",
    "CredentialExpires",
    "CredentialLeftOut",
    "CredentialLimited",
    "CredentialMatchesNothing",
    "CredentialNotChecked",
    "CredentialRefused",
    "CredentialUnknown",
    "CredentialWorks",
    "ForeignSecret",
    "ImageNotRewritten",
    "IssueFailed",
    "Issued",
    "IssuedSoonEnds",
    "MirrorAnswers",
    "MirrorSilent",
    "NamespaceMistake",
    "NoCredential",
    "NoticesLeftOut",
    "PullSecretDeleted",
    "PullSecretRight",
    "PullSecretUpdated",
    "PullSecretWithdrawn",
    "RegistrationBack",
    "RegistrationGone",
    "SafetyNetLimited",
    "SourceAnswerBroken",
    "SourceAnswers",
    "SourceFeedBroken",
    "SourceFeedWorks",
    "SourceSecretBroken",
    "SourceSecretMistake",
    "SourceSecretRemoved",
    "SourceUnavailable",
    "SupplyFailed",
    "TugOfWar",
    "Unreadable",
    "WithdrawalsHeld",
    "WritePolicyBack",
    "WritePolicyGone",
]
"""As in Kubernetes Events. docs/troubleshooting.md says of each what to do."""
OVER: Mapping[str, tuple[Reason, ...]] = {
    "PullSecretRight": (
        "NoCredential",
        "CredentialElsewhere",
        "CredentialUnknown",
        "CredentialExpired",
        "ForeignSecret",
        "CredentialRefused",
        "PullSecretWithdrawn",
        "SupplyFailed",
    ),
    "SourceAnswers": ("SourceUnavailable", "SourceAnswerBroken"),
    "SourceFeedWorks": ("SourceFeedBroken",),
    "Issued": ("IssueFailed", "IssuedSoonEnds"),
    "MirrorAnswers": ("MirrorSilent",),
}
"""The reasons that something is right again, with those of the notices about the same that are over then."""


@dataclass(frozen=True, slots=True)
class Notice:
    """`message` never holds a token.

    `source` and `owner`: for a notice about a source, the source's name and the one owner that it is about; empty if it
    is about none, or about several. Of a mirror, `source` is its host; of an issuer its name. Each text may contain
    what others wrote, so all are cut here. `news`: what went well, and has its log line already: it becomes an Event
    unless there is too much of it. `quiet`: what concerns one tenant alone: it has no log line, and is left out if
    there is too much of it.
    """

    reason: Reason
    message: str
    namespace: str
    kind: About
    name: str
    type: Literal["Warning", "Normal"] = "Warning"
    owner: str = ""
    source: str = ""
    news: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", short(self.message, MAX_MESSAGE_BYTES))
        object.__setattr__(self, "name", short(self.name, MAX_NAME_BYTES))
        object.__setattr__(self, "owner", self.owner[: MAX_OWNER_CHARS + 1])  # a cut owner equals no real one
        object.__setattr__(self, "source", short(self.source, MAX_NAME_BYTES))

    @property
    def over(self) -> tuple[Reason, ...]:
        """The reasons of notices about the same that have ended with this one."""
        return OVER.get(self.reason, ())


Record = Callable[[Notice], None]
