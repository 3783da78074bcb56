import numpy as np
import pytest

from chex.schedule import one_cycle


def test_the_rate_rises_to_its_peak_at_the_end_of_warmup_and_falls_to_almost_nothing() -> None:
    assert one_cycle(0, 0.25) == pytest.approx((1 / 25, 0.95))
    assert one_cycle(0.25, 0.25) == pytest.approx((1, 0.85))
    assert one_cycle(1, 0.25) == pytest.approx((1e-5, 0.95))


def test_the_rate_rises_and_falls_without_a_turn() -> None:
    factors = np.array([one_cycle(progress, 0.3)[0] for progress in np.linspace(0, 1, 101)])
    assert (np.diff(factors[:31]) > 0).all()
    assert (np.diff(factors[30:]) < 0).all()


def test_without_warmup_the_run_starts_at_the_peak() -> None:
    assert one_cycle(0, 0) == pytest.approx((1, 0.85))
