import re
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from chex.reporting.console import format_decimal
from chex.reporting.html_report import (
    Columns,
    ImageGrid,
    InteractivePlot,
    MarkedList,
    Page,
    Part,
    Section,
    StaticPlot,
    Table,
    write_page,
    write_single_file,
)
from chex.reporting.plot_style import new_figure
from tests.browser import Browser


def page(*parts: Part, title: str = "T") -> Page:
    return Page(title, "lead", [Section("First & last", parts)])


def test_markup_in_texts_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert('x')</script>"
    frame = pd.DataFrame({bad: [bad]})
    html = write_page(
        page(bad, MarkedList([("warning", bad)]), Table("t", frame, bad), title=bad), tmp_path
    ).read_text()
    assert "<script" not in html
    escaped = html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;")
    assert escaped == len(("title", "h1", "text", "point", "caption", "box", "label of table", "column", "cell"))


def test_numbers_have_thousands_separators_and_nan_is_a_dash(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1234567], "x": [1234.5], "share": [0.25], "none": [float("nan")]})
    html = write_page(page(Table("t", frame, "c", {"share": lambda share: f"{share:.0%}"})), tmp_path).read_text()
    assert [text in html for text in (">1,234,567<", ">1,234.50<", ">25%<", ">-<")] == [True] * 4
    assert (tmp_path / "t.csv").read_text() == "n,x,share,none\n1234567,1234.5,0.25,\n"


def test_a_long_table_is_cut_and_names_the_csv_with_the_rest(tmp_path: Path) -> None:
    html = write_page(page(Table("long", pd.DataFrame({"n": range(1003)}), "c", max_rows=3)), tmp_path).read_text()
    assert html.count("<tr>") == 4
    assert "1,000 more in long.csv." in html
    assert len((tmp_path / "long.csv").read_text().splitlines()) == 1004


def test_a_later_page_removes_only_the_files_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("mine")
    for names in (("old", "kept"), ("kept", "new")):
        write_page(page(*(Table(name, pd.DataFrame({"n": [1]}), "c") for name in names)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "kept.csv", "new.csv", "notes.csv"]


def test_an_earlier_page_cannot_name_files_in_other_folders(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.csv", tmp_path / "page"
    outside.write_text("mine")
    folder.mkdir()
    (folder / "index.html").write_text('<meta name="companions" content="../outside.csv">')
    write_page(page("x"), folder)
    assert outside.exists()


def test_a_page_can_show_another_table_than_its_csv(tmp_path: Path) -> None:
    frame, shown = pd.DataFrame({"a": [0.25], "low": [0.125]}), pd.DataFrame({"a": [".250 (.125)"]})
    html = write_page(page(Table("t", frame, "c", display=shown)), tmp_path).read_text()
    assert ".250 (.125)" in html
    assert '<th scope="col">low' not in html
    assert (tmp_path / "t.csv").read_text() == "a,low\n0.25,0.125\n"


BAD = "</script><script>document.title = 'broken'</script><b>&amp;"


def plot() -> InteractivePlot:
    figure = go.Figure(layout={"title": {"text": BAD}}).add_scatter(x=[1, 2], y=[2, 1], hovertext=BAD)
    return InteractivePlot(figure, BAD, BAD, height=200, min_width=500)


def trials() -> Table:
    frame = pd.DataFrame({"n": [900, 1200, 100], "name": ["b", BAD, "c"], "AUROC": [0.5, float("nan"), 0.25]})
    return Table("trials", frame, "All", {"AUROC": format_decimal}, sortable=True)


def column(browser: Browser, place: int) -> list[str]:
    """The cells of a column of the rows that are seen."""
    rows = "[...document.querySelectorAll('.sortable tbody tr')].filter(row => row.offsetHeight)"
    found: list[str] = browser.evaluate(f"{rows}.map(row => row.cells[{place}].textContent)")
    return found


def test_a_page_without_plots_and_sorting_runs_no_script(tmp_path: Path) -> None:
    html = write_page(page(Table("t", pd.DataFrame({"n": [1]}), "c")), tmp_path).read_text()
    assert "<script" not in html
    assert "script-src" not in html


def test_a_page_in_a_single_file_has_no_companions(tmp_path: Path) -> None:
    figure, _ = new_figure()
    write_single_file(page(Columns([[StaticPlot("p", figure, "r", "a"), plot()], trials()])), tmp_path / "alone.html")
    assert [path.name for path in tmp_path.iterdir()] == ["alone.html"]
    html = (tmp_path / "alone.html").read_text()
    assert re.search(r'<img src="data:image/png;base64,[^"]{1000,}" alt="a"', html)


def test_texts_of_a_plot_cannot_end_its_script(tmp_path: Path, browser: Browser) -> None:
    write_single_file(page(plot(), trials(), title="T"), tmp_path / "x.html")
    browser.open(tmp_path / "x.html")
    assert browser.evaluate("document.title") == "T"
    assert browser.evaluate("document.querySelectorAll('.drawn svg').length") > 0
    assert browser.errors == []


def test_a_script_that_was_added_to_a_page_does_not_run(tmp_path: Path, browser: Browser) -> None:
    write_single_file(page(plot(), title="T"), tmp_path / "x.html")
    html = (tmp_path / "x.html").read_text()
    (tmp_path / "x.html").write_text(html.replace("</body>", "<script>document.title = 'broken'</script></body>"))
    browser.open(tmp_path / "x.html")
    assert browser.evaluate("document.title") == "T"
    assert "Content Security Policy" in "".join(browser.errors)


def test_a_click_on_a_head_sorts_by_number_or_text_with_blanks_last(tmp_path: Path, browser: Browser) -> None:
    write_single_file(page(trials()), tmp_path / "x.html")
    browser.open(tmp_path / "x.html")
    click = "document.querySelectorAll('.sortable th button')[{}].click()"
    assert column(browser, 0) == ["900", "1,200", "100"]
    for place, clicks in ((0, ["100", "900", "1,200"]), (2, ["100", "900", "1,200"]), (1, ["1,200", "900", "100"])):
        browser.evaluate(click.format(place))
        assert column(browser, 0) == clicks
    browser.evaluate(click.format(2))
    browser.evaluate(click.format(2))
    assert column(browser, 2) == [".500", ".250", "-"]
    assert browser.evaluate("document.querySelectorAll('[aria-sort=descending]').length") == 1


def test_the_filter_shows_the_rows_with_all_its_words(tmp_path: Path, browser: Browser) -> None:
    write_single_file(page(trials()), tmp_path / "x.html")
    browser.open(tmp_path / "x.html")
    browser.evaluate(
        "(field => {field.value = 'C .25'; field.dispatchEvent(new Event('input'))})(document.querySelector('input'))"
    )
    assert column(browser, 0) == ["100"]
    assert browser.evaluate("document.querySelector('output').value") == "1 of 3 rows"


def test_on_a_phone_wide_parts_scroll_in_boxes_of_their_own(tmp_path: Path, browser: Browser) -> None:
    wide = Table("w", pd.DataFrame({f"column {n}": [n] for n in range(30)}), "c")
    write_single_file(page(plot(), wide, Columns([trials(), wide], min_width=600)), tmp_path / "x.html")
    browser.open(tmp_path / "x.html", width=390)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    assert browser.evaluate("document.querySelector('.drawn').offsetWidth") == 500


def test_the_page_has_landmarks_a_language_and_headings_in_order(tmp_path: Path, browser: Browser) -> None:
    write_single_file(page(plot(), trials()), tmp_path / "x.html")
    browser.open(tmp_path / "x.html", width=390)
    found = browser.evaluate(
        "[document.documentElement.lang, document.querySelectorAll('main').length,"
        " document.querySelectorAll('main section[aria-labelledby] > h2[id]').length,"
        " [...document.querySelectorAll('h1, h2, h3, h4')].map(each => each.tagName).join(' '),"
        " document.querySelector('.skip').hash, document.querySelectorAll('main#main').length,"
        " document.querySelectorAll('img:not([alt])').length]"
    )
    assert found == ["en", 1, 1, "H1 H2", "#main", 1, 0]


def test_scrolling_boxes_have_a_name_keyboard_focus_and_a_visible_edge(tmp_path: Path, browser: Browser) -> None:
    wide = Table("w", pd.DataFrame({f"column {n}": [n] for n in range(30)}), "many columns")
    write_single_file(page(plot(), wide), tmp_path / "x.html")
    browser.open(tmp_path / "x.html", width=390)
    boxes = "[...document.querySelectorAll('.scroll')]"
    named = browser.evaluate(f"{boxes}.map(box => [box.getAttribute('role'), box.tabIndex, !!box.ariaLabel])")
    assert named == [["region", 0, True]] * 2
    assert browser.evaluate(f"{boxes}.every(box => getComputedStyle(box).backgroundAttachment.includes('scroll'))")
    heads = "[...document.querySelectorAll('.table th')].map(head => head.scope)"
    assert set(browser.evaluate(heads)) == {"col", "row"}


def test_a_command_is_shown_after_its_sentence(tmp_path: Path) -> None:
    html = write_page(page(MarkedList([("a", "x"), ("b", "y")], ["", "ls <DIR>"])), tmp_path).read_text()
    assert "<span>x</span>" in html
    assert "<span>y <code>ls &lt;DIR&gt;</code></span>" in html


def test_images_have_their_lines_below_them(tmp_path: Path) -> None:
    image = Image.new("L", (8, 6), 200)
    html = write_page(page(ImageGrid([(image, ["<one>", "two"])], "a caption")), tmp_path).read_text()
    assert 'alt="&lt;one&gt;; two" width="8" height="6"' in html
    assert "<p>&lt;one&gt;</p><p>two</p>" in html
