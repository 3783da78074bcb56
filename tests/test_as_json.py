"""What `--json` prints, by the names that programs rely on."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search.as_json import standing_record, text, verdict_record
from search.command import main
from search.export import TRIALS, write_trials
from search.status import stands
from search.verdict import Verdict, load_judged
from tests.made_search import made_search

SCHEMA = {
    "format": int,
    "search": str,
    "scored": {"what": str, "units": int, "patients": int},
    "counts": {"finished": int, "stopped": int, "failed": int, "unfinished": int},
    "reports": int,
    "winner": {
        "trial": int,
        "auroc": float,
        "auroc_low": float,
        "auroc_high": float,
        "expected": float,
        "expected_low": float,
        "expected_high": float,
        "observations": [
            {"observation": str, "positives": int, "auroc": float, "auroc_low": float, "auroc_high": float}
        ],
    },
    "may_be_best": [int],
    "cheapest": {"trial": int, "images_seen": int},
    "trials": [{"trial": int, "images_seen": int, "auroc": float, "auroc_low": float, "auroc_high": float}],
    "pairs": [
        {
            "knob": str,
            "first": str,
            "second": str,
            "first_trials": int,
            "second_trials": int,
            "outcome": str,
            "difference": (float, type(None)),
            "difference_low": (float, type(None)),
            "difference_high": (float, type(None)),
            "confidence": float,
            "best_difference": (float, type(None)),
            "verdict": str,
        }
    ],
    "importances": type(None),
    "ensemble": type(None),
    "sentences": [str],
    "not_proven": [str],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made_search(found := tmp_path_factory.mktemp("results") / "made", 7)
    return found


@pytest.fixture(scope="module")
def verdict(folder: Path) -> Verdict:
    return load_judged(folder)


def check(value: Any, schema: Any, where: str = "") -> None:
    if isinstance(schema, dict):
        assert set(value) == set(schema), where
        for name, own in schema.items():
            check(value[name], own, f"{where}.{name}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        for each in value:
            check(each, schema[0], f"{where}[]")
    else:
        assert isinstance(value, schema), (where, value)


def strict(shown: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(shown, parse_constant=refuse)


def test_a_verdict_has_these_names_and_no_nan(verdict: Verdict) -> None:
    found = strict(text(verdict_record("made", verdict, "films")))
    check(found, SCHEMA)
    assert found["winner"]["trial"] == verdict.winner
    assert found["winner"]["auroc"] == verdict.naive.value
    own = next(trial for trial in found["trials"] if trial["trial"] == verdict.winner)
    ends = ("auroc", "auroc_low", "auroc_high")
    assert [own[name] for name in ends] == [found["winner"][name] for name in ends]
    assert len(found["pairs"]) == 4  # three of the policies, one of the backbones
    assert any(pair["difference"] is None for pair in found["pairs"])  # too few trials: NaN


def test_how_a_search_stands_has_the_columns_of_trials_csv(folder: Path, tmp_path: Path) -> None:
    found = stands(folder)
    record = strict(text(standing_record("made", found)))
    write_trials(tmp_path, found.rows)
    table = pd.read_csv(tmp_path / TRIALS)
    assert list(record["trials"][0]) == list(table.columns)
    assert [trial["trial"] for trial in record["trials"]] == table["trial"].tolist()
    assert record["trials"][0]["policy.default.low"] is None or isinstance(
        record["trials"][0]["policy.default.low"], float
    )
    assert (record["format"], record["search"], record["state"], record["ended"]) == (1, "made", "ended", 7)
    assert record["best"]["best_auroc"] == max(row.value for row in found.rows if row.value == row.value)
    assert record["budget"]["trials"] == 7


def test_status_prints_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(folder), "--json"]) == 0
    assert strict(capsys.readouterr().out)["told"] == "at its end: all 7 trials have been tried"


def test_infinities_are_null_and_texts_are_kept_as_they_are() -> None:
    assert strict(text({"a": [float("nan"), float("inf"), 1.5], "b": Path("x"), "ö": None})) == {
        "a": [None, None, 1.5],
        "b": "x",
        "ö": None,
    }
