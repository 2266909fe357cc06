"""The comparison's arithmetic and its table, on runs made up by hand."""

from pathlib import Path

import pytest

from benchmarks.cases import CONFIGURATIONS, Job, TrialDone
from benchmarks.measure import Taken
from benchmarks.report import RECORD, Record, Run, ceiling_seconds, figures, table, write

JOB = Job(images=1000, epochs=2, trials=1)
MEAN_OF_TWO = "0.8500"  # of 0.80 and 0.90


def run(contender: str, seconds: float, accuracy: float) -> Run:
    done = TrialDone(configuration=0, val_accuracy=accuracy, seconds=seconds / 2)
    return Run(contender, Taken(seconds, 3.0, 512.0), (done,), "2026-01-01T00:00:00+00:00", {"python": "3.11"})


@pytest.fixture
def record() -> Record:
    runs = (run("poolstudy", 8, 0.8), run("plain", 30, 0.7), run("poolstudy", 12, 0.9), run("plain", 10, 0.7))
    return Record(JOB, "2 cores", runs, gflops=(50.0, 100.0))


def test_the_ceiling_is_three_forward_passes_at_the_speed_of_a_product() -> None:
    # The notebook's average network: 2,004,176 operations forward, worked out in tests/test_cost.py.
    first = 451_584  # whose input, the images, needs no gradient
    forward = first + 1_492_992 + 57_600 + 2_000
    assert ceiling_seconds(JOB, 100) == pytest.approx((3 * forward - first) * 2000 / 100e9)


def test_figures_are_medians_beside_the_scripts(record: Record) -> None:
    ours, plain = figures(record)
    assert (ours["n"], ours["wall"], ours["least"], ours["most"]) == (2, 10, 8, 12)
    assert ours["of_plain"] == 0.5  # of 20
    assert ours["images_per_second"] == 200
    assert ours["of_ceiling"] == pytest.approx(ceiling_seconds(JOB, 100) / 10)
    assert plain["of_plain"] == 1


def test_the_table_says_machine_rounds_spread_and_accuracies(record: Record) -> None:
    text = table(record)
    assert "2 cores" in text
    assert "| poolstudy | 2 | 10 s (8 to 12) | 50% | 5 s | 3 s | 512 MiB | 200 |" in text
    assert f"| average 3x3 · 32-32 filters · dropout 0.4 | {MEAN_OF_TWO} | 0.7000 |" in text


def test_what_is_written_is_read_back_and_drawn(record: Record, tmp_path: Path) -> None:
    record.save(tmp_path / "runs.json")
    assert RECORD.validate_json((tmp_path / "runs.json").read_bytes()) == record
    write(record, tmp_path)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "table.md").read_text().splitlines()) == 11


def test_the_eight_networks_are_a_fair_spread() -> None:
    assert len(set(CONFIGURATIONS)) == 8
    assert sum(network.pooling == "max" for network in CONFIGURATIONS) == 4
    assert sum(network.pool_size == 2 for network in CONFIGURATIONS) == 4
    widths = [filters for network in CONFIGURATIONS for filters in network.filters]
    assert {count: widths.count(count) for count in (16, 32, 48, 64)} == {16: 4, 32: 3, 48: 4, 64: 5}
