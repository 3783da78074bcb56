import numpy as np
import pytest

from chex.schedule import Shape, rate_and_momentum


def test_the_rate_rises_to_its_peak_at_the_end_of_warmup_and_falls_to_almost_nothing() -> None:
    assert rate_and_momentum("one_cycle", 0, 0.25) == pytest.approx((1 / 25, 0.95))
    assert rate_and_momentum("one_cycle", 0.25, 0.25) == pytest.approx((1, 0.85))
    assert rate_and_momentum("one_cycle", 1, 0.25) == pytest.approx((1e-5, 0.95))


def test_the_rate_rises_and_falls_without_a_turn() -> None:
    factors = np.array([rate_and_momentum("one_cycle", progress, 0.3)[0] for progress in np.linspace(0, 1, 101)])
    assert (np.diff(factors[:31]) > 0).all()
    assert (np.diff(factors[30:]) < 0).all()


def test_without_warmup_the_run_starts_at_the_peak() -> None:
    assert rate_and_momentum("one_cycle", 0, 0) == pytest.approx((1, 0.85))


@pytest.mark.parametrize("shape", ["one_cycle", "cosine", "constant"])
def test_every_shape_starts_low_and_reaches_the_peak_at_the_end_of_warmup(shape: Shape) -> None:
    assert rate_and_momentum(shape, 0, 0.2)[0] == pytest.approx(1 / 25)
    assert rate_and_momentum(shape, 0.2, 0.2)[0] == pytest.approx(1)


def test_cosine_falls_with_a_steady_momentum_and_constant_stays() -> None:
    assert rate_and_momentum("cosine", 0.6, 0.2) == pytest.approx((0.5, 0.9), abs=1e-4)
    assert rate_and_momentum("cosine", 1, 0.2) == pytest.approx((1e-5, 0.9))
    assert rate_and_momentum("constant", 0.9, 0.2) == (1, 0.9)


def test_a_momentum_of_its_own_is_cycled_below_it_by_one_cycle_and_kept_by_the_others() -> None:
    momenta = [rate_and_momentum("one_cycle", progress, 0.25, 0.8)[1] for progress in (0, 0.25, 1)]
    assert momenta == pytest.approx([0.8, 0.7, 0.8])
    assert rate_and_momentum("one_cycle", 0.25, 0.25, 0.05) == pytest.approx((1, 0))
    assert rate_and_momentum("cosine", 0.6, 0.2, 0.8)[1] == rate_and_momentum("constant", 0.6, 0.2, 0.8)[1] == 0.8
