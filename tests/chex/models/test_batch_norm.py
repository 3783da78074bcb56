import torch
from torch import nn

from chex.models.batch_norm import recalibrate_batch_norm


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [3 + 2 * torch.randn(8, 1, 4, 4, generator=generator) for _ in range(5)]


def test_statistics_become_those_of_the_batches_whatever_they_were() -> None:
    layer = nn.BatchNorm2d(1, momentum=0.1)
    layer.running_mean = torch.tensor([500.0])
    recalibrate_batch_norm(layer, images())
    pixels = torch.cat(images())
    assert layer.running_mean is not None
    assert layer.running_var is not None
    torch.testing.assert_close(layer.running_mean[0], pixels.mean())
    torch.testing.assert_close(layer.running_var[0], torch.stack([each.var() for each in images()]).mean())


def test_momentum_and_weights_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=0.3))
    before = [parameter.clone() for parameter in model.parameters()]
    recalibrate_batch_norm(model, images())
    assert model[1].momentum == 0.3
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_model_without_batch_norm_is_not_run() -> None:
    def never() -> torch.Tensor:
        raise AssertionError

    recalibrate_batch_norm(nn.Linear(2, 2), (never() for _ in range(1)))
