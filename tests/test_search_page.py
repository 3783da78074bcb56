import shutil
from pathlib import Path

import numpy as np
import pytest

from chex.errors import InputError
from chex.metrics import METRIC
from search.book import Book
from search.command import main
from search.environment import note_environment
from search.predictions import load_predictions
from search.search_page import load_searched, write_search_page
from search.selection import kept_report
from search.stored import CONFIG
from search.study import BASE, PAGE, load_begun
from tests.browser import Browser
from tests.made_search import FAILURE, SPACE, made_search

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of 24 trials with its page; its name, its tree's and what its failed trials said are markup."""
    made = tmp_path_factory.mktemp("made") / HOSTILE
    made_search(made, 24, SPACE, root=Path(HOSTILE))
    note_environment(made, {"GPUs": "none", "torch": "9.9.9"})
    write_search_page(made, 0.9)
    return made


def words(folder: Path, browser: Browser, width: int = 1200) -> str:
    browser.open(folder / PAGE, width=width)
    text: str = browser.evaluate("document.body.innerText")
    return text


def shown(browser: Browser, column: str) -> list[str]:
    """The cells of a column of the trials that are seen."""
    place = f"[...document.querySelectorAll('.sortable th button')].findIndex(b => b.textContent == '{column}')"
    rows = "[...document.querySelectorAll('.sortable tbody tr')].filter(row => row.offsetHeight)"
    found: list[str] = browser.evaluate(f"{rows}.map(row => row.cells[{place}].textContent)")
    return found


def test_the_first_screen_says_who_wins_what_ties_and_which_values_differ(folder: Path, browser: Browser) -> None:
    text = words(folder, browser)
    first = browser.evaluate("document.querySelector('.findings').innerText").split("\n")
    assert first[0::2] == ["winner", "ties", "values"]
    assert "on the 120 films of 120 patients that it was chosen by" in first[1]
    assert "may be the best: the data do not tell them apart" in first[3]
    assert "policy.default ones over" in first[5]
    trials = "24 trials (13 finished, 7 stopped early, 4 failed) of densenet121, resnet50 at 64 px on "
    assert f"{trials}{Path('<img').absolute()}" in text
    assert browser.evaluate("document.querySelector('nav').getBoundingClientRect().top") > 900


def test_the_page_asks_for_nothing_and_complains_of_nothing(folder: Path, browser: Browser) -> None:
    words(folder, browser)
    assert browser.evaluate("document.title") == f"{HOSTILE}: which training is best, and how sure that is"
    assert browser.errors == []
    asked = [address for address in browser.requests if not address.startswith("data:")]
    assert asked == [(folder / PAGE).as_uri()]
    plots = "[...document.querySelectorAll('.drawn')]"
    assert browser.evaluate(f"{plots}.length") == browser.evaluate(
        f"{plots}.filter(p => p.querySelector('svg')).length"
    )


def test_on_a_phone_the_page_is_as_wide_as_the_screen(folder: Path, browser: Browser) -> None:
    words(folder, browser, width=390)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390


def test_trials_are_sorted_by_a_click_and_filtered_by_words(folder: Path, browser: Browser) -> None:
    words(folder, browser)
    best_first = shown(browser, "AUROC")
    assert best_first == [*sorted(best_first[:20], reverse=True), *["-"] * 4]
    browser.evaluate("document.querySelector('.sortable th button').click()")
    assert shown(browser, "trial") == [str(number) for number in range(1, 25)]
    typed = "field.value = 'failed'; field.dispatchEvent(new Event('input'))"
    browser.evaluate(f"(field => {{{typed}}})(document.querySelector('.filter input'))")
    assert shown(browser, "trial") == ["5", "10", "15", "20"]
    assert shown(browser, "error") == [FAILURE] * 4


def test_the_page_tells_what_was_spent_and_on_what(folder: Path, browser: Browser) -> None:
    text = words(folder, browser)
    book = Book(folder, load_begun(folder).knobs())
    images = sum(row.images for row in book.rows())
    book.close()
    assert f"{images:,} training images in 1:00 h of this search, 24 of 24 trials begun." in text
    assert "9.9.9" in text
    assert "Seeds: 0 of the base run" in text


def test_what_cannot_be_read_any_more_is_said_in_its_place(folder: Path, browser: Browser) -> None:
    text = words(folder, browser)
    assert "The films cannot be shown: " in text
    assert "best.safetensors cannot be read" in text


def test_a_search_without_an_environment_says_so(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "environment.yaml").unlink()
    assert "was not noted" in write_search_page(copy, 0.9).read_text(encoding="utf-8")


def test_a_search_of_one_trial_without_a_choice_has_a_page(tmp_path: Path, browser: Browser) -> None:
    made_search(tmp_path / "one", 1, {"optimizer.lr": {"fixed": 1e-3}})
    write_search_page(tmp_path / "one", 0.9)
    text = words(tmp_path / "one", browser)
    assert "There are no figures: 1 trial finished" in text
    assert "the winner, trial 1, was the last to end with a result" in text
    assert browser.errors == []


def test_studies_are_called_studies(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in (CONFIG, BASE):
        (copy / name).write_text((copy / name).read_text().replace("scoring: image", "scoring: study"))
    html = write_search_page(copy, 0.9).read_text(encoding="utf-8")
    assert "on the 120 studies of 120 patients that it was chosen by" in html
    assert "what each finds, misses and calls, in studies" in html


def test_what_retraining_showed_is_told_where_it_was_done(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "confirm").mkdir()
    head = "trial,in search,again,low,high,sd of seeds,difference,difference low,difference high"
    rows = "4,.91,.89,.85,.93,.01,0,0,0\n9,.9,.86,.82,.9,.02,-.03,-.05,-.01"
    (copy / "confirm" / "confirmed.csv").write_text(f"{head}\n{rows}\n")
    text = "Each config trained again on 5 seeds.\nScored.\n\na table\n\nTrial 9 is really worse than trial 4."
    (copy / "confirm" / "confirmation.txt").write_text(text)
    html = write_search_page(copy, 0.9).read_text(encoding="utf-8")
    for told in (
        "Trained again on new seeds",
        "Each config trained again on 5",
        "(\N{MINUS SIGN}.050 to \N{MINUS SIGN}.010)",
        "Trial 9 is re",
    ):
        assert told in html
    assert "a table" not in html
    assert "Trained again on new seeds" not in (folder / PAGE).read_text(encoding="utf-8")


def test_the_winner_is_shown_by_the_report_whose_weights_it_keeps(folder: Path) -> None:
    found = load_searched(folder, lambda _: None)
    held = load_predictions(folder)
    place = kept_report(found.drawn.won, held.trials, held.images)
    assert held.trials[place] == found.verdict.winner
    kept = max(found.drawn.won.reports, key=lambda report: report["auroc"])
    assert held.images[place] == kept["images_seen"]
    assert kept["auroc"] == found.drawn.won.report[METRIC]
    assert np.isfinite(held.probability[place]).all()


def test_the_command_writes_the_page_anew_and_names_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / PAGE).unlink()
    assert main(["report", str(folder), "--recall", ".8"]) == 0
    assert capsys.readouterr().out == f"{folder / PAGE}\n"
    assert "at least 80 % of the positives" in (folder / PAGE).read_text(encoding="utf-8")


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no search \(no search.yaml in it\)"):
        write_search_page(tmp_path, 0.9)


@pytest.mark.parametrize("share", ["0", "1.1", "x", "nan"])
def test_a_recall_that_is_no_share_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", "x", "--recall", share])
    assert f"'{share}' is not a share above 0 and at most 1; give for example .9" in capsys.readouterr().err
