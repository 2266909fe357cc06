import pytest

from poolstudy.system.formats import clock, rounded, size


def test_times_are_said_as_a_person_would() -> None:
    assert [clock(seconds) for seconds in (9.4, 95, 3600, 7260)] == ["9 s", "1 min 35 s", "1 h 0 min", "2 h 1 min"]


@pytest.mark.parametrize(
    ("amount", "said"), [(10, "1 MB"), (54_600_000, "55 MB"), (1_640_000_000, "1.6 GB"), (412 * 10**9, "412 GB")]
)
def test_sizes_are_said_as_a_person_would(amount: int, said: str) -> None:
    assert size(amount) == said


def test_rough_times_are_whole_minutes() -> None:
    assert [rounded(seconds) for seconds in (95, 301, 3500, 7261)] == ["1 min 35 s", "6 min", "59 min", "2 h 2 min"]
