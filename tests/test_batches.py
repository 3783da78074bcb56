import numpy as np
import pytest
import torch

from chex.batches import epoch_batches, in_order, light, load_batch, steps_per_epoch
from chex.seeds import stream


def test_an_epoch_takes_each_row_at_most_once_and_drops_only_the_rest() -> None:
    batches = epoch_batches(np.arange(100, 135), size=8, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [8, 8, 8, 8]
    assert len(set(np.concatenate(batches))) == 32
    assert set(np.concatenate(batches)) <= set(range(100, 135))


def test_fewer_rows_than_a_batch_make_one_batch() -> None:
    assert [len(batch) for batch in epoch_batches(np.arange(5), size=8, seed=0, epoch=0)] == [5]
    assert steps_per_epoch(5, 8) == 1


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    first, again, epoch, seed = (
        np.concatenate(epoch_batches(np.arange(64), 8, *key)) for key in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, epoch)
    assert not np.array_equal(first, seed)


def test_a_batch_holds_the_films_of_its_rows_normalised() -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.full((1, 3, 3), 85, np.uint8)
    batch = load_batch(images, np.array([3, 0]), torch.device("cpu"))
    assert batch.shape == (2, 1, 3, 3)
    assert batch[0, 0, 0, 0].item() == pytest.approx((1 - 0.449) / 0.226, rel=1e-5)
    assert batch[1, 0, 2, 2].item() == pytest.approx(-0.449 / 0.226, rel=1e-5)


def test_lighting_changes_each_film_by_its_own_line() -> None:
    films = torch.linspace(-1, 1, 9).reshape(1, 1, 3, 3).repeat(2, 1, 1, 1)
    lit = light(films.clone(), 0.2, stream(0, "lighting", 0))
    slopes = (lit[:, 0, 2, 2] - lit[:, 0, 0, 0]) / 2
    assert ((slopes > 0.8) & (slopes < 1.2)).all()
    assert slopes[0] != slopes[1]
    assert torch.equal(light(films.clone(), 0.0, stream(0, "lighting", 0)), films)


def test_in_order_covers_all_rows_with_a_smaller_end() -> None:
    assert [list(piece) for piece in in_order(5, 2)] == [[0, 1], [2, 3], [4]]
