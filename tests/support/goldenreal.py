"""Golden cases in a real API server: what a case has is made there, and its review is sent."""

from controlplane.api import Object
from controlplane.cluster import ControlPlane
from support import goldencase
from support.goldencase import FOLDER, AnAccount, ANamespace, Case, Review
from webhook.core.names import DOCKERCONFIG_KEY
from webhook.core.pullsecret import Namespace

FILES = [path for path in sorted(FOLDER.glob("*.yaml")) if "\nreal: true\n" in path.read_text()]
SECRET = "ghcr-secret"


def set_up(cluster: ControlPlane, case: Case, team: str) -> None:
    """The namespace gets its labels last: until then the API server calls nobody for what is created in it."""
    labels: Object = {}
    for thing in case.cluster:
        obj = goldencase.obj(thing)
        if isinstance(thing, ANamespace):
            cluster.namespace(team)
            labels = obj["metadata"].get("labels", {})
        elif isinstance(thing, AnAccount) and thing.metadata.name == "default":
            cluster.api.patch("ServiceAccount", "default", obj, team)
        else:
            cluster.api.create(obj)
    if case.existing:
        place(cluster, case, team)
    if case.review and case.review.old_object:
        cluster.api.create(within(case.review.old_object, team))
    cluster.api.patch("Namespace", team, {"metadata": {"labels": labels}})


def place(cluster: ControlPlane, case: Case, team: str) -> None:
    """As the webhook itself had applied it."""
    space = cluster.api.get("Namespace", team)
    assert space is not None
    assert case.existing is not None
    known = Namespace(team, space["metadata"]["uid"], 1, None)
    cluster.api.apply(goldencase.earlier(case, known, SECRET), manager="pullsecret-webhook")
    if case.existing.edited:
        cluster.api.patch("Secret", SECRET, {"data": {DOCKERCONFIG_KEY: goldencase.EMPTIED}}, team)
    if case.existing.held:
        cluster.api.delete("Secret", SECRET, team)


def within(obj: Object, team: str) -> Object:
    return obj | {"metadata": obj["metadata"] | {"namespace": team}}


def send(cluster: ControlPlane, review: Review, team: str) -> Object:
    assert review.object is not None
    obj = within(review.object, team)
    return cluster.api.create(obj, dry_run=review.dry_run) if review.operation == "CREATE" else cluster.api.replace(obj)
