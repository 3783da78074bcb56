import pytest
import torch

from chex.optimizer import OptimizerConfig, build_optimizer, set_rate


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_optimizer_takes_a_rate_and_a_momentum_and_steps(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer([weight], OptimizerConfig.model_validate({"name": name, "lr": 0.1}))
    set_rate(optimizer, 0.05, 0.9)
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.05
    assert (group["betas"][0] if "betas" in group else group["momentum"]) == 0.9
    weight.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert (weight < 1).all()
