import numpy as np
import pytest

from chex.batches import epoch_batches
from chex.rounds import Round
from chex.stages import Stages


def plan(epochs: int) -> Round:
    return Round(epochs, "one_cycle", 0.25, lr=0.1, lr_low=0.1, frozen=0, sample=0)


@pytest.fixture
def stages() -> Stages:
    """Two epochs of 3 steps, then one of 2."""
    return Stages([plan(2), plan(1)], [np.arange(13), np.arange(20, 28)], batch=4, seed=5)


def test_rounds_follow_each_other_in_steps_and_epochs(stages: Stages) -> None:
    assert [(each.first, each.end, each.first_epoch, each.epoch_steps) for each in stages.all] == [
        (0, 6, 0, 3),
        (6, 8, 2, 2),
    ]
    assert stages.steps == 8
    assert [stages.at(step).number for step in range(9)] == [0] * 6 + [1] * 3


def test_a_round_goes_from_nothing_done_to_all_done(stages: Stages) -> None:
    first, second = stages.all
    assert [first.done(step) for step in (0, 5)] == [0, 1]
    assert [second.done(step) for step in (6, 7)] == [0, 1]
    assert [stages.at(step).epoch(step) for step in (3, 6, 7)] == [1, 2, 2.5]


def test_reports_stand_at_equal_distances_and_at_the_end_of_each_round(stages: Stages) -> None:
    assert stages.report_steps(1) == {6, 8}
    assert stages.report_steps(4) == {2, 4, 6, 8}


@pytest.mark.parametrize("step", range(9))
def test_the_rows_to_come_are_those_of_the_epochs_that_are_left(stages: Stages, step: int) -> None:
    every = [
        *epoch_batches(np.arange(13), 4, 5, 0),
        *epoch_batches(np.arange(13), 4, 5, 1),
        *epoch_batches(np.arange(20, 28), 4, 5, 2),
    ]
    left = list(stages.rows_to_come(step))
    assert len(left) == 8 - step
    for given, expected in zip(left, every[step:], strict=True):
        np.testing.assert_array_equal(given, expected)
