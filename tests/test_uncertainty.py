import numpy as np
import pytest
import torch

from chex.config import RunConfig, validated
from chex.errors import InputError
from chex.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from chex.loss import masked_loss
from chex.uncertainty import POLICIES, targets, truth

EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES)


def labels() -> np.ndarray:
    codes = np.array([POSITIVE, NEGATIVE, UNCERTAIN, BLANK], dtype=np.int8)
    return np.random.default_rng(0).choice(codes, size=(200, 14))


@EVERY_POLICY
def test_a_policy_gives_values_and_weights_in_their_domain(policy: str) -> None:
    given = targets(labels(), OBSERVATIONS, {"default": policy})
    assert given.values.dtype == given.weights.dtype == np.float32
    assert given.values.shape == given.weights.shape == (200, 14)
    assert ((given.values >= 0) & (given.values <= 1)).all()
    assert (given.weights >= 0).all()


@EVERY_POLICY
def test_a_policy_leaves_certain_cells_and_the_labels_alone(policy: str) -> None:
    raw = labels()
    before = raw.copy()
    given = targets(raw, OBSERVATIONS, {"default": policy})
    certain = raw != UNCERTAIN
    np.testing.assert_array_equal(given.values[certain], (raw[certain] == POSITIVE).astype(np.float32))
    np.testing.assert_array_equal(given.weights[certain], 1)
    np.testing.assert_array_equal(raw, before)


@EVERY_POLICY
def test_a_policy_gives_the_same_targets_twice(policy: str) -> None:
    first, second = (targets(labels(), OBSERVATIONS, {"default": policy}) for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.weights, second.weights)


@EVERY_POLICY
def test_a_cell_of_weight_zero_has_a_gradient_of_exactly_zero(policy: str) -> None:
    given = targets(labels(), OBSERVATIONS, {"default": policy})
    logits = torch.randn(200, 14, generator=torch.Generator().manual_seed(0)).requires_grad_()
    masked_loss(logits, torch.from_numpy(given.values), torch.from_numpy(given.weights)).backward()
    assert logits.grad is not None
    np.testing.assert_array_equal(logits.grad.numpy() == 0, given.weights == 0)


@EVERY_POLICY
def test_a_policy_of_one_observation_does_not_reach_another(policy: str) -> None:
    raw = labels()
    alone = targets(raw, ("Edema",), {"default": policy})
    mixed = targets(raw, ("Cardiomegaly", "Edema"), {"default": "zeros", "Edema": policy})
    np.testing.assert_array_equal(mixed.values[:, 1], alone.values[:, 0])
    np.testing.assert_array_equal(mixed.weights[:, 1], alone.weights[:, 0])
    np.testing.assert_array_equal(
        mixed.values[:, 0], targets(raw, ("Cardiomegaly",), {"default": "zeros"}).values[:, 0]
    )


@pytest.mark.parametrize(("policy", "value", "weight"), [("zeros", 0, 1), ("ones", 1, 1), ("ignore", 0, 0)])
def test_each_policy_does_to_uncertain_cells_what_its_name_says(policy: str, value: float, weight: float) -> None:
    raw = np.full((3, 14), UNCERTAIN, dtype=np.int8)
    given = targets(raw, ("Edema",), {"default": policy})
    assert (given.values == value).all()
    assert (given.weights == weight).all()


def test_validation_truth_knows_no_policy_and_does_not_score_uncertain_cells() -> None:
    raw = np.full((4, 14), BLANK, dtype=np.int8)
    raw[:, 5] = [POSITIVE, NEGATIVE, UNCERTAIN, BLANK]
    np.testing.assert_array_equal(truth(raw, ("Edema",))[:, 0], [1, 0, np.nan, 0])


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (
            {"default": "one"},
            r"x.yaml: policy.default: 'one' is not a policy; did you mean 'ones'\? choices: zeros, ones",
        ),
        ({"Edma": "ones"}, r"policy: 'Edma' is neither 'default' nor an observation; did you mean 'Edema'\?"),
        ("ones", r"policy: 'ones' is not a mapping; write policy: \{default: zeros, Atelectasis: ones\}"),
    ],
)
def test_an_unknown_policy_or_observation_is_refused_with_the_choices(policy: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        validated(RunConfig, {"policy": policy}, "x.yaml")


def test_the_default_policy_is_zeros() -> None:
    assert validated(RunConfig, {"policy": {"Edema": "ones"}}, "x").policy == {"default": "zeros", "Edema": "ones"}
