import pytest
import torch

from chex.normalisation import Normalisation


def test_gray_levels_are_written_over_with_their_distance_from_the_mean_in_standard_deviations() -> None:
    gray = torch.tensor([0.0, 127.5, 255.0])
    half = Normalisation(0.5, 0.5)
    assert half.over(gray) is gray
    torch.testing.assert_close(gray, torch.tensor([-1.0, 0.0, 1.0]))
    assert half.black == -1


@pytest.mark.parametrize(("mean", "std"), [(-0.1, 0.5), (1.1, 0.5), (0.5, 0.0), (0.5, float("nan")), (float("nan"), 1)])
def test_numbers_that_cannot_normalise_a_gray_level_are_refused(mean: float, std: float) -> None:
    with pytest.raises(ValueError, match="is not from 0 to 1, or std"):
        Normalisation(mean, std)
