"""Writes the last screen of a search: tables, then the winner with its AUROC, then the next commands."""

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from chex.reporting.console import format_decimal
from chex.runtime import run_folder
from chex.runtime.atomic_io import write_csv, write_text
from chex.runtime.run_folder import WEIGHTS
from chex.training.preflight import evaluation_note
from chex.training.relabel import teacher_cost
from search.analysis.verdict import Verdict, analyze_search
from search.analysis.verdict_text import WIDTH, policies, sentences, unproven
from search.config.search_config import SearchConfig
from search.monitor.tensorboard import FOLDER as TENSORBOARD
from search.trials.layout import BEST, PAGE, REPORT, STRATEGIES, TABLES_FOLDER, TRIALS
from search.trials.trial import TrialRecord, winner
from search.trials.trial_text import format_value


def finish_search(rows: Sequence[TrialRecord], folder: Path, search: SearchConfig) -> str | None:
    """Analyses ended trials, writes strategies.csv and the report into `folder`, and returns the report.

    Returns None if no trial has a result. The text has no paths, because the folder may be moved or copied;
    `files_and_commands` has them.
    """
    if winner(rows) is None:
        return None
    verdict = analyze_search(search, rows, folder)
    if verdict is None:
        return None
    text = format_report(
        verdict, rows, search.base_params() is not None, teacher_lines(folder), evaluation_note(search.base)
    )
    write_csv(folder / STRATEGIES, verdict.strategies.table())
    write_text(folder / REPORT, text + "\n")
    return text


def format_report(
    verdict: Verdict,
    rows: Sequence[TrialRecord],
    baseline: bool,
    costs: Sequence[str] = (),
    unit: str = "images",
) -> str:
    """Returns the results as text; the most important ones are last, where a small screen still shows them.

    `baseline` says that trial 1 is the base run; `costs` are lines on training other than that of trials, for example a
    teacher's; `unit` is the name of the scored units.
    """
    winner = next(row for row in rows if row.number == verdict.winner)
    counts = f"{len(rows)} trials, {verdict.pruned} pruned, {verdict.failed} failed"
    return "\n".join(
        [
            *costs,
            *unproven(verdict, unit),
            "",
            *([*lines, ""] if (lines := policies(verdict.strategies)) else []),
            f"Best config: trial {verdict.winner} of {counts}",
            *_format_params(winner),
            *sentences(verdict, unit),
            *(_describe_base_run(verdict, rows[0]) if baseline else []),
        ]
    )


def files_and_commands(folder: Path) -> str:
    """Returns where the search's files are and the next commands, at most WIDTH wide if paths are short."""
    folder_arg = shlex.quote(str(_shorten_path(folder)))
    tensorboard_arg = shlex.quote(str(_shorten_path(folder) / TENSORBOARD))
    best_arg = shlex.quote(str(_shorten_path(folder) / BEST))
    commands = {
        f"{command_name('tensorboard')} --logdir {tensorboard_arg}": "curves and the HParams table",
        f"{command_name('chex')} train {best_arg}": "train the winner again, without Ray",
        f"{command_name('chex-search')} export {folder_arg} OUT": "write the winner with a model card",
        f"{command_name('chex-search')} verdict {folder_arg}": "the full statistical analysis",
    }
    column = max(map(len, commands)) + 3
    fits_width = 2 + column + 2 + max(map(len, commands.values())) <= WIDTH
    lines = [f"  {typed:<{column}}# {purpose}" if fits_width else f"  {typed}" for typed, purpose in commands.items()]
    files = f"{PAGE} (the report, for a browser), {BEST} and {WEIGHTS} (the winner), {TRIALS}, {STRATEGIES}"
    return "\n".join([f"In {_shorten_path(folder)}:", *textwrap.wrap(files, WIDTH), "Next:", *lines])


def _format_params(winner: TrialRecord) -> list[str]:
    """Returns the winner's parameters and values, wrapped at WIDTH characters."""
    values = ",  ".join(f"{path} {format_value(value)}".replace(" ", "\0") for path, value in winner.params.items())
    indent = "  "
    lines = textwrap.wrap(values, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    return [line.replace("\0", " ") for line in lines]


def _describe_base_run(verdict: Verdict, first: TrialRecord) -> list[str]:
    if verdict.winner == first.number:
        return ["This is the base config: no other trial reached a higher AUROC."]
    outcome = "" if first.state == "finished" else f" ({first.state} at {first.percent} %)"
    return [f"The base config, trial 1, reached {format_decimal(first.value)}{outcome}."]


def command_name(name: str) -> str:
    """Returns how to call a command of this environment: its name if that is on the PATH, else its path."""
    executable = Path(sys.executable).parent / name
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).resolve() == executable.resolve() else str(_shorten_path(executable))


def _shorten_path(path: Path) -> Path:
    folder_arg = Path(os.path.relpath(path))
    return path if folder_arg.parts[:2] == ("..", "..") else folder_arg


def teacher_lines(folder: Path) -> list[str]:
    """Returns a line per teacher that the search in `folder` trained, with its AUROC and cost."""
    teacher_folder = folder / TABLES_FOLDER / "self_trained"
    trained = (teacher_folder / run_folder.REPORTS).exists()
    return [f"Trained once for self_trained: {teacher_cost(teacher_folder)}."] if trained else []
