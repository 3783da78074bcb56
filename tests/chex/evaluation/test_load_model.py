"""What a file of weights says of itself, and what is wrong with one that does not fit."""

import re
from pathlib import Path

import pytest
import torch

from chex.data.normalization import Normalization
from chex.errors import InputError
from chex.evaluation.load_model import load_model
from chex.models.checkpoint import save_weights
from chex.models.classifier import build_model
from chex.models.model_config import ModelConfig
from chex.runtime.run_folder import WEIGHTS

ABOUT = {"backbone": "test_resnet", "observations": "Edema,Fracture", "multiclass": "", "image_size": "32"}
ABOUT |= {"mean": "0.5", "std": "0.25"}


def saved(folder: Path, about: dict[str, str], outputs: int = 2, final_batch_norm: bool = False) -> Path:
    config = ModelConfig(backbone="test_resnet", dropout=0.3, final_batch_norm=final_batch_norm)
    save_weights(folder, build_model(config, outputs, seed=1).state_dict(), about)
    return folder / WEIGHTS


@pytest.mark.parametrize("final_batch_norm", [False, True])
def test_a_network_comes_back_with_its_weights_in_evaluation_mode(tmp_path: Path, final_batch_norm: bool) -> None:
    path = saved(tmp_path, ABOUT, final_batch_norm=final_batch_norm)
    trained = load_model(path)
    expected = build_model(ModelConfig(backbone="test_resnet", final_batch_norm=final_batch_norm), 2, seed=1).eval()
    films = torch.randn(3, 1, 32, 32)
    assert torch.equal(trained.model(films), expected(films))
    assert (trained.observations, trained.image_size, trained.outputs.count) == (("Edema", "Fracture"), 32, 2)
    assert not trained.model.training
    assert trained.model.normalization == Normalization(0.5, 0.25)


def test_observations_with_three_classes_are_known(tmp_path: Path) -> None:
    trained = load_model(saved(tmp_path, ABOUT | {"multiclass": "Fracture"}, outputs=4))
    assert (trained.outputs.multiclass, trained.outputs.count) == ((1,), 4)


def test_weights_from_before_multiclass_was_noted_are_binary(tmp_path: Path) -> None:
    older = {name: value for name, value in ABOUT.items() if name != "multiclass"}
    assert load_model(saved(tmp_path, older)).outputs.multiclass == ()


REFUSED = {
    "says nothing": (
        {},
        "does not say its backbone, observations, image_size, mean, std; give weights that chex train or",
    ),
    "lacks a part": (
        {name: value for name, value in ABOUT.items() if name != "image_size"},
        "does not say its image_size; give weights that chex train or chex-search wrote",
    ),
    "an unknown backbone": (ABOUT | {"backbone": "test_resnt"}, "'test_resnt' is not a timm model; did you mean"),
    "an unknown observation": (
        ABOUT | {"observations": "Edema,Fractur"},
        "its observations name 'Fractur', which is not an observation; did you mean 'Fracture'?",
    ),
    "an unknown multiclass": (
        ABOUT | {"multiclass": "Pneumonia"},
        "its multiclass name 'Pneumonia', which is not an observation; choices: Edema, Fracture",
    ),
    "a strange size": (
        ABOUT | {"image_size": "big"},
        "its image_size is 'big', which is not a whole number of pixels from 32 to 2048; give weights as chex train",
    ),
    "a strange mean": (
        ABOUT | {"mean": "2"},
        "its mean is '2' and its std '0.25', which cannot normalize a gray level; give weights",
    ),
    "no mean": (
        {name: value for name, value in ABOUT.items() if name != "mean"},
        "does not say its mean; give weights that chex train or chex-search wrote",
    ),
    "too few outputs": (
        ABOUT | {"observations": "Edema"},
        "does not fit the test_resnet for Edema that it describes: 2 of 92 arrays differ, first head.1.bias, which is "
        "2 and should be 1; give weights as chex train wrote them, with the timm that trained them",
    ),
    "another backbone": (ABOUT | {"backbone": "test_efficientnet"}, "does not fit the test_efficientnet for Edema,"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_weights_that_do_not_fit_what_they_say_are_refused(tmp_path: Path, case: str) -> None:
    about, told = REFUSED[case]
    path = saved(tmp_path, about)
    with pytest.raises(InputError, match=re.escape(told)) as refused:
        load_model(path)
    assert str(refused.value).startswith(str(path))
