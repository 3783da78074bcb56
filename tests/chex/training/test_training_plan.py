import numpy as np
import pytest

from chex.data.batches import epoch_batches
from chex.optimization.phases import Phase
from chex.training.training_plan import TrainingPlan


def phase(epochs: int) -> Phase:
    return Phase(epochs, "one_cycle", 0.25, lr=0.1, lr_stem=0.1, freeze=0, sample_seed=0)


@pytest.fixture
def plan() -> TrainingPlan:
    """Returns a plan of two epochs of 3 steps, then one of 2."""
    return TrainingPlan([phase(2), phase(1)], [np.arange(13), np.arange(20, 28)], batch_size=4, seed=5)


def test_phases_follow_each_other_in_steps_and_epochs(plan: TrainingPlan) -> None:
    assert [(each.first, each.end, each.first_epoch, each.epoch_steps) for each in plan.phases] == [
        (0, 6, 0, 3),
        (6, 8, 2, 2),
    ]
    assert plan.steps == 8
    assert [plan.phase_at(step).number for step in range(9)] == [0] * 6 + [1] * 3


def test_the_progress_of_a_phase_goes_from_0_to_1(plan: TrainingPlan) -> None:
    first, second = plan.phases
    assert [first.progress(step) for step in (0, 5)] == [0, 1]
    assert [second.progress(step) for step in (6, 7)] == [0, 1]
    assert [plan.phase_at(step).epoch(step) for step in (3, 6, 7)] == [1, 2, 2.5]


def test_reports_are_at_equal_distances_and_at_the_end_of_each_phase(plan: TrainingPlan) -> None:
    assert plan.report_steps(1) == {6, 8}
    assert plan.report_steps(4) == {2, 4, 6, 8}


@pytest.mark.parametrize("step", range(9))
def test_batches_from_a_step_are_those_of_the_remaining_epochs(plan: TrainingPlan, step: int) -> None:
    every = [
        *epoch_batches(np.arange(13), 4, 5, 0),
        *epoch_batches(np.arange(13), 4, 5, 1),
        *epoch_batches(np.arange(20, 28), 4, 5, 2),
    ]
    left = list(plan.batches_from(step))
    assert len(left) == 8 - step
    for batch, expected in zip(left, every[step:], strict=True):
        np.testing.assert_array_equal(batch, expected)
