"""Diagnosis of GPUs that TensorFlow cannot use, from the driver, the cards and the installed libraries."""

import importlib.metadata
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from poolstudy.execution.gpu import nvidia
from poolstudy.execution.gpu.nvidia import Card

_SETUP = "make setup installs them where nvidia-smi works"
_MIN_FREE = 500e6  # bytes; CUDA's context and TensorFlow's libraries take some hundreds of megabytes
_CUDA_WHEEL = "nvidia-cudnn-cu12"


@dataclass(frozen=True)
class Sight:
    """Facts about this machine's GPUs.

    Attributes:
        driver: why NVIDIA's driver does not answer; empty if it does.
        visible: CUDA_VISIBLE_DEVICES; None if it is not set.
        build: result of `tf.sysconfig.get_build_info`.
        libraries: the wheels with CUDA's libraries are installed.
    """

    driver: str = ""
    cards: Sequence[Card] = ()
    visible: str | None = None
    build: Mapping[str, object] = field(default_factory=dict)
    libraries: bool = True


def inspect_machine(build: Mapping[str, object]) -> Sight:
    """Collect the facts about this machine."""
    try:
        libraries = bool(importlib.metadata.version(_CUDA_WHEEL))
    except importlib.metadata.PackageNotFoundError:
        libraries = False
    return Sight(nvidia.problem(), nvidia.cards(), os.environ.get("CUDA_VISIBLE_DEVICES"), build, libraries)


def why_no_gpu(sight: Sight, reason: str = "") -> tuple[str, str]:
    """Return why TensorFlow lists no GPU and what to do: the first cause that applies, else TensorFlow's `reason`."""
    return next(_causes(sight, reason))


def _causes(sight: Sight, reason: str) -> Iterator[tuple[str, str]]:
    if sight.driver:
        yield sight.driver, _for_driver(sight.driver)
    if not sight.cards:
        yield "NVIDIA's driver has no card", "in a container: start it with its GPUs; else see nvidia-smi and dmesg"
        return
    card, others = sight.cards[0], len(sight.cards) - 1
    names = card.name + (f" and {others} more" if others else "")
    seen, wrong = visible_cards(sight)
    if not seen:
        shown = f"CUDA_VISIBLE_DEVICES={sight.visible!r}"
        why = f"{shown}: {wrong} is no card here ({names})" if wrong else f"{shown} hides {names}"
        yield why, "unset it, or name cards by number or UUID, such as CUDA_VISIBLE_DEVICES=0"
    if sight.build.get("is_cuda_build") is False:
        yield f"{names} here, but this TensorFlow is built for the CPU only", "install one for CUDA (Linux, x86-64)"
    built = str(sight.build.get("cuda_version", ""))
    wanted = _numbers(built)[:1]
    if _numbers(card.cuda) < wanted:
        why = f"{names} here, but its driver ({card.driver}) has CUDA {card.cuda}; TensorFlow is built for {built}"
        yield why, f"update the driver to one with CUDA {wanted[0]}"
    least = _least_capability(sight.build)
    if all(_numbers(visible.compute_capability) < least for visible in seen):
        have = f"{names} here, of compute capability {card.compute_capability}"
        yield f"{have}; this TensorFlow has code from {least[0]}.{least[1]} on", "use a newer card, or the CPU"
    if not sight.libraries:
        yield f"{names} here, but CUDA's libraries are not ({_CUDA_WHEEL} and others)", _SETUP
    yield f"{names} here, but TensorFlow finds no GPU ({reason or 'it does not say why'})", "see what nvidia-smi says"


def why_unusable(name: str, problem: str, sight: Sight) -> tuple[str, str]:
    """Return why a card that TensorFlow lists cannot be used and what to do; `problem` is TensorFlow's error."""
    if card := full_card(name, sight):
        free = f"{card.free / 1e9:.1f} of {card.memory / 1e9:.1f} GB are free"
        return f"no free memory: {free}", "end what holds it (nvidia-smi lists it), or name another card"
    return problem, "see what nvidia-smi and dmesg say; a card that hangs needs a reset"


def full_card(name: str, sight: Sight) -> Card | None:
    """Return a visible card of this name whose memory is taken, or None."""
    return next((card for card in visible_cards(sight)[0] if card.name == name and card.free < _MIN_FREE), None)


def visible_cards(sight: Sight) -> tuple[list[Card], str]:
    """Return the cards that CUDA_VISIBLE_DEVICES shows, and its first wrong entry, after which CUDA reads no further.

    Numbers mean the driver's order here. CUDA may order identical cards differently, which changes nothing for them.
    """
    if sight.visible is None:
        return list(sight.cards), ""
    seen: list[Card] = []
    for entry in filter(None, (part.strip() for part in sight.visible.split(","))):
        if entry.isdecimal() and int(entry) < len(sight.cards):
            seen.append(sight.cards[int(entry)])
        elif entry.startswith("MIG-"):
            seen += sight.cards[:1]  # a part of some card
        elif named := [card for card in sight.cards if entry.startswith("GPU-") and card.uuid.startswith(entry)]:
            seen.append(named[0])
        else:
            return seen, "" if entry == "-1" else entry
    return seen, ""


def _for_driver(problem: str) -> str:
    if "mismatch" in problem:
        return "restart the machine: the driver was updated under a running system"
    if "does not answer" in problem:
        return "see what nvidia-smi and dmesg say"
    return "train on the CPU, or use a machine with a GPU (in a container: start it with its GPUs)"


def _least_capability(build: Mapping[str, object]) -> list[int]:
    """Return the oldest compute capability that a build has code for; [] if unknown."""
    versions = re.findall(r"(\d+)(\d)", str(build.get("cuda_compute_capabilities", "")))  # sm_60, sm_100, compute_90
    return min(([int(major), int(minor)] for major, minor in versions), default=[])


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
