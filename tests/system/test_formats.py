import pytest

from poolstudy.system.formats import clock, rounded, size


def test_times_are_readable() -> None:
    assert [clock(seconds) for seconds in (9.4, 95, 3600, 7260)] == ["9 s", "1 min 35 s", "1 h 0 min", "2 h 1 min"]


@pytest.mark.parametrize(
    ("amount", "text"), [(10, "1 MB"), (54_600_000, "55 MB"), (1_640_000_000, "1.6 GB"), (412 * 10**9, "412 GB")]
)
def test_sizes_are_readable(amount: int, text: str) -> None:
    assert size(amount) == text


def test_long_approximate_times_are_whole_minutes() -> None:
    assert [rounded(seconds) for seconds in (95, 301, 3500, 7261)] == ["1 min 35 s", "6 min", "59 min", "2 h 2 min"]
