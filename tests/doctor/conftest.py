from collections.abc import Iterator

import pytest

from doctor.bed import Bed


@pytest.fixture(scope="module")
def bed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, node_binaries: None) -> Iterator[Bed]:
    """With the pods of the module's CASES."""
    with Bed.start(tmp_path_factory.mktemp("bed"), request.module.CASES) as started:
        yield started
