from typing import Any

import numpy as np
import pytest
import torch

from chex.config import RunConfig, apply_overrides, to_yaml, validate
from chex.errors import InputError
from chex.models.heads import HeadLayout
from chex.models.loss import masked_loss
from chex.phantom.write import PhantomConfig, phantom_tables
from chex.schema.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN, label_columns
from chex.schema.yaml_text import load_yaml
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES, UncertainCells
from chex.uncertainty.policy_config import PolicyConfig, RelabelConfig, observations_under
from chex.uncertainty.targets import Targets, targets, truth

DRAWING = tuple(policy.name for policy in POLICIES.values() if policy.bounds)
EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES)
TABLE = np.random.default_rng(1).random((200, 14)).astype(np.float32)


def labels() -> np.ndarray:
    codes = np.array([POSITIVE, NEGATIVE, UNCERTAIN, BLANK], dtype=np.int8)
    return np.random.default_rng(0).choice(codes, size=(200, 14))


def policies(value: object) -> dict[str, PolicyConfig]:
    return validate(RunConfig, {"policy": value}, "x.yaml").policy


def under(
    value: object, raw: np.ndarray | None = None, observations: tuple[str, ...] = OBSERVATIONS, seed: int = 0
) -> Targets:
    cells = labels() if raw is None else raw
    table = TABLE[: len(cells), label_columns(observations)]
    return targets(cells, observations, policies(value), seed, dict.fromkeys(TABLE_POLICIES, table))


def same(first: Targets, second: Targets) -> bool:
    return all(np.array_equal(vars(first)[name], vars(second)[name]) for name in vars(first))


@EVERY_POLICY
def test_a_policy_gives_values_weights_and_a_third_class_in_their_domain(policy: str) -> None:
    got = under({"default": policy})
    for array in vars(got).values():
        assert array.dtype == np.float32
        assert array.shape == (200, 14)
        assert ((array >= 0) & (array <= 1)).all()
    assert (got.values + got.uncertain_class <= 1).all()


@EVERY_POLICY
def test_a_policy_leaves_certain_cells_and_the_labels_alone(policy: str) -> None:
    raw = labels()
    before = raw.copy()
    got = under({"default": policy}, raw)
    certain = raw != UNCERTAIN
    np.testing.assert_array_equal(got.values[certain], (raw[certain] == POSITIVE).astype(np.float32))
    np.testing.assert_array_equal(got.weights[certain], 1)
    np.testing.assert_array_equal(got.uncertain_class[certain], 0)
    np.testing.assert_array_equal(raw, before)


@EVERY_POLICY
def test_a_policy_gives_the_same_targets_for_the_same_seed(policy: str) -> None:
    assert same(under({"default": policy}, seed=3), under({"default": policy}, seed=3))
    drawn = not same(under({"default": policy}, seed=3), under({"default": policy}, seed=4))
    assert drawn == (policy in DRAWING)


@EVERY_POLICY
def test_validation_is_scored_on_the_same_truth_under_every_policy(policy: str) -> None:
    raw = labels()
    before = truth(raw, FIVE)
    under({"default": policy}, raw)
    np.testing.assert_array_equal(truth(raw, FIVE), before)


@EVERY_POLICY
def test_a_cell_of_weight_zero_has_a_gradient_of_exactly_zero(policy: str) -> None:
    got = under({"default": policy})
    outputs = HeadLayout(14, tuple(range(14)) if policy == "multiclass" else ())
    raw = torch.randn(200, outputs.count, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cells = (torch.from_numpy(each) for each in (got.values, got.weights, got.uncertain_class))
    masked_loss(raw, outputs, *cells).backward()
    assert raw.grad is not None
    np.testing.assert_array_equal(raw.grad.numpy()[:, :14] == 0, got.weights == 0)
    assert (got.weights == 0).any() == (policy == "ignore")


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
    run = validate(RunConfig, {"policy": {"Edema": policy}}, "x")
    assert validate(RunConfig, apply_overrides({}, load_yaml(to_yaml(run))), "x") == run


@pytest.mark.parametrize(
    ("policy", "value", "weight", "uncertain_class"),
    [("zeros", 0, 1, 0), ("ones", 1, 1, 0), ("ignore", 0, 0, 0), ("multiclass", 0, 1, 1)],
)
def test_each_policy_does_to_uncertain_cells_what_its_name_says(
    policy: str, value: float, weight: float, uncertain_class: float
) -> None:
    got = under({"default": policy}, np.full((3, 14), UNCERTAIN, dtype=np.int8), ("Edema",))
    assert (got.values == value).all()
    assert (got.weights == weight).all()
    assert (got.uncertain_class == uncertain_class).all()


@pytest.mark.parametrize("policy", DRAWING)
def test_a_smoothed_policy_draws_each_cell_between_its_bounds(policy: str) -> None:
    raw = np.full((4000, 14), UNCERTAIN, dtype=np.int8)
    for bounds in (POLICIES[policy].bounds, (0.4, 0.5)):
        assert bounds
        got = targets(raw, ("Edema",), policies({"Edema": {"kind": policy, "low": bounds[0], "high": bounds[1]}}), 0)
        assert got.values.min() == pytest.approx(bounds[0], abs=0.01)
        assert got.values.max() == pytest.approx(bounds[1], abs=0.01)
        assert got.values.mean() == pytest.approx(sum(bounds) / 2, abs=0.01)
        assert len(np.unique(got.values)) > 3000


def test_a_smoothed_policy_has_the_bounds_of_pham_et_al_by_default() -> None:
    got = policies({"default": "smoothed_ones", "Edema": {"kind": "smoothed_zeros", "high": 0.2}})
    assert (got["default"].low, got["default"].high) == (0.55, 0.85)
    assert (got["Edema"].low, got["Edema"].high) == (0.0, 0.2)
    assert str(got["default"]) == "smoothed_ones 0.55 to 0.85"


@pytest.mark.parametrize("policy", TABLE_POLICIES)
def test_a_policy_with_a_table_takes_each_uncertain_cell_from_it(policy: str) -> None:
    raw = labels()
    got = under({"default": policy}, raw)
    uncertain = raw == UNCERTAIN
    np.testing.assert_array_equal(got.values[uncertain], TABLE[uncertain])
    assert (got.weights == 1).all()


@pytest.fixture(scope="module")
def published() -> np.ndarray:
    """Labels (223,414, 14) with CheXpert's published counts."""
    train, _ = phantom_tables(PhantomConfig(table_only=True))
    return train[list(OBSERVATIONS)].fillna(BLANK).to_numpy(np.int8)


def test_on_the_published_counts_ones_gives_the_published_positives(published: np.ndarray) -> None:
    got = targets(published, FIVE, policies({"default": "ones"}), 0)
    assert got.values.sum(axis=0).tolist() == [67_115, 35_087, 42_525, 65_230, 97_815]


def test_on_the_published_counts_zeros_and_ignore_leave_the_certain_positives(published: np.ndarray) -> None:
    zeros, ignored = (targets(published, FIVE, policies({"default": name}), 0) for name in ("zeros", "ignore"))
    assert zeros.values.sum(axis=0).tolist() == [33_376, 27_000, 14_783, 52_246, 86_187]
    assert (ignored.values * ignored.weights).sum(axis=0).tolist() == zeros.values.sum(axis=0).tolist()


def test_on_the_published_counts_ignore_keeps_1022890_cells_of_the_five(published: np.ndarray) -> None:
    kept = targets(published, FIVE, policies({"default": "ignore"}), 0).weights
    assert kept.size == 1_117_070
    assert kept.sum(axis=0, dtype=int).tolist() == [189_675, 215_327, 195_672, 210_430, 211_786]


def test_validation_truth_does_not_score_uncertain_cells() -> None:
    raw = np.full((4, 14), BLANK, dtype=np.int8)
    raw[:, 5] = [POSITIVE, NEGATIVE, UNCERTAIN, BLANK]
    np.testing.assert_array_equal(truth(raw, ("Edema",))[:, 0], [1, 0, np.nan, 0])


def test_observations_are_selected_by_their_policy() -> None:
    got = policies({"default": "forest", "Edema": "self_trained", "Consolidation": "zeros"})
    assert observations_under(got, FIVE, ("self_trained",)) == ("Edema",)
    assert observations_under(got, FIVE, TABLE_POLICIES) == (
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
        r"policy.Edema: has no kind; write for example \{kind: smoothed_ones, low: 0.55, high: 0.85\}",
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
        r"policy.Edema: 'zeros' has no bounds; leave low and high out, which only smoothed_zeros and smoothed_ones ha",
    ),
    (
        {"Edema": {"kind": "smoothed_zeros", "lo": 0.1}},
        r"policy.Edema.lo: unknown key; did you mean 'low'\? choices: kind, low, high",
    ),
]


@pytest.mark.parametrize(("policy", "message"), WRONG)
def test_a_wrong_policy_observation_or_bound_is_refused(policy: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        policies(policy)


@EVERY_POLICY
def test_a_record_says_what_its_function_does(policy: str) -> None:
    record = POLICIES[policy]
    target = record.target(UncertainCells(3, np.random.default_rng(0), 0.2, 0.4, np.array([0.6, 0.7, 0.8])))
    assert record.third_class == (target.uncertain_class != 0)
    assert record.drops_cells == (target.weight == 0)
    assert bool(record.table_maker) == np.array_equal(target.value, [0.6, 0.7, 0.8])
    assert bool(record.bounds) == (np.size(target.value) == 3 and not record.table_maker)
    assert record.description
    assert record.source


def test_each_policy_that_reads_a_table_has_a_setting_for_its_file() -> None:
    assert tuple(RelabelConfig.model_fields) == TABLE_POLICIES


def test_the_default_policy_is_zeros() -> None:
    assert {key: str(policy) for key, policy in policies({"Edema": "ones"}).items()} == {
        "default": "zeros",
        "Edema": "ones",
    }


@pytest.mark.parametrize("settings", [{}, {"low": None, "high": 0.85}, {"low": 0.55, "high": None}])
def test_bounds_left_out_are_the_policys_defaults_in_python_and_in_yaml(settings: dict[str, Any]) -> None:
    expected = PolicyConfig(kind="smoothed_ones", low=0.55, high=0.85)
    assert PolicyConfig(kind="smoothed_ones", **settings) == expected
    assert policies({"Edema": {"kind": "smoothed_ones"} | settings})["Edema"] == expected


def test_a_policy_from_python_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"'smoothed' is not a policy; did you mean 'smoothed_ones'\?"):
        PolicyConfig(kind="smoothed")


def test_bounds_may_override_a_policy_written_as_its_name() -> None:
    values = {"policy.Edema.low": 0.6, "policy.Edema": "smoothed_ones"}
    run = validate(RunConfig, apply_overrides({"policy": {"Edema": "zeros"}}, values), "x")
    assert run.policy["Edema"] == PolicyConfig(kind="smoothed_ones", low=0.6, high=0.85)
