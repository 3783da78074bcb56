import math

import pytest
import torch

from chex.models.heads import HeadLayout
from chex.models.loss import masked_loss


def loss(raw: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return masked_loss(raw, HeadLayout(values.shape[1]), values, weights, torch.zeros_like(values))


def test_a_zero_logit_costs_the_logarithm_of_two_whatever_the_value() -> None:
    values = torch.tensor([[0.0, 0.3, 1.0]])
    assert math.isclose(loss(torch.zeros(1, 3), values, torch.ones(1, 3)).item(), math.log(2), rel_tol=1e-6)


@pytest.mark.parametrize(("value", "uncertain_class"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_three_equal_classes_cost_the_logarithm_of_three_whatever_the_target(
    value: float, uncertain_class: float
) -> None:
    cell = torch.ones(1, 1)
    told = masked_loss(torch.zeros(1, 3), HeadLayout(1, (0,)), value * cell, cell, uncertain_class * cell)
    assert math.isclose(told.item(), math.log(3), rel_tol=1e-6)


def test_the_cost_of_three_classes_is_the_logarithm_of_the_wanted_one() -> None:
    raw = torch.tensor([[1.0, 0.0, 5.0]])  # positive, negative, uncertain
    chance = torch.tensor([5.0, 0.0, 1.0]).softmax(0)
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    told = [
        masked_loss(raw, HeadLayout(1, (0,)), value, one, uncertain_class).item()
        for value, uncertain_class in ((zero, one), (zero, zero), (one, zero))
    ]
    assert told == pytest.approx((-chance.log()).tolist())


def test_the_mean_is_over_the_cells_that_have_weight() -> None:
    raw, values = torch.tensor([[0.0, 9.0]]), torch.tensor([[1.0, 0.0]])
    assert math.isclose(loss(raw, values, torch.tensor([[1.0, 0.0]])).item(), math.log(2), rel_tol=1e-6)


@pytest.mark.parametrize("outputs", [HeadLayout(2), HeadLayout(2, (1,)), HeadLayout(2, (0, 1))])
def test_a_batch_without_any_weight_costs_a_finite_zero_and_moves_nothing(outputs: HeadLayout) -> None:
    raw = torch.ones(2, outputs.count, requires_grad=True)
    zero = torch.zeros(2, 2)
    told = masked_loss(raw, outputs, zero, zero, zero)
    told.backward()
    assert told.item() == 0
    assert raw.grad is not None
    assert (raw.grad == 0).all()


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("outputs", [HeadLayout(2), HeadLayout(2, (1,)), HeadLayout(2, (0, 1))])
def test_an_ignored_cell_has_no_part_in_loss_and_gradients_whatever_is_in_it(outputs: HeadLayout, bad: float) -> None:
    weights, plain = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    ignored, uncertain_class = outputs.spread(weights == 0), torch.zeros(2, 2)

    def told(cell: float) -> tuple[float, torch.Tensor]:
        raw = torch.linspace(-1, 1, 2 * outputs.count).reshape(2, -1).masked_fill(ignored, cell).requires_grad_()
        loss = masked_loss(raw, outputs, plain.masked_fill(weights == 0, cell), weights, uncertain_class)
        loss.backward()
        assert raw.grad is not None
        return loss.item(), raw.grad

    (loss, gradients), (as_if_zero, gradients_of_zero) = told(bad), told(0.0)
    assert loss == as_if_zero
    assert torch.equal(gradients, gradients_of_zero)
    assert (gradients[ignored] == 0).all()
    assert (gradients[~ignored] != 0).all()
