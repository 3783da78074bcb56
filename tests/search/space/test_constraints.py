import pickle
from typing import Any

import pytest

from chex.config import RunConfig, apply_overrides, validate
from chex.errors import InputError
from search.space.constraints import Constraints, read_constraints

PARAMS: dict[str, list[Any]] = {
    "optimizer.lr": [1e-4, 1e-2],
    "optimizer.lr_stem": [1e-6, 1e-3],
    "optimizer.name": ["adamw", "sgd"],
    "model.backbone": ["resnet50", "resnet50.a1_in1k", "hf-hub:timm/vit-b.x"],
    "schedule.epochs": [1, 8],
    "sampling.fraction": [0.1, 1.0],
    "model.pretrained": [True, False],
    "policy.default": ["zeros", "ones", "smoothed_ones"],
    "policy.Pleural Effusion": ["zeros", "smoothed_ones"],
    "policy.Pleural Effusion.low": [0.4, 0.7],
    "batches.size": ["auto", 16],
}
VALUES: dict[str, Any] = {
    "optimizer.lr": 1e-3,
    "optimizer.lr_stem": 1e-5,
    "optimizer.name": "sgd",
    "model.backbone": "resnet50.a1_in1k",
    "schedule.epochs": 4,
    "sampling.fraction": 0.5,
    "model.pretrained": False,
    "policy.default": "ones",
    "policy.Pleural Effusion": "smoothed_ones",
    "policy.Pleural Effusion.low": 0.5,
    "batches.size": "auto",
}


def read(*texts: str, base: dict[str, Any] | None = None) -> Constraints:
    run = validate(RunConfig, apply_overrides({}, base or {}), "test").model_dump(mode="json")
    return read_constraints(texts, PARAMS, run)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("optimizer.lr_stem < optimizer.lr", True),
        ("optimizer.lr_stem >= optimizer.lr", False),
        ("schedule.epochs * sampling.fraction <= 2", True),
        ("schedule.epochs * sampling.fraction < 2", False),
        ("schedule.epochs - 1 == 3 and -schedule.epochs + 2 != 0", True),
        ("1 < schedule.epochs < 4", False),
        ("1 < schedule.epochs <= 4", True),
        ("optimizer.lr/optimizer.lr_stem > 99", True),
        ("(schedule.epochs + 2) * 2 == 12", True),
        ("schedule.epochs + 2 * 2 == 12", False),
        ("not schedule.epochs > 4 and (optimizer.lr > 1 or sampling.fraction == .5)", True),
        ("optimizer.name == sgd", True),
        ("sgd != optimizer.name", False),
        ("optimizer.name == 'adamw' or optimizer.lr > 1e-4", True),
        ("policy.Pleural Effusion == policy.default", False),
        ("policy.Pleural Effusion.low < .6", True),
        ("policy.Pleural Effusion == zeros or policy.Pleural Effusion.low > .6", False),
        ("model.pretrained == false", True),
        ("model.backbone == resnet50.a1_in1k", True),
        ("model.backbone != 'resnet50.a1_in1k' or batches.size == \"auto\"", True),
        ("model.backbone == resnet50", False),
        ("model.backbone == hf-hub:timm/vit-b.x or optimizer.lr-optimizer.lr_stem < 1", True),
        ("model.backbone == 'hf-hub:timm/vit-b.x'", False),
        ("model.pretrained or schedule.epochs > 4", False),
        ("batches.size == auto", True),
        ("schedule.epochs < reports", False),
        ("schedule.epochs <= reports", True),
        ("optimizer.name != adamw or schedule.shape == one_cycle", True),
    ],
)
def test_a_constraint_says_what_it_says(text: str, holds: bool) -> None:
    assert read(text).feasible(VALUES) is holds


def test_precedence_is_that_of_arithmetic_and_every_constraint_has_to_hold() -> None:
    rules = read("schedule.epochs < 9", "sampling.fraction > .9", "optimizer.lr < 1e-9")
    assert rules.violated(VALUES) == "sampling.fraction > .9"
    assert rules.violated(VALUES | {"sampling.fraction": 1}) == "optimizer.lr < 1e-9"
    assert Constraints().feasible({})


def test_a_knob_that_does_not_exist_or_is_blank_violates_nothing() -> None:
    rules = read("policy.Pleural Effusion.low > .6", "optimizer.lr_stem < optimizer.lr")
    assert rules.violated(VALUES) == "policy.Pleural Effusion.low > .6"
    assert rules.feasible({"policy.Pleural Effusion": "zeros", "optimizer.lr": 1, "optimizer.lr_stem": None})


def test_a_division_by_zero_does_not_hold() -> None:
    assert not read("1 / schedule.epochs < 1").feasible({"schedule.epochs": 0})


def test_a_path_that_is_not_searched_is_what_the_base_run_says() -> None:
    assert read("schedule.epochs <= reports").feasible({"schedule.epochs": 4})
    assert not read("schedule.epochs <= reports", base={"reports": 3}).feasible({"schedule.epochs": 4})


def test_an_observation_without_a_policy_of_its_own_follows_the_searched_default() -> None:
    follows = "policy.Edema == policy.Pleural Effusion"
    assert read(follows).feasible({"policy.default": "zeros", "policy.Pleural Effusion": "zeros"})
    assert not read(follows).feasible({"policy.default": "ones", "policy.Pleural Effusion": "zeros"})
    own = read(follows, base={"policy.Edema": "ones"})
    assert not own.feasible({"policy.default": "zeros", "policy.Pleural Effusion": "zeros"})


def test_constraints_travel_to_other_processes() -> None:
    rules = pickle.loads(pickle.dumps(read("optimizer.lr_stem < optimizer.lr")))
    assert rules.feasible(VALUES)
    assert not rules.feasible(VALUES | {"optimizer.lr_stem": 1})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "optimizer.lr_ste < optimizer.lr",
            "constraints: 'optimizer.lr_ste < optimizer.lr': 'optimizer.lr_ste' is not a path of a run; "
            "did you mean 'optimizer.lr_stem'?",
        ),
        ("a.b.c < 1", "'a.b.c' is not a path of a run; name a dotted path of a run, for example optimizer.lr "),
        (
            "model.backbone == resnet50.a1",
            "'resnet50.a1' is not a path of a run; name a dotted path of a run, for example optimizer.lr "
            "(put a value with dots in quotes: 'resnet50.a1')",
        ),
        (
            "model.backbone == 'resnet50.a1'",
            "'resnet50.a1' is no value of model.backbone; did you mean 'resnet50'? choices: resnet50, resnet",
        ),
        (
            "optimizer.lr <",
            "is not an expression; write for example `optimizer.lr_stem < optimizer.lr`, with + - * /, "
            "comparisons, and, or, not",
        ),
        ("", "is not an expression"),
        ("optimizer.lr > " + "(" * 300 + "1" + ")" * 300, "is not an expression"),
        ("optimizer.lr > " + "1 + " * 999 + "1", "is not an expression"),
        ("optimizer.lr * 2", "`optimizer.lr * 2` is a number where true or false is needed; write for example"),
        ("not optimizer.lr", "`optimizer.lr` is a number where true or false is needed"),
        ("optimizer.lr < high", "`'high'` is a word where a number is needed"),
        ("batches.size < 32", "`batches.size` is a number or a word where a number is needed"),
        ("optimizer.lr and reports > 1", "`optimizer.lr` is a number where true or false is needed"),
        ("optimizer.name == 3", "`optimizer.name` and `3` are never equal: they are a number and a word"),
        ("policy.default == onse", "'onse' is no value of policy.default; did you mean 'ones'? choices: zeros, ones,"),
        ("'momentum' == optimizer.name", "'momentum' is no value of optimizer.name; choices: adamw, sgd"),
        (
            "reports > 1",
            "mentions no parameter of the space, so it is the same for every trial; name a searched path",
        ),
        (
            "optimizer.momentum > optimizer.lr",
            "optimizer.momentum is blank in the base run and not searched; give it a value, or drop the constraint",
        ),
        (
            "policy.Pleural Effusion.high > .8",
            "policy.Pleural Effusion is searched and policy.Pleural Effusion.high is not; add policy.Pleural Effusion.",
        ),
        ("optimizer.lr ** 2 < 1", "`optimizer.lr ** 2` is not allowed; write for example"),
        ("abs(optimizer.lr) < 1", "`'abs'(optimizer.lr)` is not allowed"),
        ("optimizer.lr in [1, 2]", "`optimizer.lr in [1, 2]` is not allowed"),
        ("optimizer.lr.__class__ == 1", "'optimizer.lr.__class__' is not a path of a run"),
        ("__import__('os').system('x') == 1", "is not allowed"),
        ("(lambda: 1)() < optimizer.lr", "is not allowed"),
        ("optimizer.lr < 1 if reports else 2", "is not allowed"),
        ("(x := optimizer.lr) < 1", "is not allowed"),
        ("optimizer.lr < 1j", "`1j` is not allowed"),
    ],
)
def test_what_is_no_constraint_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert told in str(caught.value)
