import numpy as np
import pytest

from chex.config import RunConfig, validate
from chex.errors import InputError
from chex.schema.labels import FIVE, OBSERVATIONS, label_columns


def observations(value: object) -> tuple[str, ...]:
    return validate(RunConfig, {"data": {"observations": value}}, "x.yaml").data.observations


def test_the_fourteen_observations_are_in_the_order_of_the_csv() -> None:
    assert len(OBSERVATIONS) == 14
    assert OBSERVATIONS[0] == "No Finding"
    assert OBSERVATIONS[-1] == "Support Devices"
    np.testing.assert_array_equal(label_columns(["Edema", "No Finding"]), [5, 0])


def test_one_name_a_list_and_five_are_ways_to_name_observations() -> None:
    assert observations("Edema") == ("Edema",)
    assert observations(["Edema", "Fracture"]) == ("Edema", "Fracture")
    assert observations("five") == FIVE


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Edemma", "data.observations: 'Edemma' is not an observation; did you mean 'Edema'? choices: No Finding,"),
        (["Edema", "Edema"], "names an observation twice; name each once"),
        ([], "is not an observation, a list of observations or 'five'"),
        (3, "3 is not an observation, a list of observations or 'five'"),
    ],
)
def test_other_values_are_refused_with_the_choices(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        observations(value)
