"""The short form of `make torture`."""

import random
from pathlib import Path

import pytest
from torture import torture


@pytest.mark.slow
def test_ten_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)  # another one each time; it is printed, for `make torture`
    assert torture(tmp_path / "project", kills=10, count=16, seed=seed, minutes=30) == []
