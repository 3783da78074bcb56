"""TensorBoard logs of a search: an HParams table, curves and pictures of each trial, films of the best."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.summary.writer.record_writer import RecordWriter

from chex import checkpoint
from chex.atomic import replacing
from chex.config import RunConfig
from chex.console import decimal
from search.export import trial_folder
from search.film_page import ScoredFilms, film_page, open_films
from search.ledger import TrialRow
from search.space import Space
from search.summaries import (
    columns_summary,
    curve_summary,
    end_summary,
    figure_summary,
    outcome_summary,
    picture_summary,
    run_name,
    scalars_summary,
    start_summary,
)
from search.trial_pictures import confusion_picture, roc_picture

FOLDER, BEST_TRIAL, COLUMNS = "tensorboard", "best trial", "columns.tfevents"
"""The folder of all event files in a search's own, the run below it that is of no trial, and its file of columns."""


class SearchLogs:
    """Event files below a search's `folder`, in FOLDER: a run a trial, named after its number and its policies, and
    the run BEST_TRIAL with the films of the best one so far and the columns of the HParams table.

    A search that goes on makes further files: TensorBoard merges those of a folder, and of what is said twice of a
    trial's row it takes the first. `source` and `decoded` are as for `open_films`. A picture that cannot be drawn is
    told on stderr and left out.
    """

    def __init__(self, folder: Path, space: Space, base: RunConfig, source: str | None = None, decoded: bool = True):
        self.folder, self.space = folder, space
        self.observations = base.data.observations
        self.writers: dict[int, EventFileWriter] = {}
        self.leading: EventFileWriter | None = None
        self.films: ScoredFilms | None = None
        with _warned("the films of the best trial"):
            self.films = open_films(base, source, decoded)
        _write_columns(folder / FOLDER / BEST_TRIAL / COLUMNS, columns_summary(space, self.observations))

    def report(self, row: TrialRow) -> None:
        """Adds the trial's last report, at the step of images seen; its first one opens the trial's row."""
        writer = self._writer(row)
        _add(writer, scalars_summary(row.report), _step(row))
        writer.flush()

    def end(self, row: TrialRow) -> None:
        """Closes the trial's row of the table and its file, after curves and pictures of its predictions."""
        if row.number not in self.writers and row.report:
            self.report(row)
        writer = self._writer(row)
        predictions = trial_folder(self.folder, row.number) / checkpoint.PREDICTIONS
        if predictions.exists() or row.state != "failed":
            with _warned(f"the pictures of trial {row.number}"):
                for summary in self._pictures(predictions):
                    _add(writer, summary, _step(row))
        _add(writer, outcome_summary(row), _step(row))
        _add(writer, end_summary(failed=row.state == "failed"))
        self.writers.pop(row.number).close()

    def lead(self, row: TrialRow) -> None:
        """Shows the films that the ended trial is surest of as those of the best so far."""
        if self.films is None:
            return
        with _warned(f"the films of trial {row.number}"):
            predictions = trial_folder(self.folder, row.number) / checkpoint.PREDICTIONS
            _, truth, probability = checkpoint.load_predictions(predictions, self.observations)
            title = f"Trial {row.number}, validation AUROC {decimal(row.value)}: the films that it is surest of"
            page = film_page(self.films, title, self.observations, truth, probability)
            self.leading = self.leading or EventFileWriter(str(self.folder / FOLDER / BEST_TRIAL))
            about = "Validation films that the best trial so far is surest of, right and wrong. Step: the trial."
            _add(self.leading, picture_summary("films", page, about), row.number)
            self.leading.flush()

    def close(self) -> None:
        """Closes what is still open."""
        for writer in [*self.writers.values(), *([self.leading] if self.leading else [])]:
            writer.close()

    def _writer(self, row: TrialRow) -> EventFileWriter:
        if row.number not in self.writers:
            writer = self.writers[row.number] = EventFileWriter(str(self.folder / FOLDER / run_name(row)))
            if "images_seen" in row.report:  # what an earlier file says from here on is said anew
                log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                writer.add_event(event_pb2.Event(session_log=log, step=_step(row), wall_time=time.time()))
            _add(writer, start_summary(row, self.space))
        return self.writers[row.number]

    def _pictures(self, predictions: Path) -> Iterator[summary_pb2.Summary]:
        names = self.observations
        _, truth, probability = checkpoint.load_predictions(predictions, names)
        for k, name in enumerate(names):
            yield curve_summary(name, truth[:, k], probability[:, k])
        about = "Validation films, weights of the trial's best report."
        yield figure_summary("validation/ROC", roc_picture(names, truth, probability), about)
        yield figure_summary("validation/confusion", confusion_picture(names, truth, probability), about)


@contextmanager
def _warned(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is, hours of training are worth more than a picture
        print(f"TensorBoard will not show {what}: {type(error).__name__}: {error}", file=sys.stderr)


def _step(row: TrialRow) -> int:
    return int(row.report.get("images_seen", 0))


def _write_columns(path: Path, summary: summary_pb2.Summary) -> None:
    """Writes an event file of a fixed name, whole, so that a search that goes on does not say it again."""
    if path.exists():
        return
    events = [event_pb2.Event(file_version="brain.Event:2"), event_pb2.Event(summary=summary)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside, beside.open("wb") as file:
        writer = RecordWriter(file)
        for event in events:
            event.wall_time = time.time()
            writer.write(event.SerializeToString())


def _add(writer: EventFileWriter, summary: summary_pb2.Summary, step: int = 0) -> None:
    writer.add_event(event_pb2.Event(summary=summary, step=step, wall_time=time.time()))
