from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chex.config import RunConfig
from chex.errors import InputError
from search.space.policy_tables import check_given_tables, observations_that_may_have, without_tables
from search.space.space import build_space

Make = Callable[..., RunConfig]
CHOICE = {"choice": ["zeros", "self_trained"]}


@pytest.mark.parametrize(
    ("policy", "space", "named"),
    [
        ({"default": "zeros"}, {"policy.default": CHOICE}, ("Edema", "Fracture")),
        ({"default": "zeros"}, {"policy.Edema": CHOICE}, ("Edema",)),
        ({"default": "self_trained"}, {"policy.Edema": {"choice": ["zeros", "ones"]}}, ("Fracture",)),
        ({"default": "zeros", "Edema": "ones"}, {"policy.default": CHOICE}, ("Fracture",)),
        ({"default": "zeros"}, {"optimizer.lr": {"uniform": [0.1, 0.2]}}, ()),
        ({"default": "forest", "Fracture": "self_trained"}, {"optimizer.lr": {"uniform": [0.1, 0.2]}}, ("Fracture",)),
    ],
)
def test_the_observations_that_may_have_a_policy_are_found(
    make_run: Make, policy: dict[str, str], space: dict[str, Any], named: tuple[str, ...]
) -> None:
    base = make_run({"data.observations": ["Edema", "Fracture"], "policy": policy})
    params = build_space(space, base.model_dump(mode="json"))
    assert observations_that_may_have("self_trained", base, params) == named


def test_a_base_run_can_be_checked_before_its_tables_are_made(make_run: Make) -> None:
    base = make_run({"policy": {"default": "forest", "Edema": "ones", "Fracture": "self_trained"}})
    message = {name: str(policy) for name, policy in without_tables(base).policy.items()}
    assert message == {"default": "ignore", "Edema": "ones", "Fracture": "ignore"}


def test_a_table_that_is_given_to_a_search_is_checked_before_it_starts(make_run: Make, tmp_path: Path) -> None:
    base = make_run({"relabel.self_trained": str(tmp_path / "gone.csv")})
    params = build_space({"policy.default": CHOICE}, base.model_dump(mode="json"))
    with pytest.raises(
        InputError, match=r"relabel.self_trained: .*gone.csv is not a file; make one with `chex relabel"
    ):
        check_given_tables(base, params)
    check_given_tables(base, build_space({"seed": {"int": [0, 1]}}, base.model_dump(mode="json")))
