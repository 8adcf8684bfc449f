"""What the chart refuses, and whether the message says what is wrong and where."""

import pytest

from controlplane.api import Object
from controlplane.errors import HarnessError
from controlplane.helm import Helm

pytestmark = pytest.mark.helm
ISSUER = {"issue": "registry", "registry": "r.test", "keyFile": "/k"}
OWN_REGISTRY: Object = {
    "config": {"issuers": [ISSUER | {"tokenService": {"keyFile": "/t", "passwordKeysFile": "/p"}}]},
}
KEY_IN_K: Object = {"config": {"issuers": [ISSUER | {"keyFile": "/etc/pullsecret/issuers/k/key.pem"}]}}
VAULT = {"driver": "vault", "volumeAttributes": {"keys": "a"}}


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
        (
            {"podLabels": {"app.kubernetes.io/name": "x"}},
            "podLabels has app.kubernetes.io/name, which the chart sets itself; take it out",
        ),
        (
            {"commonLabels": {"pullsecret-webhook/owner": "x"}},
            "commonLabels has pullsecret-webhook/owner, which the chart",
        ),
        ({"commonLabels": {"a": "x y"}}, "at '/commonLabels/a': 'x y' does not match pattern"),
        (
            {"podAnnotations": {"container.apparmor.security.beta.kubernetes.io/webhook": "unconfined"}},
            "which can take AppArmor off the pods; take it out",
        ),
        ({"extraVolumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "additional properties 'hostPath' not allowed"),
        ({"extraEnv": [{"name": "A"}]}, "at '/extraEnv/0': minProperties: got 1, want 2"),
        ({"extraEnv": [{"name": "A=B", "value": "c"}]}, "at '/extraEnv/0/name'"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "at '/topologySpreadConstraints/0': missing properties"),
        ({"extraVolumes": [{"name": "a"}]}, "at '/extraVolumes/0': minProperties: got 1, want 2"),
        (
            {"extraVolumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}}]},
            "at '/extraVolumes/0/projected/sources/0/serviceAccountToken': missing property 'audience'",
        ),
        (
            {"sourceFiles": ["a"], "extraVolumes": [{"name": "a", "secret": {"secretName": "x"}}]},
            "sourceFiles and extraVolumes both have a, and their files would be in one folder",
        ),
        ({"issuer": {"replicas": 0}}, "at '/issuer/replicas': minimum: got 0, want 1"),
        (
            {
                "config": {"issuers": [ISSUER]},
                "issuer": {"files": ["a"], "extraVolumes": [{"name": "a", "csi": {"driver": "x"}}]},
            },
            "issuer.files and issuer.extraVolumes both have a, and their files would be in one folder",
        ),
        (
            {"config": {"issuers": [ISSUER | {"issue": "registries"}]}},
            "at '/config/issuers/0/issue': value must be one of 'aliyun', 'artifact-registry', ",
        ),
        (
            {"registryAuth": {"enabled": True, "plain": True}},
            "registryAuth.enabled is true, and no issuer of config.issuers has a tokenService",
        ),
        (
            {"config": {"issuers": [ISSUER]}, "registryAuth": {"enabled": True, "plain": True}},
            "registryAuth.enabled is true, and no issuer of config.issuers has a tokenService",
        ),
        (
            OWN_REGISTRY | {"registryAuth": {"enabled": True}},
            "passwords need TLS: set registryAuth.tlsSecretName to a kubernetes.io/tls Secret",
        ),
        (
            OWN_REGISTRY | {"registryAuth": {"enabled": True, "plain": True, "tlsSecretName": "a"}},
            "registryAuth has tlsSecretName and plain: true; leave one out",
        ),
        (
            OWN_REGISTRY
            | {"registryAuth": {"enabled": True, "plain": True, "files": ["k", "both"]}, "issuer": {"files": ["both"]}},
            "issuer and registryAuth both have the Secret both; give each one of its own",
        ),
        (
            OWN_REGISTRY
            | {
                "registryAuth": {
                    "enabled": True,
                    "plain": True,
                    "extraVolumes": [{"name": "x", "secret": {"secretName": "both"}}],
                },
                "issuer": {"extraVolumes": [{"name": "y", "projected": {"sources": [{"secret": {"name": "both"}}]}}]},
            },
            "issuer and registryAuth both have the Secret both; give each one of its own",
        ),
        (
            OWN_REGISTRY
            | {
                "registryAuth": {"enabled": True, "plain": True, "extraVolumes": [{"name": "x", "csi": VAULT}]},
                "issuer": {"extraVolumes": [{"name": "y", "csi": VAULT}]},
            },
            'issuer and registryAuth both have the volume of vault with the attributes {"keys":"a"}; give each one of',
        ),
        (
            OWN_REGISTRY | {"registryAuth": {"enabled": True, "tlsSecretName": "both"}, "issuer": {"files": ["both"]}},
            "issuer has the Secret both of registryAuth.tlsSecretName; give each one of its own",
        ),
        (
            OWN_REGISTRY
            | {"registryAuth": {"enabled": True, "plain": True, "files": ["both"]}, "sourceFiles": ["both"]},
            "registryAuth has the Secret both, which the webhook has by sourceFiles or extraVolumes; give each one of",
        ),
        (
            OWN_REGISTRY
            | {
                "registryAuth": {"enabled": True, "plain": True, "extraVolumes": [{"name": "x", "csi": VAULT}]},
                "extraVolumes": [{"name": "y", "csi": VAULT}],
            },
            "registryAuth has the volume of vault with",
        ),
        (
            KEY_IN_K | {"issuer": {"files": ["k"]}, "sourceFiles": ["k"]},
            "the webhook has the Secret k by sourceFiles or extraVolumes, in which there is a key that signs passwords",
        ),
        (
            KEY_IN_K
            | {
                "issuer": {"extraVolumes": [{"name": "k", "csi": VAULT}]},
                "extraVolumes": [{"name": "y", "csi": VAULT}],
            },
            "the webhook has the volume of vault with",
        ),
        (
            OWN_REGISTRY
            | {
                "registryAuth": {
                    "enabled": True,
                    "plain": True,
                    "files": ["a"],
                    "extraVolumes": [{"name": "a", "csi": {"driver": "x"}}],
                }
            },
            "registryAuth.files and registryAuth.extraVolumes both have a, and their files would be in one folder",
        ),
        ({"registryAuth": {"tlsSecretName": "a/b"}}, "at '/registryAuth/tlsSecretName': 'a/b' does not match pattern"),
        ({"networkPolicy": {"apiServerCIDRs": ["10.0.0.1"]}}, "'10.0.0.1' does not match pattern"),
    ],
)
def test_bad_values(each_helm: Helm, values: Object, words: str) -> None:
    said = refused(each_helm, values)
    assert words in said
    assert "anyOf" not in said  # it would complain about what was not meant, too


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("(?i)x", "at '/config/ownerRules/0/prefix': '(?i)x' does not match pattern"),
        (r"a\b", "does not match pattern"),
        ("[[:alpha:]]", "does not match pattern"),
        ("a)(b", "error parsing regexp: unexpected )"),
        ("(a", "error parsing regexp: missing closing )"),
        (r"\é", "error parsing regexp: invalid escape sequence"),
    ],
)
def test_expressions_that_the_api_server_would_refuse_or_python_reads_differently(
    helm: Helm, part: str, words: str
) -> None:
    assert words in refused(helm, {"config": {"ownerRules": [{"from": "annotation", "key": "a", "prefix": part}]}})


def test_what_is_no_key_may_be_in_several_pods(helm: Helm) -> None:
    """ConfigMaps, CA certificates of issuers, and what a driver gives by other attributes."""
    other = VAULT | {"volumeAttributes": {"keys": "b"}}
    ca = {"name": "ca", "configMap": {"name": "ca"}}
    values = {
        "config": {"issuers": [OWN_REGISTRY["config"]["issuers"][0] | KEY_IN_K["config"]["issuers"][0]]},
        "sourceFiles": ["corporate-ca"],
        "extraVolumes": [ca, {"name": "pin", "csi": VAULT | {"volumeAttributes": {"keys": "c"}}}],
        "issuer": {"files": ["k", "corporate-ca"], "extraVolumes": [{"name": "y", "csi": VAULT}]},
        "registryAuth": {"enabled": True, "plain": True, "extraVolumes": [ca, {"name": "x", "csi": other}]},
    }
    assert [o for o in helm.render(values) if o["metadata"]["name"].endswith("-registry-auth")]
