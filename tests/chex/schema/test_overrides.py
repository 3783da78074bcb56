import pytest

from chex.errors import InputError
from chex.schema.overrides import parse_overrides


def test_values_are_yaml_and_spaces_around_the_sign_do_not_matter() -> None:
    sets = ["optimizer.lr=1e-3", "seed = 3", "policy.Pleural Effusion=ones", "data.observations=[Edema, Fracture]"]
    assert parse_overrides([*sets, "pruning=", "seed=3"]) == {
        "optimizer.lr": 1e-3,
        "seed": 3,
        "policy.Pleural Effusion": "ones",
        "data.observations": ["Edema", "Fracture"],
        "pruning": None,
    }


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("optimizer.lr", "--set optimizer.lr: not of the form a.b=value; write for example --set optimizer.lr=3e-4"),
        ("=3", "--set =3: not of the form a.b=value; write for example --set optimizer.lr=3e-4"),
        ("seed=[1", "--set seed=[1: '[1' is not a YAML value; end it with ]"),
        ("seed='1", "--set seed='1: ''1' is not a YAML value; put quotes around it"),
        ("seed|=|1", "--set seed = 1: a space splits it; write --set seed=1"),
        ("seed=|1", "--set seed= 1: a space splits it; write --set seed=1"),
        ("seed|=1", "--set seed =1: a space splits it; write --set seed=1"),
        ("optimizer.lr|1e-3", "--set optimizer.lr 1e-3: a space splits it; write --set optimizer.lr=1e-3"),
        (
            "data.observations=[Edema,|Fracture]|seed=1",
            "--set data.observations=[Edema, Fracture]: a space splits it; "
            "write --set 'data.observations=[Edema, Fracture]'",
        ),
        (
            "policy.Pleural|Effusion=ones",
            "--set policy.Pleural Effusion=ones: a space splits it; write --set 'policy.Pleural Effusion=ones'",
        ),
        ("seed|reports=1", "--set seed: not of the form a.b=value; write for example --set optimizer.lr=3e-4"),
        ("seed=1|seed=2", "--set seed: given twice, as 1 and as 2; give it once"),
    ],
)
def test_an_argument_that_is_not_a_setting_is_refused_with_the_probable_one(sets: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_overrides(sets.split("|"))
    assert str(refused.value) == message
