"""Verdicts on runs that differ in one thing each, worked out by hand."""

import json
from typing import Any

import pytest
from conftest import make_spec

from poolstudy.errors import RecordTampered
from poolstudy.reproduce.verdict import Difference, RunRecord, TrialOutcome, differences, judge, not_deterministic
from poolstudy.spec.records import EpochRecord, digest_of


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
        (reached(weights_digest="x"), "the weights it kept: x, was w"),
        (reached(untrained_digest="x"), "the weights it began with: x, was u"),
        (reached(stop_reason="pruned"), "what ended it: pruned, was epochs"),
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


def test_a_kernel_of_another_release_explains_no_rounding() -> None:
    near = reached(epoch(1, val_loss=0.41), epoch(2), weights_digest="x")
    assert judge(reached(), near, [Difference(what="platform", then="Linux-6.1", now="Linux-6.2")]).word == "different"


def test_on_a_gpu_what_is_not_deterministic_is_named_where_the_runs_differ() -> None:
    spec = make_spec()  # max pooling, two convolutions, deterministic: false
    named = not_deterministic(spec, ("GPU:1", "GPU:0", "GPU:1"))
    assert named[0] == "the choice of cuDNN's algorithms for conv_1, conv_2, and their gradients on GPU:0, GPU:1"
    assert "the gradient of max pooling on GPU:0, GPU:1" in named
    average = spec.hyperparameters.model_copy(update={"pooling": "average"})
    assert not any(
        "pooling" in one for one in not_deterministic(spec.model_copy(update={"hyperparameters": average}), ("GPU:0",))
    )
    near = reached(epoch(1, val_loss=0.41), epoch(2), weights_digest="x")
    assert judge(reached(), near, [], named).word == "equivalent"
    assert judge(reached(), near, [], named).not_deterministic == named
    assert judge(reached(), reached(epoch(1, val_loss=0.46), epoch(2)), [], named).word == "different"
    assert judge(reached(), reached(), [], named).not_deterministic == ()


def test_on_the_cpu_what_several_threads_share_is_named() -> None:
    named = not_deterministic(make_spec(), ("CPU:0",), threads=2)
    assert named == ("sums that up to 2 threads share on the CPU",)
    near = reached(epoch(1, val_loss=0.41), epoch(2), weights_digest="x")
    assert judge(reached(), near, [], named).word == "equivalent"
    assert not_deterministic(make_spec(), ("GPU:0",), threads=2)[-1:] == named


def test_with_one_thread_and_where_it_was_asked_for_all_is_deterministic() -> None:
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
    assert [str(one) for one in differences(then, now)] == [
        "packages.keras is 3.16.0, was 3.15.1",
        "packages.gone is nothing, was 1",
        "instructions is avx, was avx, fma",
        "packages.new is 2, was nothing",
    ]
    assert differences({"threads": 1}, {"threads": 1, "recorded_since": "x"}) == ()


CLAIM = RunRecord.model_validate(
    {
        "run_id": "0123456789abcdef0123456789abcdef",
        "name": "trial-0007",
        "spec": make_spec().model_dump(),
        "reached": reached().model_dump(),
        "source": {"format": "digits", "name": "digits", "image_shape": (8, 8, 1), "class_names": ("0", "1")},
        "environment": {"threads": 1, "packages": {"keras": "3.15.1"}},
    }
)


@pytest.mark.parametrize("study", ["../up", "a/b", ".hidden", ""])
def test_a_strangers_claim_names_no_path(study: str) -> None:
    content = CLAIM.model_dump(mode="json")
    content["spec"]["study"] = study
    with pytest.raises(RecordTampered):
        RunRecord.from_json(json.dumps({"sha256": digest_of(content), **content}), "best.json")


@pytest.mark.parametrize("threads", ["x", "2", 100_000, 1025, 0, -1, 1.5, True, None, [1]])
def test_a_strangers_claim_starts_no_threads_that_a_study_could_not(threads: object) -> None:
    content = CLAIM.model_dump(mode="json")
    content["environment"]["threads"] = threads
    with pytest.raises(RecordTampered, match="threads is .*, not a whole number from 1 to 1024"):
        RunRecord.from_json(json.dumps({"sha256": digest_of(content), **content}), "best.json")


def test_a_strangers_epochs_may_have_any_numbers() -> None:
    strange = reached(epoch(7, val_loss=0.4), epoch(9, val_loss=0.2))
    assert judge(strange, reached(), [KERAS]).word == "equivalent"


def test_what_is_sealed_is_read_back() -> None:
    assert RunRecord.from_json(CLAIM.to_json(), "best.json") == CLAIM


def test_every_digit_of_a_sealed_claim_counts() -> None:
    text = CLAIM.to_json()
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    assert len(places) > 100
    for place in places:
        changed = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
        with pytest.raises(RecordTampered):
            RunRecord.from_json(changed, "best.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", "no JSON", json.dumps({"sha256": "0"}), '{"a": NaN}'])
def test_what_is_no_claim_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RecordTampered) as caught:
        RunRecord.from_json(text, "best.json")
    assert str(caught.value).startswith("best.json")
    assert "\n" not in str(caught.value)
