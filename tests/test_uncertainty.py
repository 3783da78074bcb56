from typing import Any

import numpy as np
import pytest
import torch

from chex.config import RunConfig, dump, override, validated
from chex.errors import InputError
from chex.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN, columns
from chex.loss import masked_loss
from chex.outputs import Outputs
from chex.phantom.write import PhantomConfig, phantom_tables
from chex.uncertainty import BOUNDS, POLICIES, TABLE_POLICIES, PolicyConfig, Targets, observations_under, targets, truth
from chex.yaml_text import load_yaml

EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES)
TABLE = np.random.default_rng(1).random((200, 14)).astype(np.float32)


def labels() -> np.ndarray:
    codes = np.array([POSITIVE, NEGATIVE, UNCERTAIN, BLANK], dtype=np.int8)
    return np.random.default_rng(0).choice(codes, size=(200, 14))


def policies(value: object) -> dict[str, PolicyConfig]:
    return validated(RunConfig, {"policy": value}, "x.yaml").policy


def under(
    value: object, raw: np.ndarray | None = None, observations: tuple[str, ...] = OBSERVATIONS, seed: int = 0
) -> Targets:
    cells = labels() if raw is None else raw
    table = TABLE[: len(cells), columns(observations)]
    return targets(cells, observations, policies(value), seed, dict.fromkeys(TABLE_POLICIES, table))


def same(first: Targets, second: Targets) -> bool:
    return all(np.array_equal(vars(first)[name], vars(second)[name]) for name in vars(first))


@EVERY_POLICY
def test_a_policy_gives_values_weights_and_doubt_in_their_domain(policy: str) -> None:
    given = under({"default": policy})
    for array in vars(given).values():
        assert array.dtype == np.float32
        assert array.shape == (200, 14)
        assert ((array >= 0) & (array <= 1)).all()
    assert (given.values + given.doubt <= 1).all()


@EVERY_POLICY
def test_a_policy_leaves_certain_cells_and_the_labels_alone(policy: str) -> None:
    raw = labels()
    before = raw.copy()
    given = under({"default": policy}, raw)
    certain = raw != UNCERTAIN
    np.testing.assert_array_equal(given.values[certain], (raw[certain] == POSITIVE).astype(np.float32))
    np.testing.assert_array_equal(given.weights[certain], 1)
    np.testing.assert_array_equal(given.doubt[certain], 0)
    np.testing.assert_array_equal(raw, before)


@EVERY_POLICY
def test_a_policy_gives_the_same_targets_for_the_same_seed(policy: str) -> None:
    assert same(under({"default": policy}, seed=3), under({"default": policy}, seed=3))
    drawn = not same(under({"default": policy}, seed=3), under({"default": policy}, seed=4))
    assert drawn == (policy in BOUNDS)


@EVERY_POLICY
def test_validation_is_scored_on_the_same_truth_under_every_policy(policy: str) -> None:
    raw = labels()
    before = truth(raw, FIVE)
    under({"default": policy}, raw)
    np.testing.assert_array_equal(truth(raw, FIVE), before)


@EVERY_POLICY
def test_a_cell_of_weight_zero_has_a_gradient_of_exactly_zero(policy: str) -> None:
    given = under({"default": policy})
    outputs = Outputs(14, tuple(range(14)) if policy == "multiclass" else ())
    raw = torch.randn(200, outputs.count, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cells = (torch.from_numpy(each) for each in (given.values, given.weights, given.doubt))
    masked_loss(raw, outputs, *cells).backward()
    assert raw.grad is not None
    np.testing.assert_array_equal(raw.grad.numpy()[:, :14] == 0, given.weights == 0)
    assert (given.weights == 0).any() == (policy == "ignore")


@EVERY_POLICY
def test_a_policy_of_one_observation_does_not_reach_another(policy: str) -> None:
    alone = under({"default": policy}, observations=("Edema",))
    mixed = under({"Edema": policy}, observations=("Cardiomegaly", "Edema"))
    zeros = under({}, observations=("Cardiomegaly",))
    for name in vars(alone):
        np.testing.assert_array_equal(vars(mixed)[name][:, 1], vars(alone)[name][:, 0])
        np.testing.assert_array_equal(vars(mixed)[name][:, 0], vars(zeros)[name][:, 0])


@EVERY_POLICY
def test_a_policy_survives_being_written_and_read(policy: str) -> None:
    run = validated(RunConfig, {"policy": {"Edema": policy}}, "x")
    assert validated(RunConfig, override({}, load_yaml(dump(run))), "x") == run


@pytest.mark.parametrize(
    ("policy", "value", "weight", "doubt"),
    [("zeros", 0, 1, 0), ("ones", 1, 1, 0), ("ignore", 0, 0, 0), ("multiclass", 0, 1, 1)],
)
def test_each_policy_does_to_uncertain_cells_what_its_name_says(
    policy: str, value: float, weight: float, doubt: float
) -> None:
    given = under({"default": policy}, np.full((3, 14), UNCERTAIN, dtype=np.int8), ("Edema",))
    assert (given.values == value).all()
    assert (given.weights == weight).all()
    assert (given.doubt == doubt).all()


@pytest.mark.parametrize("policy", BOUNDS)
def test_a_smoothed_policy_draws_each_cell_between_its_bounds(policy: str) -> None:
    raw = np.full((4000, 14), UNCERTAIN, dtype=np.int8)
    for bounds in (BOUNDS[policy], (0.4, 0.5)):
        given = targets(raw, ("Edema",), policies({"Edema": {"kind": policy, "low": bounds[0], "high": bounds[1]}}), 0)
        assert given.values.min() == pytest.approx(bounds[0], abs=0.01)
        assert given.values.max() == pytest.approx(bounds[1], abs=0.01)
        assert given.values.mean() == pytest.approx(sum(bounds) / 2, abs=0.01)
        assert len(np.unique(given.values)) > 3000


def test_a_smoothed_policy_has_the_bounds_of_pham_et_al_unless_told() -> None:
    given = policies({"default": "smoothed_ones", "Edema": {"kind": "smoothed_zeros", "high": 0.2}})
    assert (given["default"].low, given["default"].high) == (0.55, 0.85)
    assert (given["Edema"].low, given["Edema"].high) == (0.0, 0.2)
    assert str(given["default"]) == "smoothed_ones 0.55 to 0.85"


@pytest.mark.parametrize("policy", TABLE_POLICIES)
def test_a_policy_with_a_table_takes_each_uncertain_cell_from_it(policy: str) -> None:
    raw = labels()
    given = under({"default": policy}, raw)
    uncertain = raw == UNCERTAIN
    np.testing.assert_array_equal(given.values[uncertain], TABLE[uncertain])
    assert (given.weights == 1).all()


@pytest.fixture(scope="module")
def published() -> np.ndarray:
    """Labels (223,414, 14) with CheXpert's published counts."""
    train, _ = phantom_tables(PhantomConfig(table_only=True))
    return train[list(OBSERVATIONS)].fillna(BLANK).to_numpy(np.int8)


def test_on_the_published_counts_ones_gives_the_published_positives(published: np.ndarray) -> None:
    given = targets(published, FIVE, policies({"default": "ones"}), 0)
    assert given.values.sum(axis=0).tolist() == [67_115, 35_087, 42_525, 65_230, 97_815]


def test_on_the_published_counts_zeros_and_ignore_leave_the_certain_positives(published: np.ndarray) -> None:
    zeros, ignored = (targets(published, FIVE, policies({"default": name}), 0) for name in ("zeros", "ignore"))
    assert zeros.values.sum(axis=0).tolist() == [33_376, 27_000, 14_783, 52_246, 86_187]
    assert (ignored.values * ignored.weights).sum(axis=0).tolist() == zeros.values.sum(axis=0).tolist()


def test_on_the_published_counts_ignore_keeps_1022890_cells_of_the_five(published: np.ndarray) -> None:
    kept = targets(published, FIVE, policies({"default": "ignore"}), 0).weights
    assert kept.size == 1_117_070
    assert kept.sum(axis=0, dtype=int).tolist() == [189_675, 215_327, 195_672, 210_430, 211_786]


def test_validation_truth_knows_no_policy_and_does_not_score_uncertain_cells() -> None:
    raw = np.full((4, 14), BLANK, dtype=np.int8)
    raw[:, 5] = [POSITIVE, NEGATIVE, UNCERTAIN, BLANK]
    np.testing.assert_array_equal(truth(raw, ("Edema",))[:, 0], [1, 0, np.nan, 0])


def test_observations_are_found_by_their_policy() -> None:
    given = policies({"default": "forest", "Edema": "self_trained", "Consolidation": "zeros"})
    assert observations_under(given, FIVE, ("self_trained",)) == ("Edema",)
    assert observations_under(given, FIVE, TABLE_POLICIES) == (
        "Atelectasis",
        "Cardiomegaly",
        "Edema",
        "Pleural Effusion",
    )


WRONG: list[tuple[Any, str]] = [
    ({"default": "one"}, r"x.yaml: policy.default: 'one' is not a policy; did you mean 'ones'\? choices: zeros, ones"),
    ({"Edma": "ones"}, r"policy: 'Edma' is neither 'default' nor an observation; did you mean 'Edema'\?"),
    ("ones", r"policy: 'ones' is not a mapping; write policy: \{default: zeros, Atelectasis: ones\}"),
    (
        {"Edema": {"low": 0.5}},
        r"policy.Edema: names no kind; write for example \{kind: smoothed_ones, low: 0.55, high: 0.85\}",
    ),
    (
        {"Edema": {"kind": "smoothed_ones", "low": 0.9}},
        r"policy.Edema: low 0.9 is above high 0.85; write the smaller bound as low",
    ),
    (
        {"Edema": {"kind": "smoothed_ones", "high": 1.2}},
        r"policy.Edema.high: 1.2 is refused, it should be less than or equal to 1; change the value",
    ),
    (
        {"Edema": {"kind": "smoothed_zeros", "low": -0.1}},
        r"policy.Edema.low: -0.1 is refused, it should be greater than or equal to 0",
    ),
    (
        {"Edema": {"kind": "zeros", "low": 0.1, "high": 0.2}},
        r"policy.Edema: 'zeros' draws nothing between bounds, and has no low and high; only smoothed_zeros and smoot",
    ),
    (
        {"Edema": {"kind": "smoothed_zeros", "lo": 0.1}},
        r"policy.Edema.lo: unknown key; did you mean 'low'\? choices: kind, low, high",
    ),
]


@pytest.mark.parametrize(("policy", "told"), WRONG)
def test_a_wrong_policy_observation_or_bound_is_refused(policy: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        policies(policy)


def test_the_default_policy_is_zeros() -> None:
    assert {key: str(policy) for key, policy in policies({"Edema": "ones"}).items()} == {
        "default": "zeros",
        "Edema": "ones",
    }


@pytest.mark.parametrize("settings", [{}, {"low": None, "high": 0.85}, {"low": 0.55, "high": None}])
def test_bounds_that_are_left_out_are_the_policys_own_wherever_the_config_comes_from(settings: dict[str, Any]) -> None:
    expected = PolicyConfig(kind="smoothed_ones", low=0.55, high=0.85)
    assert PolicyConfig(kind="smoothed_ones", **settings) == expected
    assert policies({"Edema": {"kind": "smoothed_ones"} | settings})["Edema"] == expected


def test_a_policy_from_python_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"'smoothed' is not a policy; did you mean 'smoothed_ones'\?"):
        PolicyConfig(kind="smoothed")


def test_bounds_may_be_laid_over_the_name_of_a_policy() -> None:
    values = {"policy.Edema.low": 0.6, "policy.Edema": "smoothed_ones"}
    run = validated(RunConfig, override({"policy": {"Edema": "zeros"}}, values), "x")
    assert run.policy["Edema"] == PolicyConfig(kind="smoothed_ones", low=0.6, high=0.85)
