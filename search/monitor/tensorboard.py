"""Writes TensorBoard logs of a search: HParams table, curves and figures of each trial, images of the best trial."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.summary.writer.record_writer import RecordWriter

from chex.config import RunConfig
from chex.data import prediction_files
from chex.reporting.console import format_decimal
from chex.runtime import run_folder
from chex.runtime.atomic_io import atomic_write
from search.monitor.image_grid import ScoredImages, image_grid, open_scored_images
from search.monitor.tensorboard_summaries import (
    columns_summary,
    end_summary,
    figure_summary,
    image_summary,
    outcome_summary,
    pr_curve_summary,
    run_name,
    scalars_summary,
    start_summary,
)
from search.monitor.trial_plots import confusion_figure, roc_figure
from search.space.space import Space
from search.trials.layout import trial_folder
from search.trials.trial import TrialRecord

FOLDER, BEST_TRIAL, COLUMNS_FILE = "tensorboard", "best trial", "columns.tfevents"
"""The folder of event files; below it, the name of the run for the best trial; that run's file of HParams columns."""


class SearchLogs:
    """Writes event files into FOLDER of a search's `folder`: a run per trial, named after its number and policies, and
    the run BEST_TRIAL with images of the best trial so far and the columns of the HParams table.

    A resumed search writes further files: TensorBoard merges the files of a folder, and if a row of the HParams table
    was written twice, it uses the first. `data_uri` and `decoded` are those of `open_scored_images`. If a figure cannot
    be drawn, a warning is printed on stderr and the figure is omitted.
    """

    def __init__(self, folder: Path, space: Space, base: RunConfig, data_uri: str | None = None, decoded: bool = True):
        self.folder, self.space = folder, space
        self.observations = base.data.observations
        self.writers: dict[int, EventFileWriter] = {}
        self.best_writer: EventFileWriter | None = None
        self.scored_images: ScoredImages | None = None
        with _warn_on_error("the images of the best trial"):
            self.scored_images = open_scored_images(base, data_uri, decoded)
        _write_columns(folder / FOLDER / BEST_TRIAL / COLUMNS_FILE, columns_summary(space, self.observations))

    def report(self, row: TrialRecord) -> None:
        """Adds the trial's last report, with the images seen as step; the first report opens the trial's row."""
        writer = self._writer(row)
        _add_summary(writer, scalars_summary(row.report), _images_seen(row))
        writer.flush()

    def end(self, row: TrialRecord) -> None:
        """Adds curves and figures of the trial's predictions, then closes its row of the table and its file."""
        if row.number not in self.writers and row.report:
            self.report(row)
        writer = self._writer(row)
        predictions = trial_folder(self.folder, row.number) / run_folder.PREDICTIONS
        if predictions.exists() or row.state != "failed":
            with _warn_on_error(f"the figures of trial {row.number}"):
                for summary in self._prediction_summaries(predictions):
                    _add_summary(writer, summary, _images_seen(row))
        _add_summary(writer, outcome_summary(row), _images_seen(row))
        _add_summary(writer, end_summary(failed=row.state == "failed"))
        self.writers.pop(row.number).close()

    def show_best(self, row: TrialRecord) -> None:
        """Shows the most confident predictions of an ended trial, the best so far."""
        if self.scored_images is None:
            return
        with _warn_on_error(f"the images of trial {row.number}"):
            predictions = trial_folder(self.folder, row.number) / run_folder.PREDICTIONS
            _, truth, probability = prediction_files.load_predictions(predictions, self.observations)
            title = f"Trial {row.number}, validation AUROC {format_decimal(row.value)}: most confident predictions"
            grid = image_grid(self.scored_images, title, self.observations, truth, probability)
            self.best_writer = self.best_writer or EventFileWriter(str(self.folder / FOLDER / BEST_TRIAL))
            description = (
                "Validation images with the best trial's most confident predictions, right and wrong. Step: trial."
            )
            _add_summary(self.best_writer, image_summary("images", grid, description), row.number)
            self.best_writer.flush()

    def close(self) -> None:
        """Closes all open files."""
        for writer in [*self.writers.values(), *([self.best_writer] if self.best_writer else [])]:
            writer.close()

    def _writer(self, row: TrialRecord) -> EventFileWriter:
        if row.number not in self.writers:
            writer = self.writers[row.number] = EventFileWriter(str(self.folder / FOLDER / run_name(row)))
            if "images_seen" in row.report:  # TensorBoard then drops later steps of an earlier file
                log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                writer.add_event(event_pb2.Event(session_log=log, step=_images_seen(row), wall_time=time.time()))
            _add_summary(writer, start_summary(row, self.space))
        return self.writers[row.number]

    def _prediction_summaries(self, predictions: Path) -> Iterator[summary_pb2.Summary]:
        names = self.observations
        _, truth, probability = prediction_files.load_predictions(predictions, names)
        for k, name in enumerate(names):
            yield pr_curve_summary(name, truth[:, k], probability[:, k])
        description = "Validation images, weights of the trial's best report."
        yield figure_summary("validation/ROC", roc_figure(names, truth, probability), description)
        yield figure_summary("validation/confusion", confusion_figure(names, truth, probability), description)


@contextmanager
def _warn_on_error(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a failed figure must not end hours of training
        print(f"TensorBoard does not show {what}: {type(error).__name__}: {error}", file=sys.stderr)


def _images_seen(row: TrialRecord) -> int:
    return int(row.report.get("images_seen", 0))


def _write_columns(path: Path, summary: summary_pb2.Summary) -> None:
    """Writes an event file with a fixed name, atomically; a resumed search does not write it again."""
    if path.exists():
        return
    events = [event_pb2.Event(file_version="brain.Event:2"), event_pb2.Event(summary=summary)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        writer = RecordWriter(file)
        for event in events:
            event.wall_time = time.time()
            writer.write(event.SerializeToString())


def _add_summary(writer: EventFileWriter, summary: summary_pb2.Summary, step: int = 0) -> None:
    writer.add_event(event_pb2.Event(summary=summary, step=step, wall_time=time.time()))
