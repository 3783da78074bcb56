from typing import Any

import numpy as np
import pytest

from chex.config import RunConfig
from chex.errors import InputError
from search.space.initial_points import check_space, random_points, read_initial_points
from search.space.space import build_space, contains, space_constraints

BASE = RunConfig().model_dump(mode="json")
SMOOTHS = {"policy.Edema": "smoothed_ones"}
RAW: dict[str, Any] = {
    "policy.Edema": {"choice": ["zeros", "ones", "smoothed_ones"]},
    "policy.Edema.low": {"uniform": [0.4, 0.7], "condition": SMOOTHS},
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    "schedule.epochs": {"int": [1, 5]},
    "model.dropout": {"fixed": 0.2},
}
SPACE = build_space(RAW, BASE)
REST = {"optimizer.lr": 2e-3, "schedule.epochs": 2, "model.dropout": 0.2}


def read(*points: dict[str, Any], constraints: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return read_initial_points(points, SPACE, BASE, space_constraints(constraints, SPACE, BASE))


def test_a_point_has_the_base_runs_value_for_what_it_leaves_out() -> None:
    assert read({"policy.Edema": "ones"}, {"optimizer.lr": 1e-3, "schedule.epochs": 4}) == [
        {"policy.Edema": "ones"} | REST,
        {"policy.Edema": "zeros"} | REST | {"optimizer.lr": 1e-3, "schedule.epochs": 4},
    ]


def test_a_point_has_the_knobs_that_exist_there() -> None:
    (point,) = read({"policy.Edema.low": 0.5, "policy.Edema": "smoothed_ones"})
    assert point == SMOOTHS | {"policy.Edema.low": 0.5} | REST


@pytest.mark.parametrize(
    ("points", "constraints", "told"),
    [
        (
            [{"optimizer.lrr": 1}],
            (),
            "initial_points: point 1: 'optimizer.lrr' is not a parameter of the space; "
            "did you mean 'optimizer.lr'? choices: pol",
        ),
        ([{"optimizer": {"lr": 1}}], (), "initial_points: point 1: 'optimizer' is not a parameter of the space; "),
        (
            [{}, {"optimizer.lr": 0.1}],
            (),
            "initial_points: point 2: optimizer.lr is 0.1, outside loguniform: [0.0001, 0.01]; change the value",
        ),
        ([{"policy.Edema": "one"}], (), "policy.Edema is one, outside choice: [zeros, ones, smoothed_ones]; change"),
        ([{"schedule.epochs": 2.5}], (), "schedule.epochs is 2.5, outside int: [1, 5]; change the value"),
        ([{"schedule.epochs": True}], (), "schedule.epochs is True, outside int: [1, 5]; change the value"),
        ([{"optimizer.lr": [1]}], (), "optimizer.lr is [1], outside loguniform"),
        ([{"model.dropout": 0.1}], (), "model.dropout is 0.1, outside fixed: 0.2; change the value"),
        (
            [{"policy.Edema.low": 0.5}],
            (),
            "policy.Edema.low exists only where policy.Edema is smoothed_ones; remove it from the point",
        ),
        (
            [SMOOTHS],
            (),
            "point 1: leaves out policy.Edema.low, which in the base run is blank, outside uniform: [0.4, 0.7]; gi",
        ),
        (
            [{"schedule.epochs": 5}],
            ("schedule.epochs < 5",),
            "initial_points: point 1 violates the constraint 'schedule.epochs < 5'; change the point",
        ),
        (
            [{"schedule.epochs": 3}, {"optimizer.lr": 2e-3, "schedule.epochs": 3}],
            (),
            "initial_points: point 2 is the same as point 1 (a parameter that a point leaves out has the base run's "
            "value); "
            "remove one",
        ),
    ],
)
def test_a_wrong_point_is_refused(points: list[dict[str, Any]], constraints: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(*points, constraints=constraints)
    assert told in str(caught.value)


def test_random_points_are_inside_the_space_fill_it_and_are_the_same_each_time() -> None:
    raw = RAW | {
        "batches.size": {"int": [16, 64], "step": 16},
        "schedule.warmup_fraction": {"uniform": [0, 0.3], "step": 0.1},
        "model.bn_recalibration_images": {"int_log": [2, 1000]},
    }
    space = build_space(raw, BASE)
    drawn = random_points(space, 600)
    assert drawn == random_points(space, 600)
    for point in drawn:
        assert set(point) == {path for path, param in space.items() if param.exists(point)}
        assert all(contains(space[path].domain, value) for path, value in point.items())
    assert {point["batches.size"] for point in drawn} == {16, 32, 48, 64}
    assert {point["schedule.epochs"] for point in drawn} == {1, 2, 3, 4, 5}
    assert len({point["schedule.warmup_fraction"] for point in drawn}) == 4
    assert np.median([point["optimizer.lr"] for point in drawn]) == pytest.approx(1e-3, rel=0.3)
    assert 15 < np.median([point["model.bn_recalibration_images"] for point in drawn]) < 70
    assert 0.25 < np.mean(["policy.Edema.low" in point for point in drawn]) < 0.42


def test_a_space_without_a_feasible_point_is_refused() -> None:
    told = (
        r"constraints: none of 1,000 random points of the space satisfies them all; loosen a constraint, or change the"
    )
    with pytest.raises(InputError, match=told):
        check_space(SPACE, BASE, space_constraints(["schedule.epochs > 9"], SPACE, BASE))


def test_a_point_inside_that_no_run_can_have_is_refused_with_its_values() -> None:
    base = RunConfig.model_validate({"optimizer": {"name": "sgd", "momentum": 0.9}}).model_dump(mode="json")
    raw = {"optimizer.momentum": {"uniform": [0.8, 0.9]}, "optimizer.name": {"choice": ["sgd", "adam"]}}
    with pytest.raises(InputError, match=r"'adam' has betas instead of a momentum"):
        build_space(raw, base)
    bounds = {
        "policy.Edema": {"choice": ["zeros", "smoothed_ones"]},
        "policy.Edema.low": {"uniform": [0.1, 0.9], "condition": SMOOTHS},
    }
    rules = space_constraints(["policy.Edema.low < .88"], build_space(bounds, BASE, ["policy.Edema.low < .6"]), BASE)
    told = (
        r"policy.Edema: low 0.8\d* is above high 0.85; .* \(at policy.Edema: smoothed_ones, policy.Edema.low: 0.8\d*\)"
    )
    with pytest.raises(InputError, match=told + "; exclude such points with a condition"):
        check_space(build_space(bounds, BASE, ["policy.Edema.low < .6"]), BASE, rules)
