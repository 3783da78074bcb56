import pytest
import torch

from chex.models.heads import HeadLayout


def test_a_model_of_binary_observations_has_one_output_each_which_is_its_logit() -> None:
    outputs = HeadLayout(3)
    raw = torch.randn(4, 3)
    assert outputs.count == 3
    assert torch.equal(outputs.logits(raw), raw)


def test_under_multiclass_the_probability_is_the_softmax_over_positive_and_negative_only() -> None:
    raw = torch.tensor([[1.0, 0.0, 5.0]])  # positive, negative, uncertain
    assert HeadLayout(1, (0,)).logits(raw).sigmoid().item() == pytest.approx(0.731059, abs=1e-6)
    assert HeadLayout(1, (0,)).classes(raw).softmax(-1)[0, 0, 2].item() == pytest.approx(0.017868, abs=1e-4)


def test_binary_and_multiclass_observations_share_a_model() -> None:
    outputs = HeadLayout(3, (0, 2))
    raw = torch.tensor([[10.0, 20.0, 30.0, 1.0, 2.0, 3.0, 4.0]])
    assert outputs.count == 7
    assert outputs.logits(raw).tolist() == [[10 - 1, 20, 30 - 3]]
    assert outputs.classes(raw).tolist() == [[[2, 1, 10], [4, 3, 30]]]


def test_a_value_per_observation_is_spread_over_its_outputs() -> None:
    assert HeadLayout(3, (0, 2)).spread(torch.tensor([[1, 2, 3]])).tolist() == [[1, 2, 3, 1, 1, 3, 3]]
    assert HeadLayout(2).spread(torch.tensor([[1, 2]])).tolist() == [[1, 2]]
