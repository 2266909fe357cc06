"""Number of workers and their devices."""

from pathlib import Path
from typing import Any

import pytest
from conftest import make_spec

from poolstudy.execution.placement import (
    _VALIDATION_BATCH,
    MEASURED,
    Placement,
    PlacementPool,
    best_measured,
    memory_need,
    placements,
    plan,
    trials_per_process,
    workers_per_gpu,
)
from poolstudy.spec.config import ExecutionSection
from poolstudy.spec.load import load_config
from poolstudy.spec.records import Device
from poolstudy.training.epochs import VALIDATION_BATCH

A = Device(name="GPU:0", description="NVIDIA H200", bus="0000:17:00.0")
B = Device(name="GPU:1", description="NVIDIA H200", bus="0000:3d:00.0")
GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("settings", "gpus", "cores", "workers", "expected"),
    [
        ({}, [], 2, 1, ["CPU:0", "CPU:0"]),
        ({"threads_per_worker": 4}, [], 6, 1, ["CPU:0"]),
        ({"threads_per_worker": 8}, [], 6, 1, ["CPU:0"]),
        ({"workers": 3}, [], 2, 1, ["CPU:0", "CPU:0", "CPU:0"]),
        ({}, [A, B], 2, 2, ["GPU:0", "GPU:1", "GPU:0", "GPU:1"]),
        ({"workers": 3}, [A, B], 2, 1, ["GPU:0", "GPU:1", "GPU:0"]),
        ({"workers": 1}, [A, B], 2, 4, ["GPU:0"]),
    ],
)
def test_workers_are_spread_evenly_over_gpus_or_cores(
    settings: dict[str, Any], gpus: list[Device], cores: int, workers: int, expected: list[str]
) -> None:
    planned = placements(ExecutionSection(**settings), gpus, cores, workers, {})
    assert [placement.device.name for placement in planned] == expected


def test_workers_that_share_a_card_share_its_free_memory() -> None:
    free = {"GPU:0": 80 * GIGABYTE, "GPU:1": 80 * GIGABYTE}
    planned = placements(ExecutionSection(workers=3), [A, B], 16, 2, free)
    # Two workers on the first: (0.9 x 80e9 / 2 - 0.5e9) / 2**20 = 33,855.4. One on the second, which has it all.
    assert planned == [Placement(A, 33855), Placement(B), Placement(A, 33855)]
    assert placements(ExecutionSection(workers=2), [A], 16, 2, {"GPU:0": GIGABYTE // 2}) == [Placement(A, 256)] * 2
    assert placements(ExecutionSection(workers=2), [A], 16, 2, {}) == [Placement(A)] * 2


@pytest.mark.parametrize(
    ("asked", "cores", "free", "measured", "expected"),
    [
        ("auto", 16, 80, None, (4, "not measured on this card")),
        ("auto", 16, 80, 12, (12, "as measured by make bench-gpu")),
        ("auto", 8, 80, 12, (8, "8 cores")),
        ("auto", 16, 10, 12, (4, "10.0 GB free")),  # 0.9 x 10 / 2 = 4.5
        ("auto", 16, 1, 12, (1, "1.0 GB free")),
        ("auto", 16, None, None, (4, "not measured on this card")),
        (7, 1, 1, 2, (7, "execution.workers_per_gpu")),
    ],
)
def test_measurement_cores_and_memory_bound_the_workers_of_a_gpu(
    asked: Any, cores: int, free: int | None, measured: int | None, expected: tuple[int, str]
) -> None:
    execution = ExecutionSection(workers_per_gpu=asked)
    least = None if free is None else free * GIGABYTE
    assert workers_per_gpu(execution, 1, cores, least, 2 * GIGABYTE, measured) == expected


def test_several_gpus_share_the_cores() -> None:
    assert workers_per_gpu(ExecutionSection(), 4, 8, None, 1, 64) == (2, "8 cores")
    assert workers_per_gpu(ExecutionSection(), 8, 2, None, 1, None) == (1, "2 cores")


def test_the_memory_of_the_largest_network_bounds_every_trials(project: Path) -> None:
    settings = ["space.pool_size=2", "space.filters=[[2,3],[2,3]]", "training.batch_size=500"]
    config = load_config("tiny", settings, project)
    # 8 x 8 images, 4 + 1 of them: 320 bytes. 64 x 3 + 16 x 3 + 16 x 3 + 4 x 3 + 100 + 10 = 410 outputs for an image, of
    # 1,000 (500 and their gradients). Weights: 9 x 3 + 3, 9 x 3 x 3 + 3, 13 x 100 and 101 x 10: 2,424.
    assert memory_need(config, make_spec().data) == 2 * (320 + 4 * (4 * 2424 + 410 * 1000)) + GIGABYTE
    config = load_config("tiny", [*settings, "space.batch_size=[32,5000]"], project)
    assert memory_need(config, make_spec().data) == 2 * (320 + 4 * (4 * 2424 + 410 * 10000)) + GIGABYTE
    assert _VALIDATION_BATCH == VALIDATION_BATCH


def test_a_plan_gives_the_reason_for_the_number_of_workers(project: Path) -> None:
    data, cache = make_spec().data, project / "cache"
    assert plan(load_config("tiny", [], project), data, [], 2, cache) == ([Placement(Device())] * 2, "")
    planned, line = plan(load_config("tiny", [], project), data, [A, B], 64, cache)
    assert (len(planned), line) == (8, "8 workers, 4 a GPU (not measured on this card)")
    cache.mkdir()
    (cache / MEASURED).write_text('{"NVIDIA H200": 16}')
    planned, line = plan(load_config("tiny", [], project), data, [A, B], 64, cache)
    assert (len(planned), line) == (32, "32 workers, 16 a GPU (as measured by make bench-gpu)")
    _, line = plan(load_config("tiny", ["execution.workers=3"], project), data, [A, B], 64, cache)
    assert line == "3 workers (execution.workers)"


@pytest.mark.parametrize("damaged", ["[]", "{", '{"NVIDIA L4": "many"}', '{"NVIDIA L4": 1000}', '{"NVIDIA L4": 0}'])
def test_a_damaged_measurement_is_ignored(tmp_path: Path, damaged: str) -> None:
    (tmp_path / MEASURED).write_text(damaged)
    assert best_measured(tmp_path, "NVIDIA L4") is None


def test_only_workers_on_a_gpu_are_reused() -> None:
    assert Placement(Device()).reuse_key == ""
    assert Placement(A, 100).reuse_key == Placement(A, 100).reuse_key != Placement(A, 200).reuse_key
    assert Placement(A).reuse_key != Placement(B).reuse_key
    assert trials_per_process(ExecutionSection()) == 20
    assert trials_per_process(ExecutionSection(trials_per_process=3)) == 3


# Lost GPUs


def test_placements_are_taken_in_order_and_given_back() -> None:
    free = PlacementPool([Placement(A), Placement(B)])
    taken = free.take()
    assert taken == Placement(A)
    assert free.take() == Placement(B)
    assert not free
    assert free.left() == 2
    free.give_back(taken)
    assert free
    assert free.take() == Placement(A)


def test_no_placement_of_a_lost_gpu_is_used_again() -> None:
    free = PlacementPool([Placement(A), Placement(B), Placement(A), Placement(B)])
    on_a, on_b = free.take(), free.take()
    assert free.keep([A]) == [B]
    assert free.left() == 2
    free.give_back(on_b)  # its worker ended later
    free.give_back(on_a)
    assert [free.take(), free.take()] == [Placement(A), Placement(A)]
    assert not free
    assert free.keep([A]) == []


def test_a_gpu_is_recognised_under_a_new_number() -> None:
    free = PlacementPool([Placement(A, 5), Placement(B, 5), Placement(B, 5)])
    free.take()
    on_b = free.take()
    now = B.model_copy(update={"name": "GPU:0"})
    assert free.keep([now]) == [A]
    free.give_back(on_b)
    assert [free.take(), free.take()] == [Placement(now, 5), Placement(now, 5)]
    assert free.left() == 2


def test_when_the_last_gpu_is_lost_no_placement_is_left() -> None:
    free = PlacementPool([Placement(A), Placement(A)])
    taken = free.take()
    assert free.keep([]) == [A]
    assert free.left() == 0
    free.give_back(taken)
    assert not free


def test_gpus_without_an_address_are_recognised_by_number() -> None:
    plain = Device(name="GPU:0")
    free = PlacementPool([Placement(A), Placement(B)])
    assert free.keep([plain]) == [B]
    assert free.take() == Placement(plain)
