import pytest
import torch

from chex.data.normalization import Normalization


def test_gray_levels_are_normalized_in_place() -> None:
    gray = torch.tensor([0.0, 127.5, 255.0])
    half = Normalization(0.5, 0.5)
    assert half.normalize_(gray) is gray
    torch.testing.assert_close(gray, torch.tensor([-1.0, 0.0, 1.0]))
    assert half.black == -1


@pytest.mark.parametrize(("mean", "std"), [(-0.1, 0.5), (1.1, 0.5), (0.5, 0.0), (0.5, float("nan")), (float("nan"), 1)])
def test_a_mean_or_std_out_of_range_is_refused(mean: float, std: float) -> None:
    with pytest.raises(ValueError, match="is not from 0 to 1, or std"):
        Normalization(mean, std)
