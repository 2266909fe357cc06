"""Diagnosis of every known cause of an unusable GPU."""

from dataclasses import replace
from typing import Any

import pytest

from poolstudy.execution.gpu.diagnosis import Sight, inspect_machine, visible_cards, why_no_gpu, why_unusable
from poolstudy.execution.gpu.nvidia import Card

CARD = Card("NVIDIA H200", "0000:17:00.0", "GPU-aa11", "9.0", 150_000_000_000, 149_000_000_000, "550.54.15", "12.4")
OTHER = replace(CARD, bus="0000:3d:00.0", uuid="GPU-bb22")
BUILD = {
    "is_cuda_build": True,
    "cuda_version": "12.5.1",
    "cuda_compute_capabilities": ["sm_60", "sm_70", "sm_100", "compute_90"],
}
GOOD = Sight(cards=(CARD, OTHER), build=BUILD)
NAMES = "NVIDIA H200 and 1 more"


@pytest.mark.parametrize(
    ("changed", "why", "remedy"),
    [
        ({"driver": "no NVIDIA driver here", "cards": ()}, "no NVIDIA driver here", "train on the CPU, or use"),
        ({"driver": "NVIDIA's driver does not answer (version mismatch)"}, "does not answer", "restart the machine"),
        ({"driver": "NVIDIA's driver does not answer (Unknown Error)"}, "Unknown Error", "see what nvidia-smi"),
        ({"cards": ()}, "NVIDIA's driver has no card", "in a container: start it with its GPUs"),
        ({"visible": ""}, f"CUDA_VISIBLE_DEVICES='' hides {NAMES}", "unset it, or name cards"),
        ({"visible": "-1"}, f"CUDA_VISIBLE_DEVICES='-1' hides {NAMES}", "unset it"),
        ({"visible": "2,0"}, f"CUDA_VISIBLE_DEVICES='2,0': 2 is no card here ({NAMES})", "unset it"),
        ({"visible": "GPU-cc"}, "GPU-cc is no card here", "unset it"),
        ({"build": BUILD | {"is_cuda_build": False}}, "is built for the CPU only", "install one for CUDA"),
        (
            {"cards": (replace(CARD, driver="470.1", cuda="11.4"),)},
            "NVIDIA H200 here, but its driver (470.1) has CUDA 11.4; TensorFlow is built for 12.5.1",
            "update the driver to one with CUDA 12",
        ),
        (
            {"cards": (replace(CARD, name="Tesla K80", compute_capability="3.7"),)},
            "Tesla K80 here, of compute capability 3.7; this TensorFlow has code from 6.0 on",
            "use a newer card",
        ),
        ({"libraries": False}, "CUDA's libraries are not (nvidia-cudnn-cu12 and others)", "make setup"),
        ({}, f"{NAMES} here, but TensorFlow finds no GPU (it does not say why)", "see what nvidia-smi says"),
    ],
)  # fmt: skip
def test_the_first_cause_is_named_with_its_remedy(changed: dict[str, Any], why: str, remedy: str) -> None:
    cause, advice = why_no_gpu(replace(GOOD, **changed))
    assert why in cause
    assert advice.startswith(remedy)


def test_without_another_cause_tensorflows_reason_is_given() -> None:
    cause, _ = why_no_gpu(replace(GOOD, cards=(CARD,)), "Cannot dlopen some GPU libraries.")
    assert cause == "NVIDIA H200 here, but TensorFlow finds no GPU (Cannot dlopen some GPU libraries.)"


@pytest.mark.parametrize(
    ("variable", "seen", "wrong"),
    [
        (None, [CARD, OTHER], ""),
        ("1,0", [OTHER, CARD], ""),
        (" 1 ", [OTHER], ""),
        ("0,7,1", [CARD], "7"),
        ("0,-1,1", [CARD], ""),
        ("GPU-bb", [OTHER], ""),
        ("GPU-bb22,GPU-zz", [OTHER], "GPU-zz"),
        ("MIG-1234", [CARD], ""),
        ("all", [], "all"),
        ("", [], ""),
    ],
)
def test_cuda_reads_the_variable_up_to_the_first_wrong_entry(
    variable: str | None, seen: list[Card], wrong: str
) -> None:
    assert visible_cards(replace(GOOD, visible=variable)) == (seen, wrong)


def test_a_full_card_is_distinguished_from_a_broken_one() -> None:
    full = replace(GOOD, cards=(replace(CARD, free=499_000_000),))
    why, remedy = why_unusable("NVIDIA H200", "CUDA_ERROR_OUT_OF_MEMORY", full)
    assert why == "no free memory: 0.5 of 150.0 GB are free"
    assert remedy.startswith("end what holds it")
    assert why_unusable("NVIDIA H200", "an ECC error", GOOD)[0] == "an ECC error"


def test_this_machine_can_be_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert inspect_machine(BUILD).visible == ""
    assert all(why_no_gpu(inspect_machine(BUILD)))
