"""The output of `--json`, by the names that programs rely on."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search.analysis.verdict import Verdict, load_analyzed
from search.command import main
from search.monitor.as_json import status_record, to_json, verdict_record
from search.monitor.status import read_status
from search.trials.artifacts import write_trials
from search.trials.layout import TRIALS
from tests.made_search import made_search

SCHEMA = {
    "format": int,
    "search": str,
    "scored": {"what": str, "units": int, "patients": int},
    "counts": {"finished": int, "pruned": int, "failed": int, "unfinished": int},
    "reports": int,
    "winner": {
        "trial": int,
        "auroc": float,
        "auroc_low": float,
        "auroc_high": float,
        "expected": float,
        "expected_low": float,
        "expected_high": float,
        "retrained": float,
        "retrained_low": float,
        "retrained_high": float,
        "observations": [
            {"observation": str, "positives": int, "auroc": float, "auroc_low": float, "auroc_high": float}
        ],
    },
    "may_be_best": [int],
    "cheapest": {"trial": int, "images_seen": int},
    "trials": [{"trial": int, "images_seen": int, "auroc": float, "auroc_low": float, "auroc_high": float}],
    "values": [
        {
            "parameter": str,
            "value": str,
            "outcome": str,
            "trials": int,
            "finished": int,
            "reference": str,
            "difference": float,
            "difference_low": float,
            "difference_high": float,
            "over_others": float,
            "over_others_low": float,
            "over_others_high": float,
            "probability_best": float,
            "may_be_best": bool,
            "proven": str,
        }
    ],
    "numbers": [{"parameter": str, "slope": float, "slope_low": float, "slope_high": float, "proven": str}],
    "importances": type(None),
    "ensemble": type(None),
    "sentences": [str],
    "not_proven": [str],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made_search(record := tmp_path_factory.mktemp("results") / "made", 7)
    return record


@pytest.fixture(scope="module")
def verdict(folder: Path) -> Verdict:
    return load_analyzed(folder)


def check_schema(value: Any, schema: Any, path: str = "") -> None:
    if isinstance(schema, dict):
        assert set(value) == set(schema), path
        for name, winner in schema.items():
            check_schema(value[name], winner, f"{path}.{name}")
    elif isinstance(schema, list):
        assert isinstance(value, list), path
        for each in value:
            check_schema(each, schema[0], f"{path}[]")
    else:
        assert isinstance(value, schema), (path, value)


def parse_strict(content: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(content, parse_constant=refuse)


def test_a_verdict_has_these_names_and_no_nan(verdict: Verdict) -> None:
    record = parse_strict(to_json(verdict_record("made", verdict, "images")))
    check_schema(record, SCHEMA)
    assert record["winner"]["trial"] == verdict.winner
    assert record["winner"]["auroc"] == verdict.naive_auroc.value
    winner = next(trial for trial in record["trials"] if trial["trial"] == verdict.winner)
    ends = ("auroc", "auroc_low", "auroc_high")
    assert [winner[name] for name in ends] == [record["winner"][name] for name in ends]
    assert {each["parameter"] for each in record["values"]} == {"policy.default", "model.backbone"}
    assert [each["parameter"] for each in record["numbers"]] == [
        "policy.default.low",
        "optimizer.lr",
        "schedule.epochs",
    ]


def test_the_status_of_a_search_has_the_columns_of_trials_csv(folder: Path, tmp_path: Path) -> None:
    status = read_status(folder)
    record = parse_strict(to_json(status_record("made", status)))
    write_trials(tmp_path, status.rows)
    table = pd.read_csv(tmp_path / TRIALS)
    assert list(record["trials"][0]) == list(table.columns)
    assert [trial["trial"] for trial in record["trials"]] == table["trial"].tolist()
    assert record["trials"][0]["policy.default.low"] is None or isinstance(
        record["trials"][0]["policy.default.low"], float
    )
    assert (record["format"], record["search"], record["state"], record["ended"]) == (3, "made", "ended", 7)
    assert record["best"]["best_auroc"] == max(row.value for row in status.rows if row.value == row.value)
    assert record["budget"]["trials"] == 7


def test_the_command_prints_the_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(folder), "--json"]) == 0
    assert parse_strict(capsys.readouterr().out)["message"] == "ended: all 7 trials have been tried"


def test_infinities_are_null_and_texts_are_unchanged() -> None:
    assert parse_strict(to_json({"a": [float("nan"), float("inf"), 1.5], "b": Path("x"), "ö": None})) == {
        "a": [None, None, 1.5],
        "b": "x",
        "ö": None,
    }
