import math

import torch

from chex.loss import masked_loss


def test_a_zero_logit_costs_the_logarithm_of_two_whatever_the_value() -> None:
    values = torch.tensor([[0.0, 0.3, 1.0]])
    assert math.isclose(masked_loss(torch.zeros(1, 3), values, torch.ones(1, 3)).item(), math.log(2), rel_tol=1e-6)


def test_the_mean_is_over_the_cells_that_have_weight() -> None:
    logits, values = torch.tensor([[0.0, 9.0]]), torch.tensor([[1.0, 0.0]])
    assert math.isclose(masked_loss(logits, values, torch.tensor([[1.0, 0.0]])).item(), math.log(2), rel_tol=1e-6)


def test_a_batch_without_any_weight_costs_a_finite_zero_and_moves_nothing() -> None:
    logits = torch.ones(2, 2, requires_grad=True)
    loss = masked_loss(logits, torch.zeros(2, 2), torch.zeros(2, 2))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()
