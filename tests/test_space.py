from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.config import RunConfig
from chex.errors import InputError
from search.space import base_point, build_space

BASE = RunConfig().model_dump(mode="json")


def test_every_kind_of_domain_becomes_its_distribution() -> None:
    raw = {
        "optimizer.lr": {"loguniform": ["1e-4", 1e-2]},
        "model.dropout": {"uniform": [0, 0.5]},
        "schedule.epochs": {"int": [1, 4]},
        "policy.default": {"choice": ["zeros", "ones"]},
        "policy.Pleural Effusion": {"choice": ["zeros", "ignore"]},
    }
    assert build_space(raw, BASE) == {
        "optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "model.dropout": FloatDistribution(0, 0.5),
        "schedule.epochs": IntDistribution(1, 4),
        "policy.default": CategoricalDistribution(["zeros", "ones"]),
        "policy.Pleural Effusion": CategoricalDistribution(["zeros", "ignore"]),
    }


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
        ("schedule.epochs", {"uniform": [1, 4]}, r"schedule.epochs: 2.1457 is refused, it should be a valid integer"),
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
        ("policy.default", {"choice": ["ones", "ones"]}, r"names a value twice; name each once"),
        (
            "data.observations",
            {"choice": ["Edema"]},
            r"cannot be searched, because every trial of a search must be scored",
        ),
        ("device.threads", {"int": [1, 2]}, r"space.device.threads: cannot be searched, because resources decide it"),
        ("reports", {"int": [1, 2]}, r"space.reports: cannot be searched, because early stopping compares trials"),
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
    space = build_space({path: spec}, BASE) if spec else {"device.threads": IntDistribution(1, 2)}
    assert base_point(space, BASE) is None
