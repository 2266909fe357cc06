"""Verdict on a reproduction: its outcome against that of the original run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from poolstudy.reproduce.record import RunRecord, TrialOutcome
from poolstudy.spec.frozen import Frozen
from poolstudy.spec.records import EPOCH_METRICS, DataIdentity, EpochRecord, TrialSpec, leaves
from poolstudy.spec.space import HyperParameters

LOSS_TOLERANCE = 0.05
ACCURACY_TOLERANCE = 0.015
"""Largest distances in any epoch on other hardware or libraries: rounding noise, measured in docs/reproduction.md."""

# Changes of hardware or of computing libraries, which may round differently: first part of the dotted name, or package.
_HARDWARE = ("machine", "processor", "instructions", "device", "gpus", "libc", "tensorflow_build")
_LIBRARIES = ("tensorflow", "keras", "numpy", "ml_dtypes", "nvidia-")


class Difference(Frozen):
    """One difference; `what` is a dotted name such as packages.keras."""

    what: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} is {_brief(self.now)}, was {_brief(self.then)}"

    @property
    def rounds_otherwise(self) -> bool:
        """True for hardware, and for libraries that compute."""
        top, _, rest = self.what.partition(".")
        return top in _HARDWARE or (top == "packages" and rest.startswith(_LIBRARIES))


class Verdict(Frozen):
    """Verdict on a reproduction.

    Attributes:
        word: "identical": bit for bit. "equivalent": within the tolerances, where hardware or a computing library
            differs, or where something is not deterministic. "different": neither.
        reasons: differences between the outcomes, in order.
        differences: in data, code and environment.
        not_deterministic: operations that may sum in another order each time; empty if the outcomes are identical.
    """

    word: Literal["identical", "equivalent", "different"]
    reasons: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    not_deterministic: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reproduction:
    """Result of a reproduction: its verdict, the original's record, its own outcome, the ID of its own run."""

    verdict: Verdict
    original: RunRecord
    reached: TrialOutcome
    run_id: str


def judge(
    then: TrialOutcome, now: TrialOutcome, differences: Sequence[Difference], not_deterministic: Sequence[str] = ()
) -> Verdict:
    """Compare the outcomes of two runs of a spec, bit for bit."""
    reasons = tuple(_reasons(then, now))
    if not reasons:
        return Verdict(word="identical", differences=tuple(differences))
    explained = not_deterministic or any(difference.rounds_otherwise for difference in differences)
    return Verdict(
        word="equivalent" if explained and _near(then, now) else "different",
        reasons=reasons,
        differences=tuple(differences),
        not_deterministic=tuple(not_deterministic),
    )


def not_deterministic(spec: TrialSpec, devices: Iterable[str], threads: int = 1) -> tuple[str, ...]:
    """Return the operations that TensorFlow may sum in another order each time, without training.deterministic.

    On the CPU these are sums that several threads share. On a GPU they are those that NVIDIA's "Status of
    GPU-Determinism in TensorFlow" (NVIDIA/framework-reproducibility) lists, as far as a trial computes them; average
    pooling is not among them.

    Args:
        devices: of the runs, as "GPU:0".
        threads: the most that an operation of either run had.
    """
    if spec.training.deterministic:
        return ()
    gpus = ", ".join(sorted({device for device in devices if device.startswith("GPU")}))
    operations = [f"{operation} on {gpus}" for operation in _gpu_operations(spec.hyperparameters)] if gpus else []
    if threads > 1:
        operations.append(f"sums that up to {threads} threads share on the CPU")
    return tuple(operations)


def _gpu_operations(network: HyperParameters) -> Iterator[str]:
    convolutions = ", ".join(f"conv_{number}" for number, _ in enumerate(network.filters, start=1))
    yield f"the choice of cuDNN's algorithms for {convolutions}, and their gradients"
    yield "the gradients of the biases"
    if network.pooling == "max":
        yield "the gradient of max pooling"
    yield "the cross-entropy"
    yield "sums that XLA compiles"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the differences between two environments by dotted name, for the top-level keys of the first one."""
    before, after = _texts(then), _texts({key: value for key, value in now.items() if key in then})
    pairs = {name: (before.get(name, "nothing"), after.get(name, "nothing")) for name in {**before, **after}}
    return tuple(Difference(what=name, then=old, now=new) for name, (old, new) in pairs.items() if old != new)


def data_differences(then: DataIdentity, now: DataIdentity) -> tuple[Difference, ...]:
    """Return the parts in which two data sets differ."""
    return differences({"data": then.model_dump(mode="json")}, {"data": now.model_dump(mode="json")})


def same_metrics(before: EpochRecord, after: EpochRecord) -> bool:
    """Return whether two epochs have the same metrics, bit for bit."""
    return all(getattr(before, metric) == getattr(after, metric) for metric in EPOCH_METRICS)


def _reasons(then: TrialOutcome, now: TrialOutcome) -> Iterator[str]:
    for before, after in zip(then.history, now.history, strict=False):
        for metric in EPOCH_METRICS:
            old, new = getattr(before, metric), getattr(after, metric)
            if old != new:
                yield f"epoch {before.epoch}: {metric} is {new!r}, was {old!r} ({new - old:+.2g})"
    pairs = {
        "epochs": (len(then.history), len(now.history)),
        "the best epoch": (then.best_epoch, now.best_epoch),
        "the stop reason": (then.stop_reason, now.stop_reason),
        "the failure": (then.failure, now.failure),
        "the initial weights": (then.untrained_digest[:16], now.untrained_digest[:16]),
        "the trained weights": (then.weights_digest[:16], now.weights_digest[:16]),
    }
    yield from (f"{what}: {new or 'none'}, was {old or 'none'}" for what, (old, new) in pairs.items() if old != new)


def _near(then: TrialOutcome, now: TrialOutcome) -> bool:
    """Return whether the common epochs, and the two best ones, lie within the tolerances."""
    if (then.stop_reason == "failed") != (now.stop_reason == "failed") or not (then.history and now.history):
        return False
    pairs = [*zip(then.history, now.history, strict=False), (_best(then), _best(now))]
    return all(
        abs(getattr(before, metric) - getattr(after, metric))
        <= (LOSS_TOLERANCE if metric.endswith("loss") else ACCURACY_TOLERANCE)
        for before, after in pairs
        for metric in EPOCH_METRICS
    )


def _best(outcome: TrialOutcome) -> EpochRecord:
    return next(record for record in outcome.history if record.epoch == outcome.best_epoch)


def _texts(tree: Mapping[str, Any]) -> dict[str, str]:
    listed = {name: value if isinstance(value, list | tuple) else [value] for name, value in leaves(tree)}
    return {name: ", ".join(map(str, values)) for name, values in listed.items()}


def _brief(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:40]}…"
