from pathlib import Path

import numpy as np
import pytest
import torch

from chex.data import prediction_files
from chex.errors import InputError
from chex.models import checkpoint
from chex.runtime import run_folder

CPU = torch.device("cpu")


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path, {"config": "a", "model": {"w": torch.ones(2)}, "rows": [{"auroc": 0.5}]})
    state = checkpoint.read_state(tmp_path, CPU)
    assert state is not None
    assert torch.equal(state["model"]["w"], torch.ones(2))
    assert state["rows"] == [{"auroc": 0.5}]


def test_an_empty_folder_has_no_state(tmp_path: Path) -> None:
    assert checkpoint.read_state(tmp_path, CPU) is None


def test_weights_come_back_with_what_is_said_of_them(tmp_path: Path) -> None:
    checkpoint.save_weights(tmp_path, {"w": torch.arange(3.0)}, {"backbone": "densenet121"})
    weights, about = checkpoint.load_weights(tmp_path / run_folder.WEIGHTS)
    assert torch.equal(weights["w"], torch.arange(3.0))
    assert about == {"backbone": "densenet121"}


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match=r"weights.pt cannot be read as safetensors .*; give a best.safetensors"):
        checkpoint.load_weights(tmp_path / "weights.pt")


def test_predictions_come_back_with_blanks_where_nothing_is_scored(tmp_path: Path) -> None:
    truth, probability = np.array([[1, np.nan], [0, 1]]), np.array([[0.25, 0.5], [0.75, 1.0]])
    names = ("Edema", "Pleural Effusion")
    prediction_files.save_predictions(tmp_path, np.array(["a", "b"]), np.array(["p1", "p2"]), names, truth, probability)
    patients, truth_read, probability_read = prediction_files.load_predictions(tmp_path / run_folder.PREDICTIONS, names)
    np.testing.assert_array_equal(patients, ["p1", "p2"])
    np.testing.assert_array_equal(truth_read, truth)
    np.testing.assert_array_equal(probability_read, probability)
