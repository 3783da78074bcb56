"""TensorBoard logs: scalars per trial, and an HParams table with every knob of the space as a column."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from chex.metrics import METRIC
from search.export import trial_folder
from search.ledger import FIGURES, TrialRow
from search.space import Space

NOT_RESULTS = ("percent", "round", "epoch", "micro", "lr")
"""Figures of a report that say where it stands in its run."""


class SearchLogs:
    """Event files of one search below `folder`: one for the table's columns, one a trial."""

    def __init__(self, folder: Path, space: Space):
        self.folder = folder
        self.writers: dict[int, EventFileWriter] = {}
        columns = EventFileWriter(str(folder))
        _add(columns, columns_summary(space))
        columns.close()

    def report(self, row: TrialRow) -> None:
        """Adds the trial's last report, at the step of images seen; its first one brings its knobs."""
        if row.number not in self.writers:
            self.writers[row.number] = EventFileWriter(str(trial_folder(self.folder, row.number)))
            _add(self.writers[row.number], hparams.hparams_pb(_plain_knobs(row), trial_id=f"trial {row.number}"))
        _add(self.writers[row.number], scalars_summary(row.report), step=int(row.report["images_seen"]))
        self.writers[row.number].flush()

    def end(self, row: TrialRow) -> None:
        """Closes the trial's row of the table and its file."""
        writer = self.writers.pop(row.number, None)
        if writer:
            _add(writer, end_summary(failed=row.state == "failed"))
            writer.close()

    def close(self) -> None:
        """Closes what is still open."""
        for writer in self.writers.values():
            writer.close()


def columns_summary(space: Space) -> summary_pb2.Summary:
    """Which knobs and metrics the HParams table has: every knob of the space, METRIC first among the metrics."""
    columns = [hparams.HParam(path, _domain(knob.domain)) for path, knob in space.items()]
    figures = [METRIC, *(name for name in FIGURES if name not in (METRIC, *NOT_RESULTS))]
    metrics = [hparams.Metric(name, display_name=name.replace("_", " ")) for name in figures]
    return hparams.hparams_config_pb(columns, metrics)


def scalars_summary(report: Mapping[str, Any]) -> summary_pb2.Summary:
    """The report's defined figures as scalars."""
    return summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(tag=name, simple_value=value)
            for name, value in report.items()
            if isinstance(value, int | float) and math.isfinite(value)
        ]
    )


def end_summary(failed: bool) -> summary_pb2.Summary:
    """What closes a row of the HParams table."""
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    value = summary_pb2.Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    return summary_pb2.Summary(value=[value])


def _add(writer: EventFileWriter, summary: summary_pb2.Summary, step: int = 0) -> None:
    writer.add_event(event_pb2.Event(summary=summary, step=step, wall_time=time.time()))


def _domain(domain: BaseDistribution) -> hparams.Domain:
    if isinstance(domain, CategoricalDistribution):
        return hparams.Discrete([_plain(value) for value in domain.choices])
    if isinstance(domain, IntDistribution):
        return hparams.IntInterval(domain.low, domain.high)
    assert isinstance(domain, FloatDistribution)
    return hparams.RealInterval(domain.low, domain.high)


def _plain(value: Any) -> str | bool | int | float:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _plain_knobs(row: TrialRow) -> dict[str, str | bool | int | float]:
    return {path: _plain(value) for path, value in row.knobs.items()}
