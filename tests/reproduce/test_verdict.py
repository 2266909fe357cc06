"""Verdicts on runs that differ in one thing each, worked out by hand."""

from typing import Any

import pytest
from conftest import make_spec

from poolstudy.reproduce.record import TrialOutcome
from poolstudy.reproduce.verdict import Difference, differences, judge, not_deterministic
from poolstudy.spec.records import EpochRecord


def epoch(number: int, **values: float) -> EpochRecord:
    standard = {"loss": 0.5, "accuracy": 0.8, "val_loss": 0.4 / number, "val_accuracy": 0.85, "seconds": 2.0}
    return EpochRecord(epoch=number, **(standard | values))


def reached(*epochs: EpochRecord, **values: Any) -> TrialOutcome:
    history = epochs or (epoch(1), epoch(2))
    standard = {"history": history, "stop_reason": "epochs", "weights_digest": "w", "untrained_digest": "u"}
    return TrialOutcome.model_validate(standard | values)


KERAS = Difference(what="packages.keras", then="3.15.1", now="3.16.0")
THREADS = Difference(what="threads", then="1", now="2")
RICH = Difference(what="packages.rich", then="14.0", now="14.1")
SOURCE = Difference(what="code.source_digest", then="a", now="b")


def test_the_same_is_identical_whatever_the_clock_and_the_packages_say() -> None:
    again = reached(epoch(1, seconds=9), epoch(2, seconds=9))
    verdict = judge(reached(), again, [KERAS, THREADS])
    assert (verdict.word, verdict.reasons, len(verdict.differences)) == ("identical", (), 2)


@pytest.mark.parametrize(
    ("again", "reason"),
    [
        (reached(epoch(1), epoch(2, val_loss=0.2000001)), "epoch 2: val_loss is 0.2000001, was 0.2 (+1e-07)"),
        (reached(epoch(1)), "epochs: 1, was 2"),
        (reached(weights_digest="x"), "the trained weights: x, was w"),
        (reached(untrained_digest="x"), "the initial weights: x, was u"),
        (reached(stop_reason="pruned"), "the stop reason: pruned, was epochs"),
        (TrialOutcome(failure="loss is nan in epoch 1"), "epochs: none, was 2"),
    ],
)
def test_one_difference_is_named_and_without_a_cause_the_verdict_is_different(again: TrialOutcome, reason: str) -> None:
    verdict = judge(reached(), again, [RICH])
    assert verdict.word == "different"
    assert verdict.reasons[0] == reason


@pytest.mark.parametrize(
    ("causes", "word"),
    [
        ([KERAS], "equivalent"),
        ([Difference(what="processor", then="x", now="y")], "equivalent"),
        ([], "different"),
        ([RICH], "different"),
        ([THREADS], "different"),
        ([SOURCE], "different"),
        ([KERAS, SOURCE], "equivalent"),
    ],
)
def test_near_is_equivalent_only_where_hardware_or_a_computing_library_differs(
    causes: list[Difference], word: str
) -> None:
    near = reached(epoch(1, val_loss=0.41), epoch(2), weights_digest="x")
    assert judge(reached(), near, causes).word == word


def test_another_linux_kernel_explains_no_rounding() -> None:
    near = reached(epoch(1, val_loss=0.41), epoch(2), weights_digest="x")
    assert judge(reached(), near, [Difference(what="platform", then="Linux-6.1", now="Linux-6.2")]).word == "different"


def test_nondeterministic_gpu_operations_are_named_where_the_runs_differ() -> None:
    spec = make_spec()  # max pooling, two convolutions, deterministic: false
    named = not_deterministic(spec, ("GPU:1", "GPU:0", "GPU:1"))
    assert named[0] == "the choice of cuDNN's algorithms for conv_1, conv_2, and their gradients on GPU:0, GPU:1"
    assert "the gradient of max pooling on GPU:0, GPU:1" in named
    average = spec.hyperparameters.model_copy(update={"pooling": "average"})
    operations = not_deterministic(spec.model_copy(update={"hyperparameters": average}), ("GPU:0",))
    assert not any("pooling" in operation for operation in operations)
    near = reached(epoch(1, val_loss=0.41), epoch(2), weights_digest="x")
    assert judge(reached(), near, [], named).word == "equivalent"
    assert judge(reached(), near, [], named).not_deterministic == named
    assert judge(reached(), reached(epoch(1, val_loss=0.46), epoch(2)), [], named).word == "different"
    assert judge(reached(), reached(), [], named).not_deterministic == ()


def test_sums_that_threads_share_on_the_cpu_are_named() -> None:
    named = not_deterministic(make_spec(), ("CPU:0",), threads=2)
    assert named == ("sums that up to 2 threads share on the CPU",)
    near = reached(epoch(1, val_loss=0.41), epoch(2), weights_digest="x")
    assert judge(reached(), near, [], named).word == "equivalent"
    assert not_deterministic(make_spec(), ("GPU:0",), threads=2)[-1:] == named


def test_one_thread_and_the_deterministic_setting_leave_nothing_to_name() -> None:
    spec = make_spec()
    assert not_deterministic(spec, ("CPU:0",)) == ()
    asked = spec.model_copy(update={"training": spec.training.model_copy(update={"deterministic": True})})
    assert not_deterministic(asked, ("GPU:0",), threads=2) == ()


def test_a_best_epoch_that_is_far_is_different_though_common_epochs_are_near() -> None:
    longer = reached(epoch(1), epoch(2), epoch(3, val_loss=0.1))  # the best one was 0.2
    assert judge(reached(), longer, [KERAS]).word == "different"


@pytest.mark.parametrize("far", [{"val_loss": 0.46}, {"loss": 0.44}, {"val_accuracy": 0.87}, {"accuracy": 0.78}])
def test_far_is_different_on_any_hardware(far: dict[str, float]) -> None:
    assert judge(reached(), reached(epoch(1, **far), epoch(2)), [KERAS]).word == "different"


def test_a_failure_is_the_same_when_it_fails_the_same_way() -> None:
    failure = TrialOutcome(failure="loss is nan in epoch 1")
    assert judge(failure, failure, []).word == "identical"
    assert judge(failure, TrialOutcome(failure="out of memory"), [KERAS]).word == "different"
    assert judge(failure, reached(), [KERAS]).word == "different"


def test_environments_are_compared_by_dotted_name() -> None:
    then = {"threads": 1, "packages": {"keras": "3.15.1", "gone": "1"}, "instructions": ["avx", "fma"]}
    now = {"threads": 1, "packages": {"keras": "3.16.0", "new": "2"}, "instructions": ["avx"]}
    assert [str(difference) for difference in differences(then, now)] == [
        "packages.keras is 3.16.0, was 3.15.1",
        "packages.gone is nothing, was 1",
        "instructions is avx, was avx, fma",
        "packages.new is 2, was nothing",
    ]
    assert differences({"threads": 1}, {"threads": 1, "recorded_since": "x"}) == ()


def test_epochs_may_have_any_numbers() -> None:
    strange = reached(epoch(7, val_loss=0.4), epoch(9, val_loss=0.2))
    assert judge(strange, reached(), [KERAS]).word == "equivalent"
