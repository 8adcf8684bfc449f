"""From a review to its answer: find the namespace, supply its pull secret, add the reference, name images at mirrors.

The reference can never be added later, the Secret can. So the reference depends on little (the namespace has an owner,
nothing forbids it) and whatever is uncertain is decided in the Secret, here if time allows, else in the background.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from webhook import accounts, rewriting
from webhook.config.models import Config
from webhook.core.errors import NamespaceUnknown
from webhook.core.notice import Notice, Record
from webhook.core.patch import add_references, encoded, first_reference, kept_of_images, of_images
from webhook.core.pullsecret import ExistingSecret, Leave, Namespace, may_refer
from webhook.core.review import Request, Target, answer, old_names, target
from webhook.core.standing import foreign
from webhook.kube.lookup import Lookup
from webhook.kube.views import AnyAccount, State, account_key
from webhook.rewriting import SMALL_BYTES, Rewriting
from webhook.supply import Supply

HAS_IT = "it has the reference already"
NOT_HERE = "its pods get the reference, it does not (deployments: supply)"
NO_NEW_NAME = "its new containers get no other images"

Outcome = Literal["injected", "unchanged", "not_served", "refused"]


class Answer(msgspec.Struct, frozen=True):
    """`why`: the reason of this outcome, for the log; empty where the outcome says it."""

    body: bytes
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True)
class Admission:
    """`lookup`: for what a view does not have; `later`: look at a namespace soon. `rewriting`: None without mirrors
    whose names images get.
    """

    config: Config
    state: State
    supply: Supply
    lookup: Lookup
    later: Callable[[str], None]
    record: Record
    rewriting: Rewriting | None = None

    async def __call__(self, request: Request, deadline: float) -> Answer:
        """`deadline`: loop time until which to wait for the Secret. Raises NamespaceUnknown, PatchDoesNotApply."""
        pod = self._target(request)
        if isinstance(pod, str):
            return _not_served(request, pod)
        try:
            namespace = self._known(request.namespace) or await self.lookup.namespace_in_review(request.namespace)
        except NamespaceUnknown:
            if not self.config.asked_about_owned:
                raise
            # The API server asks about owned namespaces only, which is enough for the reference. The Secret follows.
            namespace = Namespace(request.namespace, "", 0, "")
            self.later(request.namespace)
        if namespace is None or not namespace.served:
            return _not_served(request, self._why_not(namespace))
        problem = "" if request.dry_run or not namespace.uid else await self._supplied(namespace, deadline)
        account = self.state.accounts.get(account_key(request.namespace, pod.account))
        if account is None:
            account = await self.lookup.account(request.namespace, pod.account)
        return self._answer(request, pod, namespace, account, problem)

    def at_once(self, request: Request) -> Answer | None:
        """The same answer, when all that it takes is known and the Secret is right: nearly always. Else None."""
        pod = self._target(request)
        if isinstance(pod, str):
            return _not_served(request, pod)
        namespace = self._known(request.namespace)
        if namespace is None:
            return None
        if not namespace.served:
            return _not_served(request, self._why_not(namespace))
        account = self.state.accounts.get(account_key(request.namespace, pod.account))
        if account is None or not (request.dry_run or self.supply.is_up_to_date(namespace)):
            return None
        return self._answer(request, pod, namespace, account, "")

    def _known(self, name: str) -> Namespace | None:
        """What the view says, unless the API server may know better: then None, and it is asked. If it asks about owned
        namespaces only, one that we know as unowned has just got its owner.
        """
        namespace = self.state.namespaces.get(name)
        if namespace is None or namespace.served:
            return namespace
        return None if self.state.namespaces.behind() or self.config.asked_about_owned else namespace

    def _why_not(self, namespace: Namespace | None) -> str:
        if namespace is None:
            return "there is no such namespace, or it has no owner"
        if namespace.owner is None:
            return "the namespace has no owner"
        return f"the namespace is {'excluded' if self.config.excluded(namespace.name) else 'opted out'}"

    def _target(self, request: Request) -> Target | str:
        """The pod or template that may get the reference, or other images; or why nothing in this review may.

        On an UPDATE a template gets it only if it would lose it. To introduce it would roll out what runs.
        """
        pod, name = target(request), self.config.pull_secret.name
        if pod is None:
            return "nothing in it gets the reference"
        if pod.opted_out:
            return "it is opted out"
        if pod.debugged:
            lacks = self.rewriting is None or name not in (pod.names or ())
            return "nothing in it gets another image" if lacks else pod
        if request.operation != "CREATE" and (name not in old_names(request) or name in (pod.names or ())):
            return "the change takes no reference away"
        return pod

    def _answer(
        self, request: Request, pod: Target, namespace: Namespace, account: AnyAccount | None, problem: str
    ) -> Answer:
        existing = self.state.pull_secrets.get(namespace.name)
        if pod.debugged:
            patch = self._patch(request, pod, namespace, existing, account)
            return Answer(
                answer(request.uid, patch), "injected" if patch else "unchanged", "" if patch else NO_NEW_NAME
            )
        if refusal := self._refusal(request, pod, namespace, existing, account):
            return Answer(answer(request.uid, "", [refusal]), "refused", refusal)
        addition = self._patch(request, pod, namespace, existing, account)
        warnings = [f"pull secret {self.config.pull_secret.name} is not up to date yet: {problem}"] if problem else []
        warnings += pod.mistakes
        if existing is not None and not existing.ours and existing.kubelet == "passes over":
            warnings.append(self._foreign(request, existing))
        body = answer(request.uid, addition, warnings)
        if addition:
            return Answer(body, "injected", problem)
        return Answer(body, "unchanged", HAS_IT if self.config.pull_secret.name in (pod.names or ()) else NOT_HERE)

    async def _supplied(self, namespace: Namespace, deadline: float) -> str:
        """The problem, or nothing. What is not done in time goes on in the background, without a word."""
        try:
            async with asyncio.timeout_at(deadline):
                # Asked first, because in nearly every review it is the end of it: no task, no I/O.
                step = (await self.supply.plan(namespace.name)).step
                if isinstance(step, Leave):
                    return step.why if step.problem else ""
                supplied = await self.supply(namespace.name)
        except TimeoutError:
            self.later(namespace.name)
            return ""
        if supplied.problem or supplied.requeue_after is not None:  # the timer is the background's
            self.later(namespace.name)
        return supplied.problem

    def _refusal(
        self,
        request: Request,
        pod: Target,
        namespace: Namespace,
        existing: ExistingSecret | None,
        account: AnyAccount | None,
    ) -> str:
        """Why a reference would do harm, if it would."""
        name = self.config.pull_secret.name
        if pod.too_long:
            return "imagePullSecrets was left alone: the list is too long"
        if existing is not None and not may_refer(namespace, existing):
            return f"imagePullSecrets was left alone: {self._foreign(request, existing)}"
        if account is not None and account.refuses(name):
            message = accounts.left_alone(pod.account, name)
            self._record(request, Notice(accounts.REASON, message, namespace.name, "ServiceAccount", pod.account))
            return message
        return ""

    def _foreign(self, request: Request, existing: ExistingSecret) -> str:
        notice = foreign(existing, self.config.pull_secret.name)
        self._record(request, notice)
        return notice.message

    def _record(self, request: Request, notice: Notice) -> None:
        if not request.dry_run:  # an Event is a side effect (sideEffects: NoneOnDryRun)
            self.record(notice)

    def _patch(
        self,
        request: Request,
        pod: Target,
        namespace: Namespace,
        existing: ExistingSecret | None,
        account: AnyAccount | None,
    ) -> str:
        """Encoded; empty: nothing changes."""
        rewrite, present = self.rewriting, pod.names
        missing = (self.config.pull_secret.name,) if present is None else self._missing(pod, present, account)
        if pod.kind.has_template:
            if self.config.deployments == "supply":
                return ""
        elif rewrite is not None:
            found = rewrite(request, namespace, existing, debugged=pod.debugged)
            if found.kept and not request.dry_run:
                for kept in rewrite.untold(namespace, found):
                    self.record(rewriting.notice(kept, namespace))
            if found.names:
                originals = "" if pod.debugged else found.originals  # the API server would drop the annotation
                before = None if present is None else tuple(present)
                made = kept_of_images if request.size <= SMALL_BYTES else of_images
                return made(before, missing, found.names, originals, request.annotated)
        if present is None:
            return first_reference(missing[0], pod.kind.at)
        return encoded(add_references(present, missing, pod.kind.at))

    def _missing(self, pod: Target, present: Sequence[str | None], account: AnyAccount | None) -> tuple[str, ...]:
        """The references that are added to those that it has."""
        name = self.config.pull_secret.name
        if name not in present:
            return (name,)
        if present != [name] or pod.kind.has_template or pod.debugged:
            return ()
        # A pod of a template that we patched: ServiceAccount admission, which ran before us and only fills empty
        # lists, has skipped it. It gets what the account would have given it.
        inherited = [secret for secret in account.pull_secrets if secret != name] if account else []
        return tuple(dict.fromkeys(inherited))


def _not_served(request: Request, why: str) -> Answer:
    return Answer(answer(request.uid), "not_served", why)
