import pytest
import torch

from chex.config import validate
from chex.errors import InputError
from chex.optimization.optimizer import build_optimizer, layer_lrs, set_lr
from chex.optimization.optimizer_config import OptimizerConfig


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_optimizer_takes_learning_rates_and_a_momentum_and_steps_only_unfrozen_weights(name: str) -> None:
    stem, body, head = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    stem.requires_grad_(False)
    config = OptimizerConfig.model_validate({"name": name})
    optimizer = build_optimizer([[stem], [body], [head]], [0.001, 0.01, 0.1], config)
    set_lr(optimizer, 0.5, 0.9)
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.05]
    for group in optimizer.param_groups:
        assert (group["betas"][0] if "betas" in group else group["momentum"]) == 0.9
    (body.sum() + head.sum()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert (stem == 1).all()
    assert (body < 1).all()
    assert (head < body).all()


def test_learning_rates_of_layer_groups_are_at_equal_ratios() -> None:
    assert layer_lrs(1e-4, 1e-2, 3) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert layer_lrs(1e-4, 1e-2, 1) == [1e-2]
    assert layer_lrs(1e-2, 1e-2, 4) == pytest.approx([1e-2] * 4)


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_only_sgd_has_a_momentum(name: str) -> None:
    assert validate(OptimizerConfig, {"name": "sgd", "momentum": 0.8}, "run").momentum == 0.8
    message = rf"momentum is 0.8, but '{name}' has betas instead of a momentum; use name: sgd, or leave momentum blank"
    with pytest.raises(InputError, match=message):
        validate(OptimizerConfig, {"name": name, "momentum": 0.8}, "run")


def test_sgd_without_momentum_steps_by_its_learning_rate() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = build_optimizer([[weight]], [0.1], OptimizerConfig(name="sgd", weight_decay=0, momentum=0))
    set_lr(optimizer, 1, 0)
    for _ in range(2):
        optimizer.zero_grad()
        weight.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert weight.item() == pytest.approx(0.8)
