import numpy as np
import pytest

from chex.optimization.lr_schedule import Shape, lr_and_momentum


def test_the_learning_rate_peaks_at_the_end_of_warmup_and_falls_to_almost_nothing() -> None:
    assert lr_and_momentum("one_cycle", 0, 0.25) == pytest.approx((1 / 25, 0.95))
    assert lr_and_momentum("one_cycle", 0.25, 0.25) == pytest.approx((1, 0.85))
    assert lr_and_momentum("one_cycle", 1, 0.25) == pytest.approx((1e-5, 0.95))


def test_the_learning_rate_rises_to_its_peak_and_then_only_falls() -> None:
    factors = np.array([lr_and_momentum("one_cycle", progress, 0.3)[0] for progress in np.linspace(0, 1, 101)])
    assert (np.diff(factors[:31]) > 0).all()
    assert (np.diff(factors[30:]) < 0).all()


def test_without_warmup_the_run_starts_at_the_peak() -> None:
    assert lr_and_momentum("one_cycle", 0, 0) == pytest.approx((1, 0.85))


@pytest.mark.parametrize("shape", ["one_cycle", "cosine", "constant"])
def test_every_shape_starts_low_and_reaches_the_peak_at_the_end_of_warmup(shape: Shape) -> None:
    assert lr_and_momentum(shape, 0, 0.2)[0] == pytest.approx(1 / 25)
    assert lr_and_momentum(shape, 0.2, 0.2)[0] == pytest.approx(1)


def test_cosine_and_constant_hold_the_momentum() -> None:
    assert lr_and_momentum("cosine", 0.6, 0.2) == pytest.approx((0.5, 0.9), abs=1e-4)
    assert lr_and_momentum("cosine", 1, 0.2) == pytest.approx((1e-5, 0.9))
    assert lr_and_momentum("constant", 0.9, 0.2) == (1, 0.9)


def test_a_set_momentum_is_the_highest_of_one_cycle_and_constant_in_the_others() -> None:
    momenta = [lr_and_momentum("one_cycle", progress, 0.25, 0.8)[1] for progress in (0, 0.25, 1)]
    assert momenta == pytest.approx([0.8, 0.7, 0.8])
    assert lr_and_momentum("one_cycle", 0.25, 0.25, 0.05) == pytest.approx((1, 0))
    assert lr_and_momentum("cosine", 0.6, 0.2, 0.8)[1] == lr_and_momentum("constant", 0.6, 0.2, 0.8)[1] == 0.8
