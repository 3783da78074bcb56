"""What `chex evaluate` prints, writes, says in words and refuses."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chex.__main__ import main
from chex.cohort.patients_seen import KEY, Provenance, dump_provenance, seen_by_run
from chex.cohort.split import split
from chex.config import RunConfig
from chex.data.data_config import DataConfig
from chex.data.tables import load_tree
from chex.evaluation.evaluate import weights_name
from chex.evaluation.evaluation_report import page, sentence, text
from chex.evaluation.evaluation_tables import EvaluationNotes, figures_table, thresholds_table
from chex.evaluation.load_model import NO_DIAGNOSIS
from chex.models.checkpoint import save_weights
from chex.models.classifier import build_model
from chex.models.model_config import ModelConfig
from chex.reporting.html_report import MarkedList, StaticPlot, Table
from chex.runtime.output_folder import MARK
from chex.runtime.run_folder import PREDICTIONS, REPORTS, WEIGHTS
from chex.statistics.thresholds import AT_THRESHOLD, THRESHOLD_FREE, evaluate_probabilities
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import fit

FILES = {MARK, "index.html", "figures.csv", "thresholds.csv", "figures-at-thresholds.csv", "predictions.csv"} | {
    f"{name}.png" for name in ("roc", "precision-recall", "confusion", "calibration")
}
Evaluate = Callable[..., int]


def weights_of(folder: Path, observations: str = "Cardiomegaly,Fracture", known: Provenance | None = None) -> Path:
    """Weights that nobody trained; they say that they have seen whom is `known`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(ModelConfig(backbone="test_resnet"), len(observations.split(",")), seed=0)
    about = {"backbone": "test_resnet", "observations": observations, "multiclass": "", "image_size": "32"}
    about |= {"mean": "0.449", "std": "0.226"}
    save_weights(folder, model.state_dict(), about | ({KEY: dump_provenance(known)} if known else {}))
    return folder / WEIGHTS


@pytest.fixture
def evaluate(tree: Path, tmp_path: Path) -> Evaluate:
    """Runs `chex evaluate` on `tree`; what it writes lies in tmp_path / "out"."""

    def run(weights: Path, *more: str, data: Path = tree) -> int:
        cache = f"image.cache_dir={tmp_path / 'cache'}"
        given = ["evaluate", str(weights), "--data", str(data), "--out", str(tmp_path / "out"), "--set", cache]
        return main([*given, *more])

    return run


def notes(truth: list[float], probability: list[float], recall: float = 0.9) -> EvaluationNotes:
    """Returns an evaluation of one observation, with an image per patient."""
    columns = np.array(truth)[:, None], np.array(probability)[:, None]
    patients = np.arange(len(truth)).astype(str)
    found = evaluate_probabilities(*columns, patients, ["Edema"], recall, np.random.default_rng(0), draws=50)
    return EvaluationNotes(found, *columns, "Weights on images.", ("image", "images"), recall)


def test_weights_give_the_probabilities_and_figures_that_training_kept(
    make_run: Callable[..., RunConfig], tmp_path: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run({"model.final_batch_norm": True, "model.dropout": 0.2})
    run = tmp_path / "run"
    list(fit(config, load_run_data(config, load_run_tables(config)), run))
    assert evaluate(run / WEIGHTS, "device.threads=1", "device.kind=cpu") == 0
    kept, again = (pd.read_csv(folder / PREDICTIONS) for folder in (run, tmp_path / "out"))
    pd.testing.assert_frame_equal(kept, again, rtol=1e-5)
    figures = pd.read_csv(tmp_path / "out" / "figures.csv").set_index("observation")
    assert figures.loc["mean", "AUROC"] == pytest.approx(pd.read_csv(run / REPORTS)["best_auroc"].iloc[-1])
    out = capsys.readouterr().out
    assert f"{run / WEIGHTS}: test_resnet at 32 px, scored on 12 images of 6 patients of" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert out.rstrip().endswith(str(tmp_path / "out" / "index.html"))
    assert "; by the AUROC on 6 of them the best report was chosen, which is optimistic." in out
    sha256 = hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()
    assert f"SHA-256 of the weights: {sha256}." in out
    assert sha256 in (tmp_path / "out" / "index.html").read_text()


def test_the_page_needs_no_network_and_says_what_it_must(
    tmp_path: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(weights_of(tmp_path / "w")) == 0
    html = (tmp_path / "out" / "index.html").read_text()
    assert "http://" not in html
    assert "https://" not in html
    for words in (
        NO_DIAGNOSIS,
        "A threshold chosen on these images is optimistic",
        "Fracture: none of the images is positive, so that AUROC and AUPRC are undefined.",
    ):
        assert words in html
    for name in ("roc", "precision-recall", "confusion", "calibration"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.width > 150
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Fracture"))
    assert line.split()[1:4] == ["0", "-", "-"]


def test_a_page_again_in_its_folder_gives_the_same_figures(tmp_path: Path, evaluate: Evaluate) -> None:
    weights, seen = weights_of(tmp_path / "w"), []
    for _ in range(2):
        assert evaluate(weights) == 0
        seen.append([(tmp_path / "out" / name).read_bytes() for name in sorted(FILES) if name.endswith(".csv")])
    assert seen[0] == seen[1]


def test_studies_views_and_a_share_of_the_observations_can_be_chosen(
    tmp_path: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = (
        "data.eval_unit=study",
        "data.views=frontal",
        "data.observations=[Cardiomegaly]",
        "data.holdout_fraction=.5",
    )
    assert evaluate(weights_of(tmp_path / "w"), *chosen) == 0
    out = capsys.readouterr().out
    assert "scored on 6 studies of 6 patients of" in out
    assert (
        ", drawn from its train.csv (data.holdout_fraction 0.5).\nIt is not known which patients these weights saw.\n"
        in out
    )
    assert list(pd.read_csv(tmp_path / "out" / "figures.csv")["observation"]) == ["Cardiomegaly", "mean"]


def test_patients_that_weights_were_trained_on_are_not_scored(
    tmp_path: Path, tree: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, valid = load_tree(tree), DataConfig()
    known = Provenance((seen_by_run(loaded, loaded.train.patients, loaded.valid.patients, valid),))
    assert evaluate(weights_of(tmp_path / "w", known=known), "data.holdout_fraction=.5") == 2
    message = "trained on 6 of the 6 patients that data.holdout_fraction=0.5 of"
    remedy = "a score on them says nothing about new patients: score valid.csv by leaving data.holdout_fraction out\n"
    said = capsys.readouterr().err
    assert f"chex evaluate: {tmp_path / 'w' / WEIGHTS}: {message}" in said
    assert said.endswith(remedy)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


def test_patients_are_called_held_out_where_it_is_known_that_the_weights_did_not_see_them(
    tmp_path: Path, tree: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, config = load_tree(tree), DataConfig(holdout_fraction=0.5)
    parts = split(loaded, config)
    own = seen_by_run(loaded, loaded.train.patients[parts.rows], np.array([], dtype=str), config)
    assert evaluate(weights_of(tmp_path / "w", known=Provenance((own,))), "data.holdout_fraction=.5") == 0
    assert " held out of its train.csv.\nNone of these patients was trained on.\n" in capsys.readouterr().out
    assert evaluate(weights_of(tmp_path / "v", known=Provenance((own,), ("xrv.pth",))), "data.holdout_fraction=.5") == 0
    out = capsys.readouterr().out
    assert "held out" not in out
    assert "It is not known which patients the weights saw that these started from (xrv.pth).\n" in out


def test_only_the_films_that_are_scored_have_to_be_there(tmp_path: Path, tree: Path, evaluate: Evaluate) -> None:
    for image in (tree / "train").rglob("*.jpg"):
        image.unlink()
    assert evaluate(weights_of(tmp_path / "w")) == 0


def test_a_sentence_says_what_is_missed_at_a_half_and_what_missing_fewer_costs() -> None:
    truth = [1.0] * 10 + [0.0] * 10
    probability = [0.9] * 6 + [0.4] * 3 + [0.1] + [0.6] * 2 + [0.45] * 5 + [0.05] * 3
    case = notes(truth, probability)
    mark, words = sentence(case.found.observations[0], case)
    assert mark == "warning"
    assert words == (
        "Edema: at .5 the model misses 4 of 10 positive images and calls 8 images positive, 2 of them wrongly. To miss "
        "at most 1 it must call 16 positive, 7 of them wrongly: the threshold is then .4, with 0.8 false positives per "
        "true positive."
    )
    assert sentence(case.found.observations[0], notes(truth, probability, 0.6))[0] == "note"


def test_the_sentence_of_a_model_that_predicts_no_positive() -> None:
    case = notes([1.0, 0.0, 1.0], [0.3, 0.2, 0.1], recall=1)
    words = sentence(case.found.observations[0], case)[1]
    assert "misses 2 of 2 positive images and calls none of the images positive. To miss none it must call 3" in words


@pytest.mark.parametrize(("truth", "kind"), [(0.0, "positive"), (1.0, "negative"), (float("nan"), "scored")])
def test_words_where_figures_are_undefined(truth: float, kind: str) -> None:
    case = notes([truth] * 3, [0.1, 0.2, 0.9])
    mark, words = sentence(case.found.observations[0], case)
    assert (mark, words) == ("warning", f"Edema: none of the images is {kind}, so that AUROC and AUPRC are undefined.")


def test_the_printed_table_is_narrow_and_has_a_dash_where_nothing_is_defined() -> None:
    lines = text(notes([1.0, 0.0, 1.0, 0.0], [0.3, 0.2, 0.1, 0.4])).splitlines()
    assert max(map(len, lines)) <= 116
    half = next(line for line in lines if line.startswith("Edema") and " .5 " in line)
    assert half.split() == ["Edema", ".5", ".5", "2", "2", "0", "0", "-", ".000", "-", ".500", ".000"]


def test_tables_hold_every_figure_with_its_interval() -> None:
    case = notes([1.0, 0.0] * 10, list(np.linspace(0.9, 0.1, 20)))
    free = figures_table(case.found)
    assert list(free.columns[:3]) == ["observation", "positives", "negatives"]
    for name in THRESHOLD_FREE:
        assert (free[f"{name} low"] <= free[name]).all()
        assert (free[name] <= free[f"{name} high"]).all()
    costs = thresholds_table(case.found)
    assert (costs["predicted positive"] == costs["FP"] + costs["positives"] - costs["FN"]).all()
    assert set(AT_THRESHOLD) < set(costs.columns)


def test_a_threshold_that_is_undefined_has_no_counts() -> None:
    costs = thresholds_table(notes([0.0, 0.0], [0.1, 0.9]).found).set_index("chosen by")
    assert costs.loc[".5", ["FN", "predicted positive", "FP"]].tolist() == [0, 1, 1]
    assert costs.loc[["Youden", "recall .9"], ["threshold", "FN", "predicted positive", "FP"]].isna().all(axis=None)


def test_a_page_has_each_picture_once_with_a_reading() -> None:
    parts = [
        part for section in page(notes([1.0, 0.0] * 5, list(np.linspace(1, 0, 10)))).sections for part in section.parts
    ]
    readings = {part.name: part.caption for part in parts if isinstance(part, StaticPlot)}
    assert set(readings) == {"roc", "precision-recall", "confusion", "calibration"}
    assert readings["roc"].startswith("Edema has AUROC .600 (")
    assert readings["confusion"] == "at .5 Edema is missed most often, 2 of 5."
    assert sum(isinstance(part, Table) for part in parts) == 3
    assert any(isinstance(part, MarkedList) for part in parts)


def test_weights_go_by_their_folder_where_they_are_called_best(tmp_path: Path) -> None:
    assert weights_name(tmp_path / "demo" / "best.safetensors") == "demo"
    assert weights_name(tmp_path / "demo" / "mine.safetensors") == "mine"


REFUSED = {
    ("--recall", "0"): "--recall 0: recall is a share of the positives, above 0 and at most 1; give for example .9",
    ("--recall", "1.5"): "--recall 1.5: recall is a share of the positives, above 0 and at most 1; give for example .9",
    ("--recall", "nan"): "--recall nan: recall is a share of the positives, above 0 and at most 1; give for example .9",
    ("--batch", "0"): "--batch 0: images are scored 1 or more at a time; give --batch 1 or more",
    ("--set", "data.view=frontal"): "chex evaluate: data.view: unknown key; did you mean 'views'? choices: root, obs",
    ("--set", "optimizer.lr=1"): "optimizer: unknown key; choices: data, image, device",
    ("--set", "image.size=64"): "image.size: 64 is refused, the weights were trained with 32; leave it out",
    ("--set", "data.root=elsewhere"): f"data.root: {Path('elsewhere').absolute()} is refused beside --data ",
    ("--set", "data.observations=[Edema]"): (
        "data.observations: the weights were not trained on 'Edema'; choices: Cardiomegaly, Fracture"
    ),
    ("--set", "data.observations=[Fracture]"): "AUROC is undefined for Fracture, because the 12 validation images have",
    ("--set", "data.views=lateral"): "data.views: 'lateral' leaves no images to train on in",
    ("--data", "nowhere"): "is not a folder; give the folder that holds train.csv and valid.csv with --data",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_written(
    tmp_path: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    assert evaluate(weights_of(tmp_path / "w"), *options) == 2
    assert REFUSED[options] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


def test_weights_that_are_none_are_refused(
    tmp_path: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.pt").write_bytes(b"\x80\x04")
    assert evaluate(tmp_path / "state.pt") == 2
    message = capsys.readouterr().err
    assert f"chex evaluate: {tmp_path / 'state.pt'} cannot be read as safetensors (" in message
    assert message.rstrip().endswith("; give a best.safetensors")
    for weights, why in (
        (tmp_path / "none.safetensors", ": no such file or folder"),
        (tmp_path, " has no about.json"),
    ):
        assert evaluate(weights) == 2
        assert f"chex evaluate: {weights}{why}; give a " in capsys.readouterr().err


def test_a_tree_without_a_column_of_the_models_observations_is_refused(
    tmp_path: Path, tree: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "valid"):
        csv = tree / f"{name}.csv"
        pd.read_csv(csv).drop(columns="Fracture").to_csv(csv, index=False)
    assert evaluate(weights_of(tmp_path / "w")) == 2
    assert "train.csv lacks the columns Fracture" in capsys.readouterr().err


def test_a_folder_of_other_things_is_left_alone(
    tmp_path: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert evaluate(weights_of(tmp_path / "w")) == 2
    assert "holds files that this program did not write" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
