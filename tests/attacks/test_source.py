"""A source says what tenants fill in, as much of it as there may be."""

from pathlib import Path

import pytest

from attacks.answers import ANSWERS, ask_again, asking
from attacks.attack import Attack
from attacks.platform import Platform

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_that_are_full_of_nonsense(platform: Platform, attack: Attack, tmp_path: Path, answer: str) -> None:
    with asking(platform, tmp_path, *ANSWERS[answer]) as replica:
        with attack(replica) as outcome:
            ask_again(platform, owners=10, seconds=10)
        outcome.harmless()
