import torch

from chex.models.ema import averaged_model


def test_averaged_weights_follow_the_model_slowly_and_forget_the_first_ones() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(100.0)
    average = averaged_model(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(0.0)
    kept = []
    for _ in range(100):
        average.update_parameters(model)
        kept.append(average.module.weight.item())
    assert kept[0] == 0  # the first update copies
    with torch.no_grad():
        model.weight.fill_(1.0)
    average.update_parameters(model)
    assert abs(average.module.weight.item() - 0.1) < 1e-6


def test_buffers_of_the_average_are_those_of_the_model() -> None:
    model = torch.nn.BatchNorm1d(1)
    average = averaged_model(model, 0.5)
    model.running_mean.fill_(7.0)  # type: ignore[union-attr]
    average.update_parameters(model)
    assert average.module.running_mean.item() == 7
