import hashlib

import pytest
from conftest import make_result
from pydantic import ValidationError

from poolstudy.spec.records import digest_of, draw_seed


def test_the_best_metrics_are_those_of_the_first_epoch_of_least_loss() -> None:
    metrics = make_result([0.5, 0.3, 0.3, 0.4], best=2).metrics()
    assert metrics["best_epoch"] == 2
    assert metrics["best_val_loss"] == 0.3
    assert metrics["best_val_accuracy"] == 0.7  # of epoch 2, though epoch 4 has 0.9


def test_a_result_cannot_name_another_best_epoch() -> None:
    with pytest.raises(ValidationError, match="not the epoch of least val_loss"):
        make_result([0.5, 0.3, 0.3, 0.4], best=4)


def test_a_digest_is_of_the_canonical_json() -> None:
    assert digest_of({"b": [1, 2.5], "a": "x"}) == hashlib.sha256(b'{"a":"x","b":[1,2.5]}').hexdigest()


def test_a_digest_of_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"a": float("nan")})


def test_seeds_differ_by_study_and_slot_and_never_change() -> None:
    seeds = {draw_seed(study, slot) for study in range(50) for slot in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**31 for seed in seeds)
    # Those of the frozen runs of experiments/digits and experiments/pooling.
    assert draw_seed(42, 4) == 482343806
    assert draw_seed(42, 10) == 1773267450
