"""What a run says it did, sealed; and the verdict on a second run of the same spec."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator

from poolstudy.errors import RecordTampered, one_line
from poolstudy.spec.datasets import DigitsData, IdxData
from poolstudy.spec.records import (
    DataIdentity,
    EpochRecord,
    StopReason,
    TrialResult,
    TrialSpec,
    best_epoch,
    digest_of,
    leaves,
)
from poolstudy.spec.space import Frozen, HyperParameters

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")
LOSS_TOLERANCE = 0.05
ACCURACY_TOLERANCE = 0.015
"""How far a run may lie from another that had other hardware or libraries, in every epoch: the noise that
rounding grows to over some epochs, as measured in docs/reproduction.md."""

# What rounds otherwise by its nature: the top of a difference's dotted name, or a package.
_HARDWARE = ("machine", "processor", "instructions", "device", "gpus", "libc", "tensorflow_build")
_LIBRARIES = ("tensorflow", "keras", "numpy", "ml_dtypes", "nvidia-")


class TrialOutcome(Frozen):
    """What a trial came to.

    Attributes:
        history: its epochs; none where it failed before the first had ended.
        stop_reason: why it ended; `failure` says what failed.
        weights_digest, untrained_digest: empty where there is no epoch.
    """

    history: tuple[EpochRecord, ...] = ()
    stop_reason: StopReason = "failed"
    weights_digest: str = ""
    untrained_digest: str = ""
    failure: str = ""

    @classmethod
    def of(cls, result: TrialResult) -> Self:
        return cls(**result.model_dump(include=set(cls.model_fields)))

    @property
    def best_epoch(self) -> int | None:
        return best_epoch(self.history) if self.history else None


class RunRecord(Frozen):
    """All that a reproduction needs of a run, and all that it is compared with.

    Attributes:
        source: where its data came from.
        environment: what it was computed with, code included: its environment.json.
    """

    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    name: str
    spec: TrialSpec
    reached: TrialOutcome
    source: Annotated[IdxData | DigitsData, Field(discriminator="format")]
    environment: dict[str, Any]

    @field_validator("environment")
    @classmethod
    def _threads_can_be_started(cls, environment: dict[str, Any]) -> dict[str, Any]:
        """It may be a stranger's, and it is done: as many as a study may be given."""
        threads = environment.get("threads", 1)
        if type(threads) is not int or not 1 <= threads <= 1024:
            raise ValueError(f"threads is {threads!r}, not a whole number from 1 to 1024")
        return environment

    @property
    def threads(self) -> int:
        return int(self.environment.get("threads", 1))

    @property
    def device(self) -> str:
        return str(self.environment.get("device", "CPU:0"))

    def to_json(self) -> str:
        """As JSON, readable, with its own SHA-256."""
        content = self.model_dump(mode="json")
        return json.dumps({"sha256": digest_of(content), **content}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> Self:
        """What `to_json` made.

        Raises:
            ClaimBroken: it is no such JSON, or was changed since.
        """
        remedy = "restore the file, or freeze the run again"
        try:
            content = json.loads(text)
            seal = content.pop("sha256", "") if isinstance(content, dict) else ""
            found = digest_of(content)
            original = cls.model_validate(content)
        except (ValueError, ValidationError) as error:
            raise RecordTampered(f"{name}: {one_line(error)}", "a run that was frozen", remedy) from None
        if found != seal:
            raise RecordTampered(
                f"{name} has SHA-256 {found[:16]}…", f"{seal[:16] or 'a seal'}…: it was changed", remedy
            )
        return original


class Difference(Frozen):
    """One thing that is not as it was: `what` is a dotted name such as packages.keras."""

    what: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} is {_brief(self.now)}, was {_brief(self.then)}"

    @property
    def rounds_otherwise(self) -> bool:
        """Whether it is hardware, or a library that computes."""
        top, _, rest = self.what.partition(".")
        return top in _HARDWARE or (top == "packages" and rest.startswith(_LIBRARIES))


class Verdict(Frozen):
    """Whether a run was made again.

    Attributes:
        word: "identical": bit for bit. "equivalent": within the tolerances, where hardware or a computing library
            differs, or where something is not deterministic. "different": neither.
        reasons: what differs in what was reached, the first first.
        differences: in data, code and environment.
        not_deterministic: what may add up in another order each time; named where the two are not identical.
    """

    word: Literal["identical", "equivalent", "different"]
    reasons: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    not_deterministic: tuple[str, ...] = ()


def judge(
    then: TrialOutcome, now: TrialOutcome, differences: Sequence[Difference], not_deterministic: Sequence[str] = ()
) -> Verdict:
    """Compares what two runs of a spec reached, bit for bit.

    Args:
        not_deterministic: as the function of that name found it.
    """
    reasons = tuple(_reasons(then, now))
    if not reasons:
        return Verdict(word="identical", differences=tuple(differences))
    rounding = not_deterministic or any(one.rounds_otherwise for one in differences)
    return Verdict(
        word="equivalent" if rounding and _near(then, now) else "different",
        reasons=reasons,
        differences=tuple(differences),
        not_deterministic=tuple(not_deterministic),
    )


def not_deterministic(spec: TrialSpec, devices: Iterable[str], threads: int = 1) -> tuple[str, ...]:
    """What TensorFlow may add up in another order each time, unless training.deterministic asks it not to.

    On the CPU it is what several threads share; one thread leaves nothing open. On a GPU it is what NVIDIA's "Status of
    GPU-Determinism in TensorFlow" (NVIDIA/framework-reproducibility) lists, as far as a trial computes it; average
    pooling is not.

    Args:
        devices: that the runs trained on, as "GPU:0".
        threads: the most that an operation of either had.
    """
    if spec.training.deterministic:
        return ()
    on = ", ".join(sorted({device for device in devices if device.startswith("GPU")}))
    found = [f"{one} on {on}" for one in _loose_on_gpus(spec.hyperparameters)] if on else []
    if threads > 1:
        found.append(f"sums that up to {threads} threads share on the CPU")
    return tuple(found)


def _loose_on_gpus(network: HyperParameters) -> Iterator[str]:
    convolutions = ", ".join(f"conv_{number}" for number, _ in enumerate(network.filters, start=1))
    yield f"the choice of cuDNN's algorithms for {convolutions}, and their gradients"
    yield "the gradients of the biases"
    if network.pooling == "max":
        yield "the gradient of max pooling"
    yield "the cross-entropy"
    yield "sums that XLA compiles"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between two environments, by dotted name, of what the first one has a word about."""
    before, after = _texts(then), _texts({key: value for key, value in now.items() if key in then})
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return tuple(
        Difference(what=name, then=before.get(name, "nothing"), now=after.get(name, "nothing")) for name in names
    )


def data_differences(then: DataIdentity, now: DataIdentity) -> tuple[Difference, ...]:
    """What differs between two sets of data, by the part that does."""
    before, after = then.model_dump(mode="json"), now.model_dump(mode="json")
    return tuple(one.model_copy(update={"what": f"data.{one.what}"}) for one in differences(before, after))


def _reasons(then: TrialOutcome, now: TrialOutcome) -> Iterator[str]:
    for before, after in zip(then.history, now.history, strict=False):
        for metric in METRICS:
            old, new = getattr(before, metric), getattr(after, metric)
            if old != new:
                yield f"epoch {before.epoch}: {metric} is {new!r}, was {old!r} ({new - old:+.2g})"
    pairs = {
        "epochs": (len(then.history), len(now.history)),
        "the best epoch": (then.best_epoch, now.best_epoch),
        "what ended it": (then.stop_reason, now.stop_reason),
        "the failure": (then.failure, now.failure),
        "the weights it began with": (then.untrained_digest[:16], now.untrained_digest[:16]),
        "the weights it kept": (then.weights_digest[:16], now.weights_digest[:16]),
    }
    yield from (f"{what}: {new or 'none'}, was {old or 'none'}" for what, (old, new) in pairs.items() if old != new)


def _near(then: TrialOutcome, now: TrialOutcome) -> bool:
    """Whether every epoch that both had, and the best one of each, lie within the tolerances."""
    if (then.stop_reason == "failed") != (now.stop_reason == "failed") or not (then.history and now.history):
        return False
    pairs = [*zip(then.history, now.history, strict=False), (_best(then), _best(now))]
    return all(
        abs(getattr(before, metric) - getattr(after, metric))
        <= (LOSS_TOLERANCE if metric.endswith("loss") else ACCURACY_TOLERANCE)
        for before, after in pairs
        for metric in METRICS
    )


def _best(reached: TrialOutcome) -> EpochRecord:
    return next(record for record in reached.history if record.epoch == reached.best_epoch)


def _texts(tree: Mapping[str, Any]) -> dict[str, str]:
    found = leaves(tree)
    return {name: ", ".join(map(str, one)) if isinstance(one, list | tuple) else str(one) for name, one in found}


def _brief(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:40]}…"
