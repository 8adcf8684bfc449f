from collections.abc import Iterator

import pytest

from controlplane.image import Layout
from doctor.bed import Bed
from doctor.cases import Case


@pytest.fixture(scope="module")
def bed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    node_binaries: None,
    image_layout: Layout,
) -> Iterator[Bed]:
    """With the pods of the cases that are going to be tested."""
    tests = [one for one in request.session.items if isinstance(one, pytest.Function) and hasattr(one, "callspec")]
    cases = [given for one in tests if isinstance(given := one.callspec.params.get("case"), Case)]
    with Bed.start(tmp_path_factory.mktemp("bed"), cases, image_layout) as started:
        yield started
