"""NVIDIA's driver, replaced by a library (driver.c) whose cards are the lines of a file."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from poolstudy.execution.gpu import nvidia
from poolstudy.spec.records import Device

H200 = "NVIDIA H200|00000000:17:00.0|GPU-aa11|9.0|150000|149000|37"
FULL = "NVIDIA H200|00000000:3D:00.0|GPU-bb22|9.0|150000|10|-1"

Cards = Callable[..., None]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile driver.c to libnvidia-ml.so.1."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("driver") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("driver.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source], check=True)
    return path


@pytest.fixture
def cards(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cards:
    """Return a function that sets the driver's cards."""
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    file = tmp_path / "cards"
    monkeypatch.setenv("FAKE_CARDS", str(file))

    def put(*lines: str) -> None:
        file.write_text("".join(f"{line}\n" for line in lines))

    return put


def test_a_machine_without_a_driver_has_no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", _missing)
    assert nvidia.problem() == "no NVIDIA driver here"
    assert nvidia.cards() == []
    assert nvidia.card_at("0000:17:00.0") is None
    assert nvidia.Meter().read(Device(name="GPU:0", bus="0000:17:00.0")) == {}


def _missing(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


def test_cards_have_the_drivers_values(cards: Cards) -> None:
    cards(H200, FULL)
    assert nvidia.problem() == ""
    first, second = nvidia.cards()
    assert first == nvidia.Card(
        name="NVIDIA H200",
        bus="0000:17:00.0",
        uuid="GPU-aa11",
        compute_capability="9.0",
        memory=150_000_000_000,
        free=149_000_000_000,
        driver="550.54.15",
        cuda="12.4",
    )
    assert (second.bus, second.free) == ("0000:3d:00.0", 10_000_000)
    assert nvidia.card_at("0000:3D:00.0") == nvidia.card_at("00000000:3d:00.0") == second
    assert nvidia.card_at("0000:99:00.0") is nvidia.card_at("") is None


def test_load_and_memory_have_mlflows_metric_names(cards: Cards) -> None:
    cards(H200, FULL)
    meter = nvidia.Meter()
    # 150,000 MB of which 149,000 are free: 1,000 used, which is 0.67 percent.
    assert meter.read(Device(name="GPU:3", bus="0000:17:00.0")) == {
        "system/gpu_3_utilization_percentage": 37.0,
        "system/gpu_3_memory_usage_megabytes": 1000.0,
        "system/gpu_3_memory_usage_percentage": 0.7,
    }
    # The second card does not report its load; the CPU has none.
    assert meter.read(Device(name="GPU:0", bus="0000:3d:00.0")) == {
        "system/gpu_0_memory_usage_megabytes": 149_990.0,
        "system/gpu_0_memory_usage_percentage": 100.0,
    }
    assert meter.read(Device()) == {}


def test_mlflows_own_monitor_gives_the_same_values(cards: Cards) -> None:
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    cards(H200)
    monitor: Any = GPUMonitor()  # type: ignore[no-untyped-call]  # mlflow has no types here
    monitor.collect_metrics()
    theirs = {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
    assert nvidia.Meter().read(Device(name="GPU:0", bus="0000:17:00.0")).items() <= theirs.items()


def test_a_card_that_is_lost_gives_no_values(cards: Cards) -> None:
    cards(H200)
    meter, device = nvidia.Meter(), Device(name="GPU:0", bus="0000:17:00.0")
    assert meter.read(device)
    cards("error 15")  # GPU is lost
    assert meter.read(device) == {}
    assert nvidia.cards() == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (9, "no NVIDIA driver here"),
        (18, "NVIDIA's driver does not answer (RM has detected an NVML/RM version mismatch.)"),
        (999, "NVIDIA's driver does not answer (Unknown Error)"),
    ],
)
def test_the_reason_is_given_when_the_driver_does_not_answer(cards: Cards, code: int, reason: str) -> None:
    cards(f"error {code}")
    assert nvidia.problem() == reason
    assert nvidia.cards() == []
