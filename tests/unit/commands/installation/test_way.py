"""What the API server's words about a webhook that it cannot call come to."""

import pytest

from webhook.commands.installation import way
from webhook.commands.installation.way import Counts
from webhook.config import reading

CONFIG, ENTRY = reading.convert({}), "mutate.pullsecret-webhook.io"
POST = 'Post "https://pullsecret-webhook.pullsecret-webhook.svc:443/mutate?timeout=3s": '


def refusal(words: str, entry: str = ENTRY) -> str:
    return f'Internal error occurred: failed calling webhook "{entry}": failed to call webhook: {words}'


@pytest.mark.parametrize(
    ("words", "meaning", "hint"),
    [
        (f"{POST}dial tcp 10.0.0.1:443: connect: connection refused", "nothing listens where", "endpointslices -n pul"),
        (f"{POST}context deadline exceeded", "no answer comes to the API server", "networkPolicy.apiServerCIDRs"),
        (f"{POST}dial tcp 10.0.0.1:8443: i/o timeout", "no answer comes to the API server", "hostNetwork: true"),
        (
            f"{POST}tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "does not trust the certificate",
            "compare the caBundle",
        ),
        ('no endpoints available for service "pullsecret-webhook"', "no replica is ready", "get pods -n pullsecret-w"),
        ('service "pullsecret-webhook" not found', "the Service is missing", "upgrade the release"),
        (f"{POST}dial tcp 10.0.0.1:443: connect: no route to host", "has no way to the pods", "firewall rules"),
        (f"{POST}dial tcp: lookup x: no such host", "cannot resolve the webhook's name", "upgrade the release"),
        ("the server could not find the requested resource", "gives an error", "deployment/pullsecret-webhook"),
        ("an unknown thing", "the API server cannot call the webhook", "the log of the API server"),
    ],
)
def test_each_kind_of_words_has_its_own_hint(words: str, meaning: str, hint: str) -> None:
    told = way.words_of(refusal(words), CONFIG)
    assert told == words
    found = way.said(told, CONFIG)
    assert found.result == "wrong"
    assert meaning in found.why
    assert hint in found.hint
    assert words[-20:].replace('"', "'") in found.why
    assert "timeout=3s" not in found.why


def test_of_another_webhook_nothing_is_said() -> None:
    assert way.words_of(refusal("context deadline exceeded", "validate.example.com"), CONFIG) == ""
    assert way.words_of('pods "try" is forbidden: exceeded quota', CONFIG) == ""


def test_counters_of_our_entry_alone_count() -> None:
    page = b"""# HELP apiserver_admission_webhook_fail_open_count [ALPHA] Admission webhook fail open count.
apiserver_admission_webhook_fail_open_count{name="mutate.pullsecret-webhook.io",type="admit"} 7
apiserver_admission_webhook_fail_open_count{name="other.example.com",type="admit"} 100
apiserver_admission_webhook_request_total{code="200",name="mutate.pullsecret-webhook.io",operation="CREATE",rejected="false",type="admit"} 1.2e+03
apiserver_admission_webhook_request_total{code="200",name="mutate.pullsecret-webhook.io",operation="UPDATE",rejected="false",type="admit"} 1
apiserver_admission_webhook_request_total{code="500",name="mutate.pullsecret-webhook.io",operation="CREATE",rejected="false",type="admit"} 50
apiserver_admission_webhook_request_total{code="200",name="other.example.com",operation="CREATE",rejected="false",type="admit"} 50
"""  # noqa: E501
    assert Counts.of(page, ENTRY) == Counts(passed_by=7, answered=1201)
    assert Counts.of(b"", ENTRY) == Counts()


def test_what_became_of_a_review() -> None:
    before = Counts(3, 10)
    assert way.called(before, Counts(3, 11)) == "answered"
    assert way.called(before, Counts(4, 11)) == "passed by"
    assert way.called(before, before) == "not called"
