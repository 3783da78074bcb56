import numpy as np
import pytest
import torch

from chex.data.augment import apply_affine, draw_affine
from chex.data.batches import (
    augment,
    epoch_batches,
    jitter_intensity,
    load_batch,
    random_batches,
    sequential_batches,
    split_micro_batches,
    steps_per_epoch,
)
from chex.data.data_config import AffineConfig, BatchesConfig
from chex.data.normalization import Normalization
from chex.runtime.rng import rng_for

CPU = torch.device("cpu")
GRAY = Normalization(0.449, 0.226)
BLACK = GRAY.black


def test_an_epoch_has_each_row_at_most_once_and_drops_only_the_last_rows() -> None:
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


def test_a_batch_has_the_normalized_images_of_its_rows() -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.full((1, 3, 3), 85, np.uint8)
    batch = load_batch(images, np.array([3, 0]), GRAY, CPU)
    assert batch.shape == (2, 1, 3, 3)
    assert batch[0, 0, 0, 0].item() == pytest.approx((1 - 0.449) / 0.226, rel=1e-5)
    assert batch[1, 0, 2, 2].item() == pytest.approx(-0.449 / 0.226, rel=1e-5)


def test_intensity_jitter_changes_each_image_by_a_linear_map() -> None:
    images = torch.linspace(-1, 1, 9).reshape(1, 1, 3, 3).repeat(2, 1, 1, 1)
    jittered = jitter_intensity(images.clone(), 0.2, rng_for(0, "lighting", 0))
    slopes = (jittered[:, 0, 2, 2] - jittered[:, 0, 0, 0]) / 2
    assert ((slopes > 0.8) & (slopes < 1.2)).all()
    assert slopes[0] != slopes[1]
    assert torch.equal(jitter_intensity(images.clone(), 0.0, rng_for(0, "lighting", 0)), images)


def test_sequential_batches_cover_all_rows_with_a_smaller_last_one() -> None:
    assert [list(piece) for piece in sequential_batches(5, 2)] == [[0, 1], [2, 3], [4]]


def test_no_micro_batch_has_a_single_image_or_exceeds_its_size_except_for_an_odd_batch_in_twos() -> None:
    for most in range(2, 40):
        for count in range(2, 140):
            pieces = split_micro_batches(count, most)
            sizes = [piece.stop - piece.start for piece in pieces]
            assert np.concatenate([np.arange(count)[piece] for piece in pieces]).tolist() == list(range(count))
            assert min(sizes) >= 2
            assert max(sizes) <= most + (most == 2 and count % 2)
            assert max(sizes) - min(sizes) <= 1


def test_random_batches_have_each_position_at_most_once() -> None:
    rows = np.repeat(np.arange(50), 2)
    some, every = (random_batches(rows, count, 8, rng_for(0, "rows")) for count in (30, 1000))
    assert [len(batch) for batch in some] == [7, 8, 7, 8]
    assert np.bincount(np.concatenate(some)).max() <= 2
    assert sorted(np.concatenate(every)) == rows.tolist()


def test_random_batches_are_a_fair_sample_of_sorted_rows() -> None:
    positive = np.repeat([0, 1], 400)
    shares = [
        positive[np.concatenate(random_batches(np.arange(800), 256, 32, rng_for(seed, "rows")))] for seed in range(50)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    assert all(
        0.3 < positive[batch].mean() < 0.7 for batch in random_batches(np.arange(800), 256, 128, rng_for(0, "rows"))
    )


def test_augmentation_depends_on_the_step_alone() -> None:
    images = load_batch(np.random.default_rng(0).integers(0, 256, (4, 16, 16), np.uint8), np.arange(4), GRAY, CPU)
    config = BatchesConfig(affine=AffineConfig(degrees=10, translate=0.1, scale=0.1))
    first, again, other = (augment(images.clone(), BLACK, config, 3, step) for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_affine_augmentation_does_not_change_the_draws_of_intensity_jitter() -> None:
    images = load_batch(np.full((4, 16, 16), 200, np.uint8), np.arange(4), GRAY, CPU)
    jittered = jitter_intensity(images.clone(), 0.2, rng_for(3, "lighting", 5))
    assert torch.equal(augment(images.clone(), BLACK, BatchesConfig(), 3, 5), jittered)
    moved = augment(images.clone(), BLACK, BatchesConfig(affine=AffineConfig(degrees=10)), 3, 5)
    torch.testing.assert_close(moved[:, :, 8, 8], jittered[:, :, 8, 8])


def test_affine_and_intensity_draws_come_from_different_streams() -> None:
    images = load_batch(np.random.default_rng(0).integers(0, 256, (4, 16, 16), np.uint8), np.arange(4), GRAY, CPU)
    config = BatchesConfig(affine=AffineConfig(degrees=10, translate=0.1, scale=0.1), intensity_jitter=0.3)
    sources = draw_affine(config.affine, 4, rng_for(3, "affine", 5))
    assert sources is not None
    expected = jitter_intensity(apply_affine(images.clone(), sources, BLACK), 0.3, rng_for(3, "lighting", 5))
    assert torch.equal(augment(images, BLACK, config, 3, 5), expected)


def test_pixels_from_outside_an_image_are_jittered_like_its_black() -> None:
    images = load_batch(np.zeros((3, 16, 16), np.uint8), np.arange(3), GRAY, CPU)
    moved = augment(images.clone(), BLACK, BatchesConfig(affine=AffineConfig(translate=0.4)), 0, 0)
    torch.testing.assert_close(moved, jitter_intensity(images, 0.2, rng_for(0, "lighting", 0)))


def test_affine_draws_stay_within_their_limits_and_differ_between_images() -> None:
    sources = draw_affine(AffineConfig(translate=0.1), 500, np.random.default_rng(0))
    assert sources is not None
    assert sources.dtype == np.float32
    np.testing.assert_allclose(sources[:, :, :2], np.broadcast_to(np.eye(2), (500, 2, 2)))
    assert 0.19 < abs(sources[:, :, 2]).max() <= 0.2
    zoomed = draw_affine(AffineConfig(scale=0.2), 500, np.random.default_rng(0))
    assert zoomed is not None
    assert 1 / 1.2 <= zoomed[:, 0, 0].min() < 0.85
    assert 1.2 < zoomed[:, 0, 0].max() <= 1 / 0.8
    turned = draw_affine(AffineConfig(degrees=10), 500, np.random.default_rng(0))
    assert turned is not None
    assert np.rad2deg(np.arcsin(turned[:, 0, 1])).max() == pytest.approx(10, abs=0.1)
    assert draw_affine(AffineConfig(), 4, np.random.default_rng(0)) is None


def test_a_known_translation_moves_the_image_and_adds_black() -> None:
    images = load_batch(np.random.default_rng(0).integers(0, 256, (1, 20, 20), np.uint8), np.arange(1), GRAY, CPU)
    two_right_one_down = np.array([[[1, 0, -2 * 2 / 20], [0, 1, -2 * 1 / 20]]], dtype=np.float32)
    moved = apply_affine(images.clone(), two_right_one_down, BLACK)
    torch.testing.assert_close(moved[:, :, 1:, 2:], images[:, :, :-1, :-2], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[:, :, :1], torch.full((1, 1, 1, 20), BLACK))
    torch.testing.assert_close(moved[:, :, :, :2], torch.full((1, 1, 20, 2), BLACK))


def test_a_quarter_turn_moves_the_right_side_to_the_bottom() -> None:
    images = torch.zeros(1, 1, 8, 8)
    images[..., 7] = 1
    moved = apply_affine(images, np.array([[[0, 1, 0], [-1, 0, 0]]], dtype=np.float32), 0.0)
    torch.testing.assert_close(moved[0, 0, 7], torch.ones(8))
    assert moved[0, 0, :7].abs().max() < 1e-5
