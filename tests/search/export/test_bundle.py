"""`chex-search export` writes everything that another machine needs, and no paths of this one."""

import functools
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard

from chex.__main__ import main as chex
from chex.config import RunConfig, load_run, to_yaml
from chex.data import prediction_files
from chex.data.batches import normalize
from chex.data.decoding import decode
from chex.errors import InputError
from chex.evaluation.load_model import load_model
from chex.evaluation.model_bundle import ABOUT, RULES, WEIGHTS, BundleMetadata, read_metadata
from chex.models import checkpoint
from chex.models.timm_export import Layout, to_timm
from chex.runtime import run_folder
from chex.runtime.atomic_io import write_csv, write_text
from chex.runtime.output_folder import claim
from chex.schema.labels import FIVE
from chex.statistics.intervals import Estimate
from chex.statistics.metrics import METRIC, auroc, nanmean
from chex.training.run_tables import load_run_tables
from search.command import main
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder
from search.export import bundle
from search.export.bundle import (
    CARD,
    CONFIG,
    FILES,
    GRAPH,
    check_output_folder,
    draw_check_images,
    export_bundle,
    select_thresholds,
)
from search.trials.layout import BEST, REPORT, STRATEGIES, TRIALS
from search.trials.layout import CONFIG as SEARCH
from search.trials.predictions import write_labels
from tests.drawn_strategies import drawn_strategies
from tests.networks import used
from tests.zip_and_upload import upload

Make = Callable[..., Path]


def fixed_estimate() -> Estimate:
    return Estimate(0.5, 0.4, 0.6)


@pytest.fixture(autouse=True, scope="module")
def check_images_are_drawn_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "draw_check_images", functools.cache(draw_check_images))
        yield


@pytest.fixture
def make_search(make_run: Callable[..., RunConfig], tmp_path: Path) -> Make:
    """Writes the folder of a search over the learning rate whose best trial, the second of three, is untrained."""

    def make(values: dict[str, Any] | None = None) -> Path:
        run = make_run(values)
        selection, folder = load_run_tables(run), tmp_path / "results" / "some search"
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
        prediction_files.save_predictions(folder, scored.paths, scored.patients, names, scored.truth, probability)
        write_labels(folder, scored, names)
        value = nanmean([auroc(*each) for each in zip(scored.truth.T, probability.T, strict=True)])
        trials = {"trial": [1, 2, 3], "state": ["finished", "pruned", "failed"], "optimizer.lr": [0.1, 0.2, 0.3]}
        diverged = 0.99  # and then it did
        pd.DataFrame(trials | {METRIC: [value - 0.1, value, diverged]}).to_csv(folder / TRIALS, index=False)
        content = {"base": run.model_dump(mode="json"), "space": {"optimizer.lr": {"uniform": [0.1, 0.3]}}}
        write_text(folder / SEARCH, to_yaml(SearchConfig.model_validate(content)))
        write_text(folder / BEST, to_yaml(run))
        write_text(folder / REPORT, "done\n")
        return folder

    return make


def code_blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


FIVE_WITH_A_THIRD_CLASS = {"data.observations": list(FIVE), "policy.Edema": "multiclass"}
SHAPES = [
    {"data.observations": names, "policy.Edema": "multiclass", "model.final_batch_norm": norm, "image.size": size}
    for names, norm, size in itertools.product(("Edema", list(FIVE)), (False, True), (32, 64))
]
KINDS = [
    *({"model.backbone": "test_resnet"} | shape for shape in SHAPES if shape["image.size"] == 32),
    {"model.backbone": "test_resnet", "data.observations": "Cardiomegaly", "image.resize": "stretch"},
    *(
        pytest.param({"model.backbone": "densenet121"} | shape, marks=pytest.mark.slow)
        for shape in (SHAPES[1], SHAPES[-1])
    ),
    *(
        pytest.param({"model.backbone": "test_resnet"} | shape, marks=pytest.mark.slow)
        for shape in SHAPES
        if shape["image.size"] == 64
    ),
]


@pytest.mark.parametrize("values", KINDS, ids=lambda values: "-".join(map(str, values.values())))
def test_the_lines_of_the_card_give_the_networks_log_odds_from_the_folder_alone(
    make_search: Make, plain_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    search = make_search({"data.root": str(plain_tree)} | values)
    export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
    trained = load_model(search / run_folder.WEIGHTS)
    shutil.rmtree(search)
    (tmp_path / "out").rename(tmp_path / "another machine")
    monkeypatch.chdir(tmp_path / "another machine")
    loading, reading = code_blocks(Path(CARD).read_text())
    paths = sorted(plain_tree.glob("valid/*/*/*.jpg"))[:4]
    pixels = [decode(path, trained.image_size, trained.image.resize) for path in paths]
    images = normalize(torch.from_numpy(np.stack(pixels)), trained.model.normalization, torch.device("cpu"))
    with torch.no_grad():
        expected = trained.outputs.logits(trained.model(images))
        namespace: dict[str, Any] = {"images": images}
        assert len(loading.splitlines()) == 3
        exec(loading, namespace)
        torch.testing.assert_close(namespace["logits"], expected, rtol=1e-5, atol=1e-5)
        exec(reading, namespace)
    torch.testing.assert_close(
        torch.cat([namespace["read_image"](path) for path in paths]), images, rtol=1e-5, atol=1e-6
    )


def test_predict_gives_the_same_with_the_folder_as_with_the_searchs_weights(
    make_search: Make, plain_tree: Path, tmp_path: Path
) -> None:
    search = make_search({"data.root": str(plain_tree)} | FIVE_WITH_A_THIRD_CLASS | {"model.final_batch_norm": True})
    export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
    for name, weights in (("theirs", search / run_folder.WEIGHTS), ("ours", tmp_path / "out")):
        assert chex(["predict", str(weights), str(plain_tree / "valid"), "--out", str(tmp_path / f"{name}.csv")]) == 0
    search_csv, export_csv = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("theirs", "ours"))
    pd.testing.assert_frame_equal(search_csv, export_csv, atol=2e-6)


@pytest.mark.slow
def test_the_graph_gives_the_softmax_over_positive_and_negative_with_a_third_class(
    make_search: Make, plain_tree: Path, tmp_path: Path
) -> None:
    import onnxruntime

    values = {"model.backbone": "densenet121", "model.final_batch_norm": True, "image.size": 64}
    search = make_search({"data.root": str(plain_tree)} | FIVE_WITH_A_THIRD_CLASS | values)
    export_bundle(search, tmp_path / "out", fixed_estimate, onnx=True)
    trained = load_model(search / run_folder.WEIGHTS)
    images = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        logits = trained.model(images)
    session = onnxruntime.InferenceSession(tmp_path / "out" / GRAPH, providers=["CPUExecutionProvider"])
    probability = session.run(["probabilities"], {"images": images.numpy()})[0]
    edema = FIVE.index("Edema")
    assert probability.shape == (3, 5)
    np.testing.assert_allclose(probability[:, edema], logits[:, [edema, 5]].softmax(dim=1)[:, 0], atol=1e-5)
    np.testing.assert_allclose(probability[:, 0], logits[:, 0].sigmoid(), atol=1e-5)
    assert "`model.onnx` takes `images` as above" in (tmp_path / "out" / CARD).read_text()


def test_evaluate_accepts_the_folder(
    make_search: Make, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_bundle(make_search(), tmp_path / "handed on", fixed_estimate, onnx=False)
    monkeypatch.chdir(tmp_path)
    cache = f"image.cache_dir={tmp_path / 'cache'}"
    assert chex(["evaluate", "handed on/", "--data", str(tree), "--set", cache, "device.kind=cpu"]) == 0
    assert (tmp_path / "results" / "evaluate-handed on" / "index.html").is_file()


@pytest.mark.slow
def test_the_folder_has_no_path_of_this_machine_and_no_pickle(make_search: Make, tmp_path: Path) -> None:
    search = make_search({"relabel.forest": str(tmp_path / "table.csv"), "model.pretrained_file": str(tmp_path / "w")})
    out = tmp_path / "out"
    export_bundle(search, out, fixed_estimate, onnx=True)
    assert {path.name for path in out.iterdir()} == set(FILES)
    for path in out.iterdir():
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content, path
        assert str(Path(torch.__file__).parents[1]).encode() not in content, path
        assert not content.startswith((b"PK", b"\x80")), path
    best = (out / BEST).read_text()
    assert (
        "# Omitted, because they were paths of another machine: data.root, model.pretrained_file, relabel.forest "
        "(model.pretrained_file keeps its name)\n"
    ) in best
    exported, original = load_run(out / BEST), load_run(search / BEST)
    assert (exported.optimizer, exported.schedule, exported.batches) == (
        original.optimizer,
        original.schedule,
        original.batches,
    )
    assert (exported.data.root, exported.relabel.forest, exported.model.pretrained_file) == (
        None,
        None,
        Path("w").absolute(),
    )


def test_about_json_has_what_a_program_needs(make_search: Make, plain_tree: Path, tmp_path: Path) -> None:
    search = make_search({"data.root": str(plain_tree), "seed": 7} | FIVE_WITH_A_THIRD_CLASS)
    export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
    about = read_metadata(tmp_path / "out")
    assert (about.observations, about.multiclass, about.seed) == (FIVE, ("Edema",), 7)
    assert (about.preprocessing.size, about.preprocessing.resize, about.preprocessing.mean) == (32, "letterbox", 0.449)
    assert about.labels == load_run_tables(load_run(search / BEST)).scored.digest(FIVE)
    assert set(about.versions) == {"python", "torch", "timm", "chexpert-search"}
    assert all(tuple(thresholds) == RULES for thresholds in about.thresholds.values())
    assert all(
        thresholds["recall"].recall is not None and thresholds["recall"].recall >= 0.9
        for thresholds in about.thresholds.values()
    )


def test_a_threshold_calls_the_image_that_defines_it_positive() -> None:
    truth = np.array([[1, 0], [1, 0], [0, np.nan], [0, 0], [1, 0]], dtype=np.float64)
    probability = np.array([[0.9, 0.2], [0.7, 0.2], [0.6, 0.2], [0.2, 0.2], [0.1, 0.2]])
    first, second = select_thresholds(("Edema", "Fracture"), truth, probability).values()
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
    export_bundle(
        make_search({"data.observations": ["Cardiomegaly", "Edema"]}), tmp_path / "out", fixed_estimate, onnx=False
    )
    assert json.loads((tmp_path / "out" / ABOUT).read_text())["thresholds"]["Edema"]["youden"]["threshold"] is None
    card = (tmp_path / "out" / CARD).read_text()
    assert "| Edema | youden | - | - | - | 0 |" in card
    assert "| Edema | - (- to -) | 0 | 12 |" in card


def test_the_card_has_the_facts_of_the_searchs_folder(make_search: Make, tree: Path, tmp_path: Path) -> None:
    message = export_bundle(make_search(), tmp_path / "out", fixed_estimate, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    for text in (
        "trial 2 of the 3 trials of the search `some search` (1 finished, 1 pruned, 1 failed)",
        "`optimizer.lr` 3.0e-03",  # what best.yaml says
        "12 images of 6 patients of valid.csv (views: all)",
        "The tree `CheXpert-v1.0-small`: 24 images of 12 patients to train on.",
        "| Cardiomegaly | zeros | 10 | 10 | 4 | 0 |",
        "Corrected for this selection, the AUROC to expect on other patients like these: .500 (.400 to .600).",
        "**Not for clinical use.**",
    ):
        assert text in card
    assert "phantom" not in card.split("## Training data")[1].split("## Quantitative")[0]
    assert message.startswith(f"{tmp_path / 'out'}: trial 2; timm's log odds differ by at most ")


def test_the_card_explains_studies_and_a_third_class(make_search: Make, plain_tree: Path, tmp_path: Path) -> None:
    studies = {"data.root": str(plain_tree), "data.eval_unit": "study", "sampling.fraction": 0.5}
    export_bundle(make_search(studies | FIVE_WITH_A_THIRD_CLASS), tmp_path / "out", fixed_estimate, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    for text in (
        "Edema was trained with uncertain as a third class (`multiclass`): the probability is the softmax",
        "24 studies of 24 patients of valid.csv (views: all)",
        "A study counts once, with the highest probability of its images.",
        "a study is called positive if its probability is the threshold or more",
        "The run used 50.0 % of these images.",
    ):
        assert text in card


def headings(card: str) -> Sequence[str]:
    return re.findall(r"^## (.+)$", card, flags=re.MULTILINE)


def test_the_card_has_the_headings_of_a_model_card_and_the_corrected_auroc(make_search: Make, tmp_path: Path) -> None:
    export_bundle(make_search(), tmp_path / "out", fixed_estimate, onnx=False)
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
        "Corrected for this selection, the AUROC to expect on other patients like these: .500 (.400 to .600)." in card
    )


def test_the_card_has_the_auroc_of_retraining(make_search: Make, tmp_path: Path) -> None:
    search, text = (
        make_search(),
        "Its config, trained again on new seeds, has mean AUROC .480 (.390 to .550) on the same images.",
    )
    (search / "confirm").mkdir()
    for trial in (1, 2):
        (search / "confirm" / "confirmed.csv").write_text(f"trial,again,low,high\n{trial},.48,.39,.55\n")
        export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
        assert (text in (tmp_path / "out" / CARD).read_text()) == (trial == 2)


def test_the_card_says_whether_the_tree_is_a_phantom(make_search: Make, tree: Path, tmp_path: Path) -> None:
    search, phantom_text = make_search(), "It is a phantom, drawn by `chex phantom`"
    columns = ["Path", *(column for name in FIVE for column in (name, f"{name} strength"))]
    for header, phantom in ((["Path", "Cardiomegaly"], False), (columns, True)):
        (tree.parent / "truth.csv").write_text(",".join(header) + "\n")
        export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
        assert (phantom_text in (tmp_path / "out" / CARD).read_text()) == phantom


def change_labels(tree: Path) -> None:
    table = pd.read_csv(tree / "valid.csv")
    table["Cardiomegaly"] = 1 - table["Cardiomegaly"]
    table.to_csv(tree / "valid.csv", index=False)


TREES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "which did not exist when this was exported"),
    "damaged": (lambda tree: (tree / "train.csv").unlink(), "which could not be read when this was exported"),
    "changed": (change_labels, "whose validation labels had changed since the search when this was exported"),
}


def test_the_header_of_the_card_has_the_aurocs_for_programs(make_search: Make, tmp_path: Path) -> None:
    export_bundle(make_search(), tmp_path / "out", fixed_estimate, onnx=False)
    data = ModelCard((tmp_path / "out" / CARD).read_text()).data
    assert (data.library_name, data.pipeline_tag) == ("timm", "image-classification")
    assert data.eval_results
    aurocs = {result.metric_name: result.metric_value for result in data.eval_results}
    assert list(aurocs) == ["AUROC (Cardiomegaly)", "AUROC (corrected for selection)"]
    assert aurocs["AUROC (corrected for selection)"] == 0.5


@pytest.mark.parametrize("case", TREES)
def test_a_missing_or_changed_tree_is_not_counted(make_search: Make, tree: Path, tmp_path: Path, case: str) -> None:
    search, (damage, text) = make_search(), TREES[case]
    damage(tree)
    export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    assert f"The tree `CheXpert-v1.0-small`, {text}: how many images and patients it has" in card
    assert "| Cardiomegaly | zeros |\n" in card


@pytest.mark.parametrize("reachable", [True, False])
def test_a_tree_missing_on_this_machine_is_counted_from_the_data_uri(
    make_search: Make, tree: Path, tmp_path: Path, bucket: Callable[[str], str], reachable: bool
) -> None:
    folder, source = make_search(), upload(tree, bucket("tree"))
    if not reachable:
        source = "gs://anonymous@images/x?scheme=http&endpoint_override=127.0.0.1%3A1&retry_limit_seconds=1"
    write_text(folder / SEARCH, to_yaml(load_search_folder(folder).model_copy(update={"data_uri": source})))
    shutil.rmtree(tree)
    export_bundle(folder, tmp_path / "out", fixed_estimate, onnx=False)
    text = (
        ": 24 images of 12 patients" if reachable else ", which could not be fetched when this was exported: how many"
    )
    assert f"The tree `CheXpert-v1.0-small`{text}" in (tmp_path / "out" / CARD).read_text()
    assert not list(tmp_path.rglob("*.jpg"))


def test_the_card_has_the_strategy_table_of_a_finished_search(make_search: Make, tmp_path: Path) -> None:
    search = make_search()
    write_csv(search / STRATEGIES, drawn_strategies("policy.Edema", "ones", "zeros", better="ones").table())
    export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
    card = (tmp_path / "out" / CARD).read_text()
    assert "| policy.Edema ones | 12 (9) | +0.030 (+0.010 to +0.050) | 0.97 | yes |" in card
    assert "| policy.Edema zeros | 12 (9) | - | 0.03 | no |" in card
    assert "optimizer.lr |" not in card
    (search / STRATEGIES).unlink()
    export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
    assert "What the search found" not in (tmp_path / "out" / CARD).read_text()


def test_an_earlier_export_is_replaced_completely(make_search: Make, tmp_path: Path) -> None:
    search, out = make_search(), tmp_path / "out"
    out.mkdir()
    export_bundle(search, out, fixed_estimate, onnx=False)
    (out / GRAPH).write_text("of an earlier network")
    export_bundle(search, out, fixed_estimate, onnx=False)
    assert {path.name for path in out.iterdir()} == set(FILES) - {GRAPH}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def create_file(out: Path) -> None:
    out.write_text("mine")


def create_notes(out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")


def add_notes_to_an_export(out: Path) -> None:
    claim(out, "export")
    (out / ABOUT).write_text("{}")
    (out / "notes.txt").write_text("mine")


OUTS = {
    "a file": (create_file, "{0}: is a file; give a new or empty folder"),
    "a folder": (create_notes, "{0}: holds files that this program did not write"),
    "more": (add_notes_to_an_export, "{0} has other files than an earlier export, first notes.txt; give a new or"),
}


@pytest.mark.parametrize("case", OUTS)
def test_only_an_export_is_replaced(tmp_path: Path, case: str) -> None:
    make, text = OUTS[case]
    make(tmp_path / "out")
    with pytest.raises(InputError, match=re.escape(text.format(tmp_path / "out"))):
        check_output_folder(tmp_path / "out")


def replace_predictions(search: Path) -> None:
    path = search / run_folder.PREDICTIONS
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
        "{0}: no trial has ended with a result (no best.yaml there); wait for the first, or continue with `chex-sea",
    ),
    "no labels": (lambda search: (search / "labels.csv").unlink(), "{0}/labels.csv: missing; give a folder that"),
    "another trial's": (
        replace_predictions,
        "{0}: predictions.csv has AUROC 1.000000 and the best trial of trials.csv 0.",
    ),
}


@pytest.mark.parametrize("case", SEARCHES)
def test_a_search_without_a_network_is_refused_and_nothing_is_written(
    make_search: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    search, (damage, text) = make_search(), SEARCHES[case]
    damage(search)
    assert main(["export", str(search), str(tmp_path / "out")]) == 2
    assert f"chex-search export: {text.format(search)}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def without_bias(layout: Layout) -> Layout:
    return Layout({name: each for name, each in layout.arrays.items() if name != "fc.bias"}, "fc", False)


def with_shifted_bias(layout: Layout) -> Layout:
    return Layout(layout.arrays | {"fc.bias": layout.arrays["fc.bias"] + 1}, "fc", False)


LAYOUTS = {
    "lacking": (without_bias, "model.backbone: timm cannot load the trained test_resnet (Error(s) in loading"),
    "shifted": (
        with_shifted_bias,
        "model.backbone: timm's test_resnet gives other log odds than the trained network, by",
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_an_export_that_timm_cannot_reproduce_is_not_written(
    make_search: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    search, (damage, text) = make_search(), LAYOUTS[case]
    monkeypatch.setattr(bundle, "to_timm", lambda *args: damage(to_timm(*args)))
    with pytest.raises(InputError, match=re.escape(text)):
        export_bundle(search, tmp_path / "out", fixed_estimate, onnx=False)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_created_is_refused(make_search: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: .*/file is a file; give a new or empty folder"):
        export_bundle(make_search(), tmp_path / "file" / "out", fixed_estimate, onnx=False)


def test_check_images_are_chests_and_always_the_same(make_run: Callable[..., RunConfig]) -> None:
    images = draw_check_images(make_run().image)
    assert images.shape == (8, 32, 32)
    assert (images.std(axis=(1, 2)) > 20).all()
    np.testing.assert_array_equal(images, draw_check_images(make_run().image))


def test_timm_reads_size_channels_and_names_of_outputs(make_search: Make, tmp_path: Path) -> None:
    export_bundle(make_search(), tmp_path / "out", fixed_estimate, onnx=False)
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert (config["architecture"], config["num_classes"]) == ("test_resnet", 1)
    assert config["label_names"] == ["Cardiomegaly"]
    assert config["pretrained_cfg"]["input_size"] == [1, 32, 32]
    assert isinstance(read_metadata(tmp_path / "out"), BundleMetadata)
    assert (tmp_path / "out" / WEIGHTS).is_file()
