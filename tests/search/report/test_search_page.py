import shutil
from pathlib import Path

import numpy as np
import pytest

from chex.errors import InputError
from chex.statistics.metrics import METRIC
from search.analysis.selection import best_report
from search.command import main
from search.config.search_folder import load_search_folder
from search.report.search_page import load_search_results, write_search_page
from search.trials.environment import record_environment
from search.trials.layout import BASE, CONFIG, PAGE
from search.trials.predictions import load_predictions
from search.trials.study_store import StudyStore
from tests.browser import Browser
from tests.made_search import FAILURE, SPACE, made_search

pytestmark = pytest.mark.usefixtures("few_bags")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of 24 trials with its page; its name, its tree's name and the errors of its failed trials are markup."""
    made_folder = tmp_path_factory.mktemp("made") / HOSTILE
    made_search(made_folder, 24, SPACE, root=Path(HOSTILE))
    record_environment(made_folder, {"GPUs": "none", "torch": "9.9.9"})
    write_search_page(made_folder, 0.9)
    return made_folder


def page_text(folder: Path, browser: Browser, width: int = 1200) -> str:
    browser.open(folder / PAGE, width=width)
    text: str = browser.evaluate("document.body.innerText")
    return text


def visible_cells(browser: Browser, column: str) -> list[str]:
    """Returns the visible cells of a column of the table of trials."""
    position = f"[...document.querySelectorAll('.sortable th button')].findIndex(b => b.textContent == '{column}')"
    rows = "[...document.querySelectorAll('.sortable tbody tr')].filter(row => row.offsetHeight)"
    results: list[str] = browser.evaluate(f"{rows}.map(row => row.cells[{position}].textContent)")
    return results


def test_the_first_screen_names_the_winner_the_ties_and_the_values_that_differ(folder: Path, browser: Browser) -> None:
    text = page_text(folder, browser)
    first = browser.evaluate("document.querySelector('.findings').innerText").split("\n")
    assert first[0::2] == ["winner", "ties", "values"]
    assert "on the 120 images of 120 patients by which it was chosen" in first[1]
    assert "the data cannot distinguish them" in first[3]
    assert "policy.default ones is better than the others on average" in first[5]
    trials = "24 trials (13 finished, 7 pruned, 4 failed) of densenet121, resnet50 at 64 px on "
    assert f"{trials}{Path('<img').absolute()}" in text
    assert browser.evaluate("document.querySelector('nav').getBoundingClientRect().top") > 900


def test_the_page_makes_no_requests_and_has_no_errors(folder: Path, browser: Browser) -> None:
    page_text(folder, browser)
    assert browser.evaluate("document.title") == f"{HOSTILE}: the best training recipe and its uncertainty"
    assert browser.errors == []
    requests = [address for address in browser.requests if not address.startswith("data:")]
    assert requests == [(folder / PAGE).as_uri()]
    plots = "[...document.querySelectorAll('.drawn')]"
    assert browser.evaluate(f"{plots}.length") == browser.evaluate(
        f"{plots}.filter(p => p.querySelector('svg')).length"
    )


def test_on_a_phone_the_page_is_as_wide_as_the_screen(folder: Path, browser: Browser) -> None:
    page_text(folder, browser, width=390)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390


def test_trials_are_sorted_by_a_click_and_filtered_by_words(folder: Path, browser: Browser) -> None:
    page_text(folder, browser)
    best_first = visible_cells(browser, "AUROC")
    assert best_first == [*sorted(best_first[:20], reverse=True), *["-"] * 4]
    browser.evaluate("document.querySelector('.sortable th button').click()")
    assert visible_cells(browser, "trial") == [str(number) for number in range(1, 25)]
    script = "field.value = 'failed'; field.dispatchEvent(new Event('input'))"
    browser.evaluate(f"(field => {{{script}}})(document.querySelector('.filter input'))")
    assert visible_cells(browser, "trial") == ["5", "10", "15", "20"]
    assert visible_cells(browser, "error") == [FAILURE] * 4


def test_the_page_shows_cost_environment_and_seeds(folder: Path, browser: Browser) -> None:
    text = page_text(folder, browser)
    book = StudyStore(folder, load_search_folder(folder).search_space())
    images = sum(row.images_seen for row in book.trials())
    book.close()
    assert f"{images:,} training images in 1:00 h of this search, 24 of 24 trials started." in text
    assert "9.9.9" in text
    assert "Seeds: 0 of the base run" in text


def test_unreadable_weights_are_reported_in_place_of_the_images(folder: Path, browser: Browser) -> None:
    text = page_text(folder, browser)
    assert "The images cannot be shown: " in text
    assert "best.safetensors cannot be read" in text


def test_a_search_without_an_environment_says_so(tmp_path: Path) -> None:
    made_search(tmp_path / "made", 2, {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}})
    assert "were not recorded" in write_search_page(tmp_path / "made", 0.9).read_text(encoding="utf-8")


def test_a_search_of_one_trial_without_a_choice_has_a_page(tmp_path: Path, browser: Browser) -> None:
    made_search(tmp_path / "one", 1, {"optimizer.lr": {"fixed": 1e-3}})
    write_search_page(tmp_path / "one", 0.9)
    text = page_text(tmp_path / "one", browser)
    assert "Not available: 1 trial has a result" in text
    assert "the winner, trial 1, was the last one with a result" in text
    assert browser.errors == []


def test_studies_are_called_studies(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in (CONFIG, BASE):
        (copy / name).write_text((copy / name).read_text().replace("eval_unit: image", "eval_unit: study"))
    html = write_search_page(copy, 0.9).read_text(encoding="utf-8")
    assert "on the 120 studies of 120 patients by which it was chosen" in html
    assert "true positives (TP), in studies" in html


def test_results_of_retraining_are_shown_if_there_are_any(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "confirm").mkdir()
    head = "trial,in search,again,low,high,sd of seeds,difference,difference low,difference high"
    rows = "4,.91,.89,.85,.93,.01,0,0,0\n9,.9,.86,.82,.9,.02,-.03,-.05,-.01"
    (copy / "confirm" / "confirmed.csv").write_text(f"{head}\n{rows}\n")
    text = "Each config trained again on 5 seeds.\nScored.\n\na table\n\nTrial 9 is really worse than trial 4."
    (copy / "confirm" / "confirmation.txt").write_text(text)
    html = write_search_page(copy, 0.9).read_text(encoding="utf-8")
    for phrase in (
        "Trained again on new seeds",
        "Each config trained again on 5",
        "(\N{MINUS SIGN}.050 to \N{MINUS SIGN}.010)",
        "Trial 9 is re",
    ):
        assert phrase in html
    assert "a table" not in html
    assert "Trained again on new seeds" not in (folder / PAGE).read_text(encoding="utf-8")


def test_the_winner_is_evaluated_at_the_report_whose_weights_are_saved(folder: Path) -> None:
    results = load_search_results(folder, lambda _: None)
    predictions = load_predictions(folder)
    position = best_report(results.chart_data.winning_trial, predictions.trials, predictions.images)
    assert predictions.trials[position] == results.verdict.winner
    saved_report = max(results.chart_data.winning_trial.reports, key=lambda report: report["auroc"])
    assert predictions.images[position] == saved_report["images_seen"]
    assert saved_report["auroc"] == results.chart_data.winning_trial.report[METRIC]
    assert np.isfinite(predictions.probability[position]).all()


def test_the_command_writes_the_page_again_and_prints_its_path(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / PAGE).unlink()
    assert main(["report", str(folder), "--recall", ".8"]) == 0
    assert capsys.readouterr().out == f"{folder / PAGE}\n"
    assert "at least 80 % of the positives" in (folder / PAGE).read_text(encoding="utf-8")


def test_a_made_folderwithout_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no search \(no search.yaml in it\)"):
        write_search_page(tmp_path, 0.9)


@pytest.mark.parametrize("share", ["0", "1.1", "x", "nan"])
def test_a_recall_outside_0_to_1_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", "x", "--recall", share])
    assert f"'{share}' is not a share above 0 and at most 1; give for example .9" in capsys.readouterr().err
