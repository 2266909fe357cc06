"""Estimates on made-up speeds: an epoch of the small network takes 1 s, of the large one 3 s."""

from typing import Any

import pytest

from poolstudy.spec.candidates import CandidateNetworks
from poolstudy.spec.layers import flops, layers
from poolstudy.spec.records import EpochRecord
from poolstudy.spec.space import HyperParameters
from poolstudy.study.forecast import FinishedTrial, Forecast, Speed, Timing, Workload, max_seconds, typical_seconds

SMALL = HyperParameters(pooling="max", pool_size=2, filters=(16, 16), dropout=0.4)
LARGE = HyperParameters(pooling="max", pool_size=2, filters=(64, 64), dropout=0.4)


def flops_of(network: HyperParameters) -> int:
    return flops(layers(network, (28, 28, 1), 10, 100))


TIMINGS = (Timing(SMALL, 1), Timing(LARGE, 3))
SPEED = Speed.fitted(TIMINGS, flops_of)


def asked(trials: int, at_once: int = 1, copies: float | None = 2, timeout: float | None = None) -> Workload:
    """Trials of up to 5 epochs, of two networks."""
    return Workload(trials, 5, at_once, CandidateNetworks((SMALL, LARGE), copies, in_order=False), flops_of, timeout)


def listed(*networks: HyperParameters, at_once: int = 1) -> Workload:
    return Workload(len(networks), 5, at_once, CandidateNetworks(networks, 1, in_order=True), flops_of)


class Told:
    """A forecast that is told what happens, and at what second."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        self._now = 0.0
        settings["clock"] = lambda: self._now
        self._forecast = Forecast(*given, **settings)

    def started(self, key: int, network: HyperParameters, now: float) -> None:
        self._now = now
        self._forecast.started(key, "trial", network)

    def epoch(self, key: int, seconds: float, now: float) -> None:
        self._now = now
        record = EpochRecord(epoch=1, loss=1, accuracy=0, val_loss=1, val_accuracy=0, seconds=seconds)
        self._forecast.epoch(key, record)

    def ended(self, key: int, now: float, *, counts: bool) -> None:
        self._now = now
        self._forecast.ended(key, "complete" if counts else "lost", "")

    def left(self, now: float) -> float | None:
        self._now = now
        return self._forecast.left()


def network(pool_size: int, *filters: int) -> HyperParameters:
    return HyperParameters(pooling="max", pool_size=pool_size, filters=filters, dropout=0.4)


def test_two_timings_give_the_line_through_them() -> None:
    small, large = network(2, 16, 16), network(2, 64, 64)
    per_flop, fixed = 2e-6, 3.0
    timings = [Timing(one, fixed + per_flop * flops_of(one)) for one in (small, large)]
    speed = Speed.fitted(timings, flops_of)
    assert speed.fixed == pytest.approx(fixed)
    assert speed.per_flop == pytest.approx(per_flop)
    between = network(2, 32, 64)
    assert speed.epoch(flops_of(between)) == pytest.approx(fixed + per_flop * 8_306_128)


def test_one_network_costs_what_it_took_on_average() -> None:
    one = network(2, 16, 16)
    # Least relative squares of 2 and 6: (1/2 + 1/6) / (1/4 + 1/36) = 2.4.
    assert Speed.fitted([Timing(one, 2), Timing(one, 6)], flops_of).epoch(flops_of(one)) == pytest.approx(2.4)


def test_a_line_never_goes_below_zero() -> None:
    small, large = network(3, 16, 16), network(2, 64, 64)
    steep = Speed.fitted([Timing(small, 0.001), Timing(large, 50)], flops_of)  # a line through both starts below zero
    assert steep.fixed == 0
    falling = Speed.fitted([Timing(small, 9), Timing(large, 3)], flops_of)
    assert falling.per_flop == 0


def test_nothing_measured_is_no_line() -> None:
    with pytest.raises(ValueError, match="no timing"):
        Speed.fitted([], flops_of)


def test_at_most_is_every_epoch_of_the_dearest_networks_there_are() -> None:
    # Two large ones of 5 x 3 + 1 s, then, for there is no third, a small one of 5 x 1 + 1 s.
    assert max_seconds(asked(3), SPEED, beside=1) == pytest.approx(16 + 16 + 6)
    assert max_seconds(asked(3, copies=None), SPEED, beside=1) == pytest.approx(3 * 16)


def test_a_space_that_is_smaller_than_the_budget_is_trained_once() -> None:
    assert max_seconds(asked(100), SPEED, beside=1) == pytest.approx(2 * 16 + 2 * 6)
    assert typical_seconds(asked(100), SPEED, beside=1) == pytest.approx(4 * 11)


def test_several_places_share_the_work_and_wait_for_the_last_trial() -> None:
    # 38 s over two places, and half of the dearest trial, which may begin last.
    assert max_seconds(asked(3, at_once=2), SPEED, beside=1) == pytest.approx(38 / 2 + 16 / 2)
    # One trial has one place, however many there are.
    assert max_seconds(asked(1, at_once=8), SPEED, beside=1) == pytest.approx(16)


def test_a_timeout_bounds_it_but_for_the_trial_that_runs() -> None:
    assert max_seconds(asked(100, copies=None, timeout=20), SPEED, beside=1) == pytest.approx(20 + 16)


def test_nothing_left_takes_no_time() -> None:
    assert max_seconds(asked(0), SPEED, beside=1) == 0
    assert typical_seconds(asked(0), SPEED, beside=1) == 0


def test_before_anything_has_ended_what_was_measured_counts() -> None:
    forecast = Told(listed(SMALL, LARGE), TIMINGS, beside=1)
    assert forecast.left(0) == pytest.approx(5 * 1 + 1 + 5 * 3 + 1)
    forecast.started(1, SMALL, now=0)
    forecast.epoch(1, 1.0, now=2)
    # Four epochs of the small one, and the large one; a second later a second less.
    assert forecast.left(2) == pytest.approx(4 + 16)
    assert forecast.left(3) == pytest.approx(3 + 16)


def test_nothing_measured_nothing_said() -> None:
    forecast = Told(listed(SMALL), (), beside=0)
    forecast.started(1, SMALL, now=0)
    assert forecast.left(1) is None


def test_what_has_ended_corrects_what_was_measured() -> None:
    forecast = Told(listed(SMALL, LARGE), TIMINGS, beside=1)
    forecast.started(1, LARGE, now=0)
    for epoch in range(5):
        forecast.epoch(1, 6.0, now=6 * epoch + 7)
    forecast.ended(1, now=32, counts=True)
    # It took 6 s an epoch, not 3, and 2 s beside. Of one network alone each epoch costs the same: 5 x 6 + 2.
    assert forecast.left(32) == pytest.approx(32)


def test_epochs_are_expected_as_they_were() -> None:
    forecast = Told(listed(SMALL, SMALL.model_copy(update={"dropout": 0.1})), TIMINGS, beside=0)
    forecast.started(1, SMALL, now=0)
    for epoch in range(3):
        forecast.epoch(1, 1.0, now=epoch + 1)
    forecast.ended(1, now=3, counts=True)
    # It stopped after 3 of 5 epochs: the next is thought to train (3 + 5) / 2.
    assert forecast.left(3) == pytest.approx(4)
    forecast.started(2, SMALL.model_copy(update={"dropout": 0.1}), now=3)
    for epoch in range(3):
        forecast.epoch(2, 1.0, now=epoch + 4)
    assert forecast.left(6) == pytest.approx(2)  # it has done more than three: nobody knows better than all 5


def test_trials_to_come_go_where_a_place_is_free_first() -> None:
    forecast = Told(listed(LARGE, SMALL, at_once=2), TIMINGS, beside=0)
    assert forecast.left(0) == pytest.approx(15)
    forecast.started(1, LARGE, now=0)
    assert forecast.left(0) == pytest.approx(15)  # the small one beside it takes 5


def test_a_trial_that_does_not_count_is_still_to_be_done() -> None:
    one = asked(1, copies=1)
    forecast = Told(one, TIMINGS, beside=0)
    before = forecast.left(0)
    forecast.started(1, SMALL, now=0)
    forecast.ended(1, now=1, counts=False)
    assert forecast.left(1) == before
    forecast.started(2, SMALL, now=1)
    forecast.epoch(2, 1.0, now=2)
    forecast.ended(2, now=2, counts=True)
    assert forecast.left(2) == 0


def test_a_study_that_goes_on_knows_what_its_trials_took() -> None:
    forecast = Told(listed(LARGE, SMALL), (), beside=0, finished=[FinishedTrial(LARGE, 5, 3.0)])
    assert forecast.left(0) == pytest.approx(15)  # the small one alone, at 3 s an epoch: nothing tells it apart yet


def test_ten_thousand_trials_to_come_take_what_those_that_ended_took() -> None:
    many = Told(
        asked(10_000, at_once=2, copies=None), TIMINGS, beside=0, finished=[FinishedTrial(SMALL, 5, 1.0)] * 5000
    )
    left = many.left(0)
    # All that ended were small, so nothing tells the large ones apart: 1 s an epoch.
    assert left == pytest.approx(10_000 * 5 / 2)
