import pytest

from chex.config import validated
from chex.errors import InputError
from search.resources import Resources, check_resources


def resources(**values: float) -> Resources:
    return validated(Resources, values, "resources")


@pytest.mark.parametrize("gpus", [0, 0.25, 1, 2])
def test_a_fraction_of_a_gpu_or_whole_ones_may_be_asked_for(gpus: float) -> None:
    check_resources(resources(cpus_per_trial=2, gpus_per_trial=gpus), cpus=2, gpus=2)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"cpus_per_trial": 3}, r"resources.cpus_per_trial: a trial asks for 3 CPUs and this machine has 2; lower it"),
        (
            {"gpus_per_trial": 0.5},
            r"resources.gpus_per_trial: a trial asks for 0.5 GPUs and this machine has 0; lower it",
        ),
    ],
)
def test_what_the_machine_does_not_have_is_refused(values: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_resources(resources(**values), cpus=2, gpus=0)


def test_one_and_a_half_gpus_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"gpus_per_trial: 1.5 is above 1 and not whole; use a fraction up to 1 or a whole"
    ):
        resources(gpus_per_trial=1.5)
