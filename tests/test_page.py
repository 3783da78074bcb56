from pathlib import Path

import pandas as pd

from chex.page import Page, Points, Section, Table, write_page


def page(*parts: str | Points | Table, title: str = "T") -> Page:
    return Page(title, "lead", [Section("First & last", parts)])


def test_whatever_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    bad = "<script>alert('x')</script>"
    frame = pd.DataFrame({bad: [bad]})
    html = write_page(page(bad, Points([("mind", bad)]), Table("t", frame, bad), title=bad), tmp_path).read_text()
    assert "<script" not in html
    escaped = html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;")
    assert escaped == len(("title", "h1", "text", "point", "caption", "label of the table", "column", "cell"))


def test_numbers_have_thousands_and_undefined_ones_a_dash(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1234567], "x": [1234.5], "share": [0.25], "none": [float("nan")]})
    html = write_page(page(Table("t", frame, "c", {"share": lambda share: f"{share:.0%}"})), tmp_path).read_text()
    assert [text in html for text in (">1,234,567<", ">1,234.50<", ">25%<", ">-<")] == [True] * 4
    assert (tmp_path / "t.csv").read_text() == "n,x,share,none\n1234567,1234.5,0.25,\n"


def test_a_long_table_is_cut_and_says_where_the_rest_is(tmp_path: Path) -> None:
    html = write_page(page(Table("long", pd.DataFrame({"n": range(1003)}), "c", most=3)), tmp_path).read_text()
    assert html.count("<tr>") == 4
    assert "1,000 more rows are in long.csv." in html
    assert len((tmp_path / "long.csv").read_text().splitlines()) == 1004


def test_a_later_page_removes_what_an_earlier_one_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("mine")
    for names in (("old", "kept"), ("kept", "new")):
        write_page(page(*(Table(name, pd.DataFrame({"n": [1]}), "c") for name in names)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "kept.csv", "new.csv", "notes.csv"]


def test_an_earlier_page_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.csv", tmp_path / "page"
    outside.write_text("mine")
    folder.mkdir()
    (folder / "index.html").write_text('<meta name="beside" content="../outside.csv">')
    write_page(page("x"), folder)
    assert outside.exists()


def test_a_page_may_show_a_table_otherwise_than_its_csv_has_it(tmp_path: Path) -> None:
    frame, shown = pd.DataFrame({"a": [0.25], "low": [0.125]}), pd.DataFrame({"a": [".250 (.125)"]})
    html = write_page(page(Table("t", frame, "c", shown=shown)), tmp_path).read_text()
    assert ".250 (.125)" in html
    assert '<th scope="col">low' not in html
    assert (tmp_path / "t.csv").read_text() == "a,low\n0.25,0.125\n"
