"""What `chex-search export` writes: everything that another machine needs, and nothing of this one."""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from chex import checkpoint
from chex.__main__ import main as chex
from chex.atomic import write_text
from chex.batches import normalised
from chex.config import RunConfig, dump, load_run
from chex.decoding import decode
from chex.errors import InputError
from chex.exported import ABOUT, RULES, WEIGHTS, About, read_about
from chex.intervals import Estimate
from chex.labels import FIVE
from chex.metrics import METRIC, auroc, mean_defined
from chex.output_folder import claim
from chex.prepare import select
from chex.timm_layout import Layout, to_timm
from chex.trained import load_trained
from search import handover
from search.command import main
from search.export import BEST, TRIALS
from search.handover import CARD, CONFIG, FILES, GRAPH, check_out, chosen_thresholds, drawn_films, export
from search.predictions import write_labels
from search.search_config import SearchConfig
from search.stored import CONFIG as SEARCH
from search.study import REPORT, load_begun
from tests.test_staging import upload
from tests.test_timm_layout import used

Make = Callable[..., Path]


def corrected() -> Estimate:
    return Estimate(0.5, 0.4, 0.6)


@pytest.fixture
def make_search(make_run: Callable[..., RunConfig], tmp_path: Path) -> Make:
    """Writes the folder of a search over the learning rate whose best trial, the second of three, nobody trained."""

    def make(values: dict[str, Any] | None = None) -> Path:
        run = make_run(values)
        selection, folder = select(run), tmp_path / "results" / "some search"
        folder.mkdir(parents=True)
        names, scored, outputs = selection.observations, selection.scored, selection.outputs
        model = used(run.model.backbone, outputs, run.model.final_batch_norm, run.image.size)
        about = {
            "backbone": run.model.backbone,
            "observations": ",".join(names),
            "multiclass": ",".join(names[column] for column in outputs.multiclass),
            "image_size": str(run.image.size),
            "mean": "0.449",
            "std": "0.226",
            "resize": run.image.resize,
        }
        checkpoint.save_weights(folder, model.state_dict(), about)
        probability = np.random.default_rng(0).random(scored.truth.shape, dtype=np.float32)
        checkpoint.save_predictions(folder, scored.paths, scored.patients, names, scored.truth, probability)
        write_labels(folder, scored, names)
        value = mean_defined([auroc(*each) for each in zip(scored.truth.T, probability.T, strict=True)])
        trials = {"trial": [1, 2, 3], "state": ["finished", "stopped", "failed"], "optimizer.lr": [0.1, 0.2, 0.3]}
        diverged = 0.99  # and then it did
        pd.DataFrame(trials | {METRIC: [value - 0.1, value, diverged]}).to_csv(folder / TRIALS, index=False)
        content = {"base": run.model_dump(mode="json"), "space": {"optimizer.lr": {"uniform": [0.1, 0.3]}}}
        write_text(folder / SEARCH, dump(SearchConfig.model_validate(content)))
        write_text(folder / BEST, dump(run))
        write_text(folder / REPORT, "done\n")
        return folder

    return make


def blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


FIVE_WITH_A_THIRD_CLASS = {"data.observations": list(FIVE), "policy.Edema": "multiclass"}
SHAPES = [
    {"data.observations": names, "policy.Edema": "multiclass", "model.final_batch_norm": norm, "image.size": size}
    for names, norm, size in itertools.product(("Edema", list(FIVE)), (False, True), (32, 64))
]
KINDS = [
    *({"model.backbone": "test_resnet"} | shape for shape in SHAPES),
    *({"model.backbone": "densenet121"} | shape for shape in (SHAPES[1], SHAPES[-1])),
    {"model.backbone": "densenet121", "data.observations": "Cardiomegaly", "image.resize": "squash"},
]


@pytest.mark.parametrize("values", KINDS, ids=lambda values: "-".join(map(str, values.values())))
def test_the_lines_of_the_card_give_the_networks_log_odds_from_the_folder_alone(
    make_search: Make, plain_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    search = make_search({"data.root": str(plain_tree)} | values)
    export(search, tmp_path / "out", corrected, onnx=False)
    trained = load_trained(search / checkpoint.WEIGHTS)
    shutil.rmtree(search)
    (tmp_path / "out").rename(tmp_path / "another machine")
    monkeypatch.chdir(tmp_path / "another machine")
    loading, reading = blocks(Path(CARD).read_text())
    paths = sorted(plain_tree.glob("valid/*/*/*.jpg"))[:4]
    pixels = [decode(path, trained.image_size, trained.image.resize) for path in paths]
    films = normalised(torch.from_numpy(np.stack(pixels)), trained.model.normalisation, torch.device("cpu"))
    with torch.no_grad():
        expected = trained.outputs.logits(trained.model(films))
        there: dict[str, Any] = {"films": films}
        assert len(loading.splitlines()) == 3
        exec(loading, there)
        torch.testing.assert_close(there["logits"], expected, rtol=1e-5, atol=1e-5)
        exec(reading, there)
    torch.testing.assert_close(torch.cat([there["film"](path) for path in paths]), films, rtol=1e-5, atol=1e-6)


def test_predict_gives_the_same_of_the_folder_as_of_the_searchs_weights(
    make_search: Make, plain_tree: Path, tmp_path: Path
) -> None:
    search = make_search({"data.root": str(plain_tree)} | FIVE_WITH_A_THIRD_CLASS | {"model.final_batch_norm": True})
    export(search, tmp_path / "out", corrected, onnx=False)
    for name, weights in (("theirs", search / checkpoint.WEIGHTS), ("ours", tmp_path / "out")):
        assert chex(["predict", str(weights), str(plain_tree / "valid"), "--out", str(tmp_path / f"{name}.csv")]) == 0
    theirs, ours = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("theirs", "ours"))
    pd.testing.assert_frame_equal(theirs, ours, atol=2e-6)


def test_the_graph_gives_the_softmax_over_positive_and_negative_of_a_third_class(
    make_search: Make, plain_tree: Path, tmp_path: Path
) -> None:
    values = {"model.backbone": "densenet121", "model.final_batch_norm": True, "image.size": 64}
    search = make_search({"data.root": str(plain_tree)} | FIVE_WITH_A_THIRD_CLASS | values)
    export(search, tmp_path / "out", corrected, onnx=True)
    trained = load_trained(search / checkpoint.WEIGHTS)
    films = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        raw = trained.model(films)
    session = onnxruntime.InferenceSession(tmp_path / "out" / GRAPH, providers=["CPUExecutionProvider"])
    given = session.run(["probabilities"], {"films": films.numpy()})[0]
    edema = FIVE.index("Edema")
    assert given.shape == (3, 5)
    np.testing.assert_allclose(given[:, edema], raw[:, [edema, 5]].softmax(dim=1)[:, 0], atol=1e-5)
    np.testing.assert_allclose(given[:, 0], raw[:, 0].sigmoid(), atol=1e-5)
    assert "`model.onnx` takes `films` as above" in (tmp_path / "out" / CARD).read_text()


def test_evaluate_takes_the_folder(
    make_search: Make, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(make_search(), tmp_path / "handed on", corrected, onnx=False)
    monkeypatch.chdir(tmp_path)
    cache = f"image.cache={tmp_path / 'cache'}"
    assert chex(["evaluate", "handed on/", "--data", str(tree), "--set", cache, "device.kind=cpu"]) == 0
    assert (tmp_path / "results" / "evaluate-handed on" / "index.html").is_file()


def test_the_folder_says_nothing_of_this_machine_and_holds_no_pickle(make_search: Make, tmp_path: Path) -> None:
    search = make_search({"relabel.forest": str(tmp_path / "table.csv"), "model.weights": str(tmp_path / "w")})
    out = tmp_path / "out"
    export(search, out, corrected, onnx=True)
    assert {path.name for path in out.iterdir()} == set(FILES)
    for path in out.iterdir():
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content, path
        assert str(Path(torch.__file__).parents[1]).encode() not in content, path
        assert not content.startswith((b"PK", b"\x80")), path
    best = (out / BEST).read_text()
    assert (
        "# Left out, because they were paths of another machine: data.root, model.weights, relabel.forest "
        "(of model.weights all but the name)\n"
    ) in best
    again, before = load_run(out / BEST), load_run(search / BEST)
    assert (again.optimizer, again.schedule, again.batches) == (before.optimizer, before.schedule, before.batches)
    assert (again.data.root, again.relabel.forest, again.model.weights) == (None, None, Path("w").absolute())


def test_about_json_has_what_a_program_needs(make_search: Make, plain_tree: Path, tmp_path: Path) -> None:
    search = make_search({"data.root": str(plain_tree), "seed": 7} | FIVE_WITH_A_THIRD_CLASS)
    export(search, tmp_path / "out", corrected, onnx=False)
    about = read_about(tmp_path / "out")
    assert (about.observations, about.multiclass, about.seed) == (FIVE, ("Edema",), 7)
    assert (about.preprocessing.size, about.preprocessing.resize, about.preprocessing.mean) == (32, "letterbox", 0.449)
    assert about.labels == select(load_run(search / BEST)).scored.digest(FIVE)
    assert set(about.versions) == {"python", "torch", "timm", "chexpert-search"}
    assert all(tuple(own) == RULES for own in about.thresholds.values())
    assert all(own["recall"].recall is not None and own["recall"].recall >= 0.9 for own in about.thresholds.values())


def test_a_threshold_calls_the_film_that_it_was_chosen_at_and_says_what_it_rests_on() -> None:
    truth = np.array([[1, 0], [1, 0], [0, np.nan], [0, 0], [1, 0]], dtype=np.float64)
    probability = np.array([[0.9, 0.2], [0.7, 0.2], [0.6, 0.2], [0.2, 0.2], [0.1, 0.2]])
    first, second = chosen_thresholds(("Edema", "Fracture"), truth, probability).values()
    assert first["youden"].threshold == pytest.approx(0.7, abs=1e-4)
    assert first["youden"].threshold < 0.7
    assert (first["youden"].recall, first["youden"].precision, first["youden"].positives) == (2 / 3, 1.0, 3)
    assert first[".5"].threshold == 0.5
    assert first["recall"].threshold < 0.1
    assert (first["recall"].recall, first["recall"].precision) == (1.0, 3 / 5)
    assert (second["youden"].threshold, second["recall"].threshold, second[".5"].positives) == (None, None, 0)


def test_an_observation_without_positives_has_no_threshold_and_the_card_says_so(
    make_search: Make, tmp_path: Path
) -> None:
    export(make_search({"data.observations": ["Cardiomegaly", "Edema"]}), tmp_path / "out", corrected, onnx=False)
    assert json.loads((tmp_path / "out" / ABOUT).read_text())["thresholds"]["Edema"]["youden"]["threshold"] is None
    card = (tmp_path / "out" / CARD).read_text()
    assert "| Edema | youden | - | - | - | 0 |" in card
    assert "| Edema | - (- to -) | 0 | 12 |" in card


def test_the_card_says_what_the_searchs_folder_says(make_search: Make, tree: Path, tmp_path: Path) -> None:
    said = export(make_search(), tmp_path / "out", corrected, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    for told in (
        "trial 2 of the 3 of the search `some search` (1 finished, 1 stopped, 1 failed), proposed by the sampler `tpe`",
        "`optimizer.lr` 3.0e-03",  # what best.yaml says
        "12 films of 6 patients of valid.csv (views: all)",
        "The tree `CheXpert-v1.0-small`: 24 films of 12 patients to train on.",
        "| Cardiomegaly | zeros | 10 | 10 | 4 | 0 |",
        "Corrected for that selection, and so to be expected on other patients like these: .500 (.400 to .600).",
        "**Not for clinical use.**",
    ):
        assert told in card
    assert "phantom" not in card.split("## Training data")[1].split("## Quantitative")[0]
    assert said.startswith(f"{tmp_path / 'out'}: trial 2; timm's log odds are at most ")


def test_the_card_says_what_studies_and_a_third_class_mean(make_search: Make, plain_tree: Path, tmp_path: Path) -> None:
    studies = {"data.root": str(plain_tree), "data.scoring": "study", "sampling.fraction": 0.5}
    export(make_search(studies | FIVE_WITH_A_THIRD_CLASS), tmp_path / "out", corrected, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    for told in (
        "Edema was trained with uncertain as a third class (`multiclass`): the probability is the softmax",
        "24 studies of 24 patients of valid.csv (views: all)",
        "A study counts once, with the highest probability of its films.",
        "a study is called where its probability is the threshold or more",
        "The run took 50.0 % of these films.",
    ):
        assert told in card


def headings(card: str) -> Sequence[str]:
    return re.findall(r"^## (.+)$", card, flags=re.MULTILINE)


def test_the_card_has_the_headings_of_a_model_card_and_the_corrected_auroc(make_search: Make, tmp_path: Path) -> None:
    export(make_search(), tmp_path / "out", corrected, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    mitchell = {
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    }
    assert set(headings(card)) == mitchell | {"How to use"}
    assert (
        "Corrected for that selection, and so to be expected on other patients like these: .500 (.400 to .600)." in card
    )


def test_the_card_says_what_training_the_config_again_gave(make_search: Make, tmp_path: Path) -> None:
    search, told = make_search(), "Its config trained again on new seeds, mean on the same films: .480 (.390 to .550)."
    (search / "confirm").mkdir()
    for trial in (1, 2):
        (search / "confirm" / "confirmed.csv").write_text(f"trial,again,low,high\n{trial},.48,.39,.55\n")
        export(search, tmp_path / "out", corrected, onnx=False)
        assert (told in (tmp_path / "out" / CARD).read_text()) == (trial == 2)


def test_the_card_tells_a_phantom_from_another_trees_truth(make_search: Make, tree: Path, tmp_path: Path) -> None:
    search, drawn = make_search(), "It is a phantom, drawn by `chex phantom`"
    columns = ["Path", *(column for name in FIVE for column in (name, f"{name} strength"))]
    for header, phantom in ((["Path", "Cardiomegaly"], False), (columns, True)):
        (tree.parent / "truth.csv").write_text(",".join(header) + "\n")
        export(search, tmp_path / "out", corrected, onnx=False)
        assert (drawn in (tmp_path / "out" / CARD).read_text()) == phantom


def other_labels(tree: Path) -> None:
    table = pd.read_csv(tree / "valid.csv")
    table["Cardiomegaly"] = 1 - table["Cardiomegaly"]
    table.to_csv(tree / "valid.csv", index=False)


TREES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "which was not there when this was exported"),
    "damaged": (lambda tree: (tree / "train.csv").unlink(), "which could not be read when this was exported"),
    "changed": (other_labels, "which had other validation labels when this was exported than the search was scored on"),
}


@pytest.mark.parametrize("case", TREES)
def test_a_tree_that_is_not_there_as_it_was_is_not_counted(
    make_search: Make, tree: Path, tmp_path: Path, case: str
) -> None:
    search, (damage, told) = make_search(), TREES[case]
    damage(tree)
    export(search, tmp_path / "out", corrected, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    assert f"The tree `CheXpert-v1.0-small`, {told}: how many films and patients" in card
    assert "| Cardiomegaly | zeros |\n" in card


@pytest.mark.parametrize("reached", [True, False])
def test_a_tree_that_was_another_machines_is_counted_by_the_tables_of_its_source(
    make_search: Make, tree: Path, tmp_path: Path, bucket: Callable[[str], str], reached: bool
) -> None:
    folder, source = make_search(), upload(tree, bucket("tree"))
    if not reached:
        source = "gs://anonymous@films/x?scheme=http&endpoint_override=127.0.0.1%3A1&retry_limit_seconds=1"
    write_text(folder / SEARCH, dump(load_begun(folder).model_copy(update={"source": source})))
    shutil.rmtree(tree)
    export(folder, tmp_path / "out", corrected, onnx=False)
    told = ": 24 films of 12 patients" if reached else ", which could not be fetched when this was exported: how many"
    assert f"The tree `CheXpert-v1.0-small`{told}" in (tmp_path / "out" / CARD).read_text()
    assert not list(tmp_path.rglob("*.jpg"))


def test_an_earlier_export_is_replaced_whole(make_search: Make, tmp_path: Path) -> None:
    search, out = make_search(), tmp_path / "out"
    out.mkdir()
    export(search, out, corrected, onnx=False)
    (out / GRAPH).write_text("of an earlier network")
    export(search, out, corrected, onnx=False)
    assert {path.name for path in out.iterdir()} == set(FILES) - {GRAPH}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def file_in_place(out: Path) -> None:
    out.write_text("mine")


def notes(out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")


def notes_beside_an_export(out: Path) -> None:
    claim(out, "export")
    (out / ABOUT).write_text("{}")
    (out / "notes.txt").write_text("mine")


OUTS = {
    "a file": (file_in_place, "{0}: is a file; give a new or empty folder"),
    "a folder": (notes, "{0}: holds files that this program did not write"),
    "more": (notes_beside_an_export, "{0} holds other things than an earlier export, first notes.txt; give a new or"),
}


@pytest.mark.parametrize("case", OUTS)
def test_nothing_that_is_not_an_export_is_replaced(tmp_path: Path, case: str) -> None:
    make, told = OUTS[case]
    make(tmp_path / "out")
    with pytest.raises(InputError, match=re.escape(told.format(tmp_path / "out"))):
        check_out(tmp_path / "out")


def replaced_predictions(search: Path) -> None:
    path = search / checkpoint.PREDICTIONS
    table = pd.read_csv(path)
    table["Cardiomegaly probability"] = table["Cardiomegaly"]
    table.to_csv(path, index=False)


SEARCHES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (
        shutil.rmtree,
        "{0} holds no search (no search.yaml in it); give a folder that `chex-search run`",
    ),
    "no trial": (
        lambda search: (search / BEST).unlink(),
        "{0}: no trial has ended with a result (no best.yaml there); wait for the first, or go on with `chex-search re",
    ),
    "no labels": (lambda search: (search / "labels.csv").unlink(), "{0}/labels.csv: missing; give a folder that"),
    "another trial's": (
        replaced_predictions,
        "{0}: predictions.csv has AUROC 1.000000 and the best trial of trials.csv 0.",
    ),
}


@pytest.mark.parametrize("case", SEARCHES)
def test_a_search_without_a_network_to_hand_on_is_refused_and_nothing_written(
    make_search: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    search, (damage, told) = make_search(), SEARCHES[case]
    damage(search)
    assert main(["export", str(search), str(tmp_path / "out")]) == 2
    assert f"chex-search export: {told.format(search)}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def lacking(layout: Layout) -> Layout:
    return Layout({name: each for name, each in layout.arrays.items() if name != "fc.bias"}, "fc", False)


def shifted(layout: Layout) -> Layout:
    return Layout(layout.arrays | {"fc.bias": layout.arrays["fc.bias"] + 1}, "fc", False)


LAYOUTS = {
    "lacking": (lacking, "model.backbone: timm cannot load the test_resnet that was trained (Error(s) in loading"),
    "shifted": (
        shifted,
        "model.backbone: timm's test_resnet gives other log odds than the network that was trained, by",
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_what_timm_would_not_give_back_is_not_written(
    make_search: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    search, (damage, told) = make_search(), LAYOUTS[case]
    monkeypatch.setattr(handover, "to_timm", lambda *how: damage(to_timm(*how)))
    with pytest.raises(InputError, match=re.escape(told)):
        export(search, tmp_path / "out", corrected, onnx=False)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_refused(make_search: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: .*/file is a file; give a new or empty folder"):
        export(make_search(), tmp_path / "file" / "out", corrected, onnx=False)


def test_drawn_films_are_chests_and_always_the_same(make_run: Callable[..., RunConfig]) -> None:
    films = drawn_films(make_run().image)
    assert films.shape == (8, 32, 32)
    assert (films.std(axis=(1, 2)) > 20).all()
    np.testing.assert_array_equal(films, drawn_films(make_run().image))


def test_timm_reads_size_channels_and_names_of_outputs(make_search: Make, tmp_path: Path) -> None:
    export(make_search(), tmp_path / "out", corrected, onnx=False)
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert (config["architecture"], config["num_classes"]) == ("test_resnet", 1)
    assert config["label_names"] == ["Cardiomegaly"]
    assert config["pretrained_cfg"]["input_size"] == [1, 32, 32]
    assert isinstance(read_about(tmp_path / "out"), About)
    assert (tmp_path / "out" / WEIGHTS).is_file()
