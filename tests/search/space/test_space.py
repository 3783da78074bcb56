from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.config import RunConfig, apply_overrides
from chex.errors import InputError
from chex.schema.yaml_text import load_yaml
from search.space.space import Param, base_point, build_space, domain_yaml, value_count

BASE = RunConfig().model_dump(mode="json")


def test_every_kind_of_domain_becomes_its_distribution() -> None:
    raw = {
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
        "model.dropout": {"uniform": [0, 0.5]},
        "schedule.epochs": {"int": [1, 4]},
        "policy.default": {"choice": ["zeros", "ones"]},
        "policy.Pleural Effusion": {"choice": ["zeros", "ignore"]},
        "batches.size": {"int": [16, 64], "step": 16},
        "schedule.warmup_fraction": {"uniform": [0, 0.5], "step": 0.1},
        "model.bn_recalibration_images": {"int_log": [64, 4096]},
        "sampling.fraction": {"fixed": 0.5},
        "optimizer.weight_decay": {"choice": [1e-3, 0.01]},
    }
    assert build_space(raw, BASE) == {
        "optimizer.lr": Param(FloatDistribution(1e-4, 1e-2, log=True)),
        "model.dropout": Param(FloatDistribution(0, 0.5)),
        "schedule.epochs": Param(IntDistribution(1, 4)),
        "policy.default": Param(CategoricalDistribution(["zeros", "ones"])),
        "policy.Pleural Effusion": Param(CategoricalDistribution(["zeros", "ignore"])),
        "batches.size": Param(IntDistribution(16, 64, step=16)),
        "schedule.warmup_fraction": Param(FloatDistribution(0, 0.5, step=0.1)),
        "model.bn_recalibration_images": Param(IntDistribution(64, 4096, log=True)),
        "sampling.fraction": Param(CategoricalDistribution([0.5])),
        "optimizer.weight_decay": Param(CategoricalDistribution([0.001, 0.01])),
    }


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ({"loguniform": [0.0001, 0.01]}, None),
        ({"uniform": [0.0, 0.5]}, None),
        ({"uniform": [0.0, 0.5], "step": 0.1}, 6),
        ({"int": [1, 4]}, 4),
        ({"int": [16, 64], "step": 16}, 4),
        ({"int_log": [1, 1000]}, 1000),
        ({"choice": ["zeros", "ones"]}, 2),
        ({"fixed": "zeros"}, 1),
    ],
)
def test_a_domain_is_told_in_the_words_of_the_file_and_counted(spec: dict[str, Any], count: int | None) -> None:
    path = "policy.default" if "zeros" in str(spec) else "seed" if "int" in str(spec) else "optimizer.weight_decay"
    domain = build_space({path: spec}, BASE)[path].domain
    told = load_yaml(f"{{{domain_yaml(domain)}}}")
    assert build_space({path: told}, BASE)[path].domain == domain
    assert value_count(domain) == count


@pytest.mark.parametrize(
    ("path", "spec", "told"),
    [
        ("optimizer.lrr", {"uniform": [0, 1]}, r"space.optimizer.lrr: optimizer.lrr: unknown key; did you mean 'lr'\?"),
        (
            "optimizer.lr",
            {"loguniform": [1e-2, 1e-4]},
            r"loguniform: \[0.01, 0.0001\] is upside down or empty; write the",
        ),
        ("optimizer.lr", {"loguniform": [0, 1]}, r"the lower end 0 must be above 0; raise it or use uniform"),
        ("seed", {"int_log": [0, 9]}, r"space.seed.int_log: the lower end 0 must be above 0; raise it or use int"),
        (
            "seed",
            {"int_log": [1, 9], "step": 2},
            r"space.seed.step: 'int_log' has no step; remove it, or use uniform or",
        ),
        (
            "seed",
            {"int": [1, 9], "step": 3},
            r"space.seed.step: 3 does not lead from the lower end to the upper one, 8 above it, in whole numbers;",
        ),
        (
            "seed",
            {"int": [1, 9], "step": 0.5},
            r"step: 0.5 does not lead from .*, in whole numbers; change the step or",
        ),
        ("model.dropout", {"uniform": [0, 0.5], "step": "x"}, r"step: 'x' does not lead from .* one, 0.5 above it; ch"),
        ("model.dropout", {"fixed": [0.5]}, r"space.model.dropout.fixed: \[0.5\] is not a single value; list numbers"),
        ("model.dropout", {"fixed": 1.5}, r"space.model.dropout: model.dropout: 1.5 is refused, it should be less"),
        (
            "optimizer.lr",
            {"uniform": [1, 20]},
            r"space.optimizer.lr: optimizer.lr: 20.0 is refused, it should be less than",
        ),
        ("optimizer.lr", {"uniform": ["a", 1]}, r"\['a', 1\] is not two numbers; write uniform: \[low, high\]"),
        ("optimizer.lr", {"uniform": [1, 2, 3]}, r"is not two numbers"),
        ("optimizer.lr", {"uniform": 3}, r"space.optimizer.lr.uniform: 3 is not a list; write uniform: \[a, b\]"),
        ("optimizer.lr", {"logunifrom": [1, 2]}, r"'logunifrom' is not a kind of domain; did you mean 'loguniform'\?"),
        ("optimizer.lr", 0.1, r"space.optimizer.lr: 0.1 is not one domain; write for example \{loguniform"),
        ("model.dropout", {"uniform": [0, 1.5]}, r"model.dropout: 1.5 is refused, it should be less than 1"),
        ("schedule.epochs", {"uniform": [1, 4]}, r"schedule.epochs: 2.1457 is refused, it should be a whole number"),
        ("schedule.epochs", {"int": [1.5, 4]}, r"\[1.5, 4\] are not whole numbers; use uniform, or whole numbers"),
        (
            "policy.default",
            {"choice": ["zeros", "one"]},
            r"policy.default: 'one' is not a policy; did you mean 'ones'\?",
        ),
        (
            "policy.default",
            {"choice": [["zeros"]]},
            r"\['zeros'\] is not a single value; list numbers, words, true, false",
        ),
        ("policy.default", {"choice": ["ones", "ones"]}, r"has a value twice; write each value once"),
        (
            "data.observations",
            {"choice": ["Edema"]},
            r"cannot be searched, because every trial of a search must be scored",
        ),
        ("device.threads", {"int": [1, 2]}, r"space.device.threads: cannot be searched, because resources decide it"),
        ("reports", {"int": [1, 2]}, r"space.reports: cannot be searched, because pruning compares trials"),
    ],
)
def test_a_wrong_domain_is_refused_before_anything_starts(path: str, spec: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_space({path: spec}, BASE)


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(InputError, match=r"space: empty; name at least one dotted path"):
        build_space({}, BASE)


def test_the_base_run_is_a_point_of_a_space_that_holds_it() -> None:
    raw = {
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
        "policy.Edema": {"choice": ["ones", "zeros"]},
        "seed": {"int": [0, 3]},
    }
    assert base_point(build_space(raw, BASE), BASE) == {"optimizer.lr": 2e-3, "policy.Edema": "zeros", "seed": 0}


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        ("optimizer.lr", {"uniform": [0.1, 0.2]}),
        ("policy.default", {"choice": ["ones", "ignore"]}),
        ("device.threads", None),
    ],
)
def test_a_base_run_outside_the_space_is_no_point_of_it(path: str, spec: Any) -> None:
    space = build_space({path: spec}, BASE) if spec else {"device.threads": Param(IntDistribution(1, 2))}
    assert base_point(space, BASE) is None


WHEN = {"policy.default": "smoothed_ones"}
CHOICE = {"choice": ["zeros", "smoothed_ones", "smoothed_zeros"]}


def test_a_bound_may_be_searched_under_the_policies_that_have_it() -> None:
    space = build_space(
        {"policy.default": CHOICE, "policy.default.low": {"uniform": [0.5, 0.7], "condition": WHEN}}, BASE
    )
    param = space["policy.default.low"]
    assert param == Param(FloatDistribution(0.5, 0.7), {"policy.default": ("smoothed_ones",)})
    assert param.exists({"policy.default": "smoothed_ones"})
    assert not param.exists({"policy.default": "zeros"})
    assert not param.exists({})


def test_a_bound_may_be_searched_where_the_base_run_smooths() -> None:
    base = apply_overrides(BASE, {"policy.Edema": "smoothed_ones"})
    space = build_space({"policy.Edema.low": {"uniform": [0.4, 0.8]}}, base)
    assert base_point(space, RunConfig.model_validate(base).model_dump(mode="json")) == {"policy.Edema.low": 0.55}


def test_the_base_point_has_the_knobs_that_exist_there() -> None:
    raw = {"policy.default": CHOICE, "policy.default.low": {"uniform": [0.5, 0.7], "condition": WHEN}}
    assert base_point(build_space(raw, BASE), BASE) == {"policy.default": "zeros"}
    smooth = RunConfig.model_validate({"policy": {"default": "smoothed_ones"}}).model_dump(mode="json")
    assert base_point(build_space(raw, smooth), smooth) == {
        "policy.default": "smoothed_ones",
        "policy.default.low": 0.55,
    }


def test_both_bounds_may_be_searched_where_they_never_cross() -> None:
    bounds = {"low": {"uniform": [0.5, 0.9], "condition": WHEN}, "high": {"uniform": [0.9, 1], "condition": WHEN}}
    raw = {"policy.default": CHOICE} | {f"policy.default.{name}": spec for name, spec in bounds.items()}
    assert list(build_space(raw, BASE)) == list(raw)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (
            {"policy.default": CHOICE, "policy.default.low": {"uniform": [0.5, 0.7]}},
            r"space.policy.default.low: policy.default is searched too, and not all of its values have this setting; "
            r"add condition: \{policy.default: VALUE\}",
        ),
        (
            {
                "policy.default": CHOICE,
                "policy.default.low": {"uniform": [0, 1], "condition": {"policy.default": "zeros"}},
            },
            r"policy.default: 'zeros' has no bounds; leave low and high out",
        ),
        (
            {"policy.default": CHOICE, "policy.default.low": {"uniform": [0.5, 0.9], "condition": WHEN}},
            r"space.policy.default.low: policy.default: low 0.9 is above high 0.85; write the smaller bound as low",
        ),
        (
            {
                "policy.default": CHOICE,
                "policy.default.low": {"uniform": [0.5, 0.7], "condition": WHEN},
                "policy.default.high": {"uniform": [0.6, 0.9], "condition": WHEN},
            },
            r"space.policy.default.low: policy.default: low 0.7 is above high 0.6; write the smaller bound as low",
        ),
        (
            {"policy.default.low": {"uniform": [0.5, 0.7], "condition": WHEN}, "policy.default": CHOICE},
            r"space.policy.default.low.condition: 'policy.default' is not a parameter above policy.default.low in "
            "the space",
        ),
        (
            {
                "policy.default": CHOICE,
                "policy.default.low": {"uniform": [0, 0.1], "condition": {"policy.default": "ones"}},
            },
            r"space.policy.default.low.condition.policy.default: 'ones' is none of its values; use one of them",
        ),
        (
            {"policy.default": CHOICE, "policy.default.low": {"uniform": [0, 0.1], "condition": "smoothed_ones"}},
            r"space.policy.default.low.condition: 'smoothed_ones' is not a mapping; write condition: "
            r"\{policy.default: smoothed_",
        ),
        (
            {"relabel.forest": {"choice": ["a", "b"]}},
            r"space.relabel.forest: cannot be searched, because the search ma",
        ),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(raw: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_space(raw, BASE)


BOUNDS = {
    "policy.default": CHOICE,
    "policy.default.low": {"uniform": [0.5, 0.8], "condition": WHEN},
    "policy.default.high": {"uniform": [0.6, 0.9], "condition": WHEN},
}


def test_bounds_that_might_cross_may_be_searched_under_a_constraint() -> None:
    with pytest.raises(InputError, match=r"low 0.8 is above high 0.6"):
        build_space(BOUNDS, BASE)
    assert list(build_space(BOUNDS, BASE, ["policy.default.low < policy.default.high"])) == list(BOUNDS)


def test_a_constraint_excludes_nothing_that_it_does_not_speak_of() -> None:
    with pytest.raises(InputError, match=r"low 0.8 is above high 0.6"):
        build_space(BOUNDS, BASE, ["policy.default.low < 0.81"])


def test_momentum_is_searched_only_where_the_optimizer_has_one() -> None:
    momentum = {"uniform": [0.8, 0.95]}
    names = {"optimizer.name": {"choice": ["adamw", "sgd"]}}
    told = r"space.optimizer.momentum: optimizer: momentum is 0.8, but 'adamw' has betas instead of a momentum"
    with pytest.raises(InputError, match=told):
        build_space(names | {"optimizer.momentum": momentum}, BASE)
    with pytest.raises(InputError, match=told):
        build_space(names | {"optimizer.momentum": momentum | {"condition": {"optimizer.name": "adamw"}}}, BASE)
    space = build_space(names | {"optimizer.momentum": momentum | {"condition": {"optimizer.name": "sgd"}}}, BASE)
    assert space["optimizer.momentum"].exists({"optimizer.name": "sgd"})
    assert not space["optimizer.momentum"].exists({"optimizer.name": "adamw"})
