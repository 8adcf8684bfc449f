"""One image that somebody wants to be pulled, as the API server shows it. Values only."""

from dataclasses import dataclass

from webhook.commands.imagenames import NO_NAMING, Naming
from webhook.commands.podsecrets import PodSecret
from webhook.commands.pullcause import Cause
from webhook.core.runtimewords import Words


@dataclass(frozen=True, slots=True)
class Case:
    """`pod` empty: somebody asks about an image. `reason`, `said`: the kubelet's own words, safe to print; empty if it
    has not failed. `words`: what they mean, for each credential that it tried. `cause`, `why`, `next_step`: what the
    webhook knows of it, as `explain` has it; cause None: nothing is wrong on its side.

    `secrets`: the pod's pull secrets, and `entries` of them that match the image: keys and Secrets, in the order in
    which the kubelet tries them. `account`: the service account whose list the pod's is; empty: the list is its own.
    `ours`: the name of the webhook's pull secret, and `owner` whose credentials it has. `there`: the node has the image
    already. `platform`: of the node, such as linux/arm64. `naming`: by mirrors.
    """

    image: str
    namespace: str
    ours: str
    pod: str = ""
    container: str = ""
    node: str = ""
    reason: str = ""
    said: str = ""
    words: tuple[Words, ...] = ()
    secrets: tuple[PodSecret, ...] = ()
    entries: tuple[tuple[str, str], ...] = ()
    account: str = ""
    cause: Cause | None = None
    why: str = ""
    next_step: str = ""
    owner: str = ""
    there: bool = False
    platform: str = ""
    naming: Naming = NO_NAMING
