"""What must be said about a case."""

from collections.abc import Mapping

from doctor.bed import Bed
from doctor.cases import Case
from webhook.core.faults import Fault, Layer, layer
from webhook.core.pulls import Said, is_stuck, what

_SAYS: Mapping[Layer, set[Said]] = {
    Layer.IMAGE: {Said.NO_NAME, Said.UNREADABLE},
    Layer.SECRET: {Said.UNREADABLE},
    Layer.RUNTIME: {Said.ADDRESS, Said.CERTIFICATE},
    Layer.DNS: {Said.ADDRESS},
    Layer.TCP: {Said.CONNECTION},
    Layer.TLS: {Said.CERTIFICATE, Said.CONNECTION},
    Layer.REGISTRY: {Said.BUSY, Said.BROKEN, Said.CONNECTION, Said.CERTIFICATE, Said.FORBIDDEN, Said.OTHER},
    Layer.TOKEN: {Said.UNSENT, Said.UNAUTHORIZED, Said.BROKEN, Said.OTHER},
    Layer.ACCESS: {Said.UNSENT, Said.UNAUTHORIZED, Said.FORBIDDEN},
    Layer.CONTENT: {Said.NOT_FOUND, Said.OTHER, Said.FORBIDDEN, Said.CONNECTION},
}


def check(bed: Bed, case: Case) -> None:
    if case.said is None:
        bed.pods.runs(case)
        return
    heard = bed.pods.heard(case)
    assert is_stuck(heard.reason, heard.message) or case.said is Fault.IMAGE_NEVER_PULLED
    assert what(heard.reason, heard.message) in _SAYS[layer(case.said)]
