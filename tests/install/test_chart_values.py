"""What the chart refuses, and whether the message says what is wrong and where."""

import pytest

from controlplane.api import Object
from controlplane.errors import HarnessError
from controlplane.helm import Helm

pytestmark = pytest.mark.helm


def refused(helm: Helm, values: Object) -> str:
    with pytest.raises(HarnessError) as error:
        helm.render(values)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 3}, "at '': additional properties 'replica' not allowed"),
        ({"replicas": 0}, "at '/replicas': minimum: got 0, want 1"),
        ({"config": {"namespace": "x"}}, "at '/config': additional properties 'namespace' not allowed"),
        ({"config": {"server": {"port": 1}}}, "at '/config/server': additional properties 'port' not allowed"),
        ({"config": {"ownerRules": []}}, "at '/config/ownerRules': minItems: got 0, want 1"),
        ({"config": {"ownerRules": [{"from": "label"}]}}, "at '/config/ownerRules/0': missing property 'key'"),
        (
            {"config": {"ownerRules": [{"from": "labels", "key": "a"}]}},
            "at '/config/ownerRules/0/from': value must be one of 'label', 'annotation', 'name'",
        ),
        ({"config": {"ownerRules": [{"from": "label", "key": "a b"}]}}, "'a b' does not match pattern"),
        ({"config": {"pullSecret": {"name": "A"}}}, "at '/config/pullSecret/name': 'A' does not match pattern"),
        ({"image": {"digest": "sha256:1"}}, "at '/image/digest': 'sha256:1' does not match pattern"),
        ({"tls": {"mode": "self"}}, "value must be one of 'self-managed', 'cert-manager', 'files'"),
        ({"uninstall": {"pullSecrets": "remove"}}, "value must be one of 'keep', 'delete'"),
        ({"ports": {"https": 443}}, "at '/ports/https': minimum: got 443, want 1,024"),
        ({"ports": {"https": 8080}}, "ports.https and ports.metrics are both 8080"),
        ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0': got string, want object"),
        (
            {"tls": {"certManager": {"issuerRef": {"kind": "ClusterIssuer"}}}},
            "at '/tls/certManager/issuerRef': missing property 'name'",
        ),
        ({"tls": {"files": {"secretName": "a/b"}}}, "at '/tls/files/secretName': 'a/b' does not match pattern"),
        ({"test": {"namespace": "a.b"}}, "at '/test/namespace': 'a.b' does not match pattern"),
        ({"networkPolicy": {"apiServerCIDRs": ["10.0.0.1"]}}, "'10.0.0.1' does not match pattern"),
    ],
)
def test_bad_values(each_helm: Helm, values: Object, words: str) -> None:
    said = refused(each_helm, values)
    assert words in said
    assert "anyOf" not in said  # it would complain about what was not meant, too


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"a(?P<owner>b)\1", r"has \1, which Python and the API server read differently"),
        (r"(?P<owner>\w+)", r"has \w, which"),  # of an annotation: \w is any alphabet's in Python
        (r"a\b(?P<owner>b)", r"has \b, which"),
        (r"(?=x)(?P<owner>y)", "has (?=; of the groups that begin with (? only (?:...)"),
        (r"(?<!x)(?P<owner>y)", "has (?<; of the groups"),
        (r"(?i)(?P<owner>y)", "has (?i; of the groups"),
        (r"(?P<a>x)(?P<owner>y)", "has (?P; of the groups"),
        (r"(?P<owner>y)(?P=owner)", "has (?P; of the groups"),
        (r"(?P<owner>a*)", "lets the owner be empty; write + instead of *"),
        (r"(?P<owner>a|)", "lets the owner be empty"),
        (r"x|(?P<owner>y)", "has a | outside of parentheses; write (?:a|b), or two rules"),
        (r"^(?P<owner>y)", "has ^; leave it out"),
        (r"(?P<owner>y)$", "has $; leave it out"),
        (r"(x(?P<owner>y))", "the group owner must stand outside of all other parentheses"),
        (r"a)(?P<owner>b)(c", "the group owner must stand outside of all other parentheses"),
        (r"x(?P<owner>", "all must be closed"),
        (r"[(?P<owner>x])", "all must be closed"),
        (r"(?P<owner>[[:alpha:]]+)", r"has a [ inside [...]; write \["),
        (r"(?P<owner>a{,3}b)", "has {,n}; write {0,n}"),
        (r"(?P<owner>a++)", "invalid nested repetition operator: `++`"),
        (r"(?P<owner>a)?", "missing argument to repetition operator: `?`"),
        (r"owner", "needs exactly one group (?P<owner>...)"),
    ],
)
def test_patterns_that_python_and_cel_read_differently(helm: Helm, pattern: str, words: str) -> None:
    assert words in refused(helm, {"config": {"ownerRules": [{"from": "annotation", "key": "a", "pattern": pattern}]}})
