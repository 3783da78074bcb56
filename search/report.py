"""The last screen of a search: tables first, then the winner with its AUROC, and at the very end what to type next."""

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from chex.atomic import write_text
from chex.checkpoint import WEIGHTS
from chex.console import decimal
from chex.train import scored_as
from search.export import BEST, TRIALS
from search.ledger import Among, TrialRow, best_by, winner
from search.predictions import load_predictions
from search.progress import shown
from search.relabelling import told_costs
from search.search_config import SearchConfig
from search.study import PAGE, REPORT
from search.tensorboard import FOLDER as TENSORBOARD
from search.verdict import Verdict, backbone_sizes, categorical, judge
from search.verdict_text import WIDTH, sentences, unproven


def conclude(rows: Sequence[TrialRow], folder: Path, search: SearchConfig) -> str | None:
    """Judges ended trials, writes what that showed into `folder` and returns it; None if all trials failed.

    The text names no place, for the folder may be moved or copied; `places` does.
    """
    if winner(rows) is None:
        return None
    knobs = categorical(search.knobs())
    verdict = judge(rows, load_predictions(folder), knobs, search.base.seed, backbone_sizes(rows))
    if verdict is None:
        return None
    text = report(verdict, rows, search.first_point() is not None, told_costs(folder), scored_as(search.base))
    write_text(folder / REPORT, text + "\n")
    return text


def report(
    verdict: Verdict,
    rows: Sequence[TrialRow],
    baseline: bool,
    costs: Sequence[str] = (),
    unit: str = "films",
) -> str:
    """What the search showed, as text; what matters most comes last, where a small screen still has it.

    `baseline`: trial 1 was the base run itself; `costs`: lines on what else was spent; `unit`: what was scored.
    """
    winner = next(row for row in rows if row.number == verdict.winner)
    counts = f"{len(rows)} trials, {verdict.stopped} stopped early, {verdict.failed} failed"
    return "\n".join(
        [
            *_policies(rows),
            *costs,
            *unproven(verdict, unit),
            "",
            f"Best config: trial {verdict.winner} of {counts}",
            *_config(winner),
            *sentences(verdict, unit),
            *(_baseline(verdict, rows[0]) if baseline else []),
        ]
    )


def places(folder: Path) -> str:
    """Where the files of the search in `folder` are, and what to type next, in lines of WIDTH where paths are short."""
    here = shlex.quote(str(_near(folder)))
    board = shlex.quote(str(_near(folder) / TENSORBOARD))
    best = shlex.quote(str(_near(folder) / BEST))
    commands = {
        f"{command('tensorboard')} --logdir {board}": "curves and the HParams table",
        f"{command('chex')} train {best}": "the winner again, without Ray",
        f"{command('chex-search')} export {here} OUT": "the winner with a model card",
        f"{command('chex-search')} verdict {here}": "all that the trials prove",
    }
    column = max(map(len, commands)) + 3
    fits = 2 + column + 2 + max(map(len, commands.values())) <= WIDTH
    lines = [f"  {typed:<{column}}# {what}" if fits else f"  {typed}" for typed, what in commands.items()]
    files = f"{PAGE} (all of it in pictures, for a browser), {BEST} and {WEIGHTS} (the winner), {TRIALS}"
    return "\n".join([f"In {_near(folder)}:", *textwrap.wrap(files, WIDTH), "Next:", *lines])


def _config(winner: TrialRow) -> list[str]:
    """The winner's values, as many a line as there is room for."""
    values = ",  ".join(f"{path} {shown(value)}".replace(" ", "\0") for path, value in winner.knobs.items())
    indent = "  "
    lines = textwrap.wrap(values, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    return [line.replace("\0", " ") for line in lines]


def _baseline(verdict: Verdict, first: TrialRow) -> list[str]:
    if verdict.winner == first.number:
        return ["That is the base config itself: no other trial did better."]
    how = "" if first.state == "finished" else f" ({first.state} at {first.percent} %)"
    return [f"The base config, trial 1, reached {decimal(first.value)}{how}."]


def _policies(rows: Sequence[TrialRow]) -> list[str]:
    paths = dict.fromkeys(path for row in rows for path in row.knobs if path.count(".") == 1 and path[:7] == "policy.")
    found = {path.removeprefix("policy."): best_by(rows, path) for path in paths}
    if "default" in found and len(found["default"]) > 1:
        each = (
            f"  {name:<24}{decimal(them.best)}   {them.finished} of {them.trials} finished"
            for name, them in found.pop("default").items()
        )
        return ["Best finished trial of each policy:", *each, "", *_by_observation(found)]
    return _by_observation(found)


def _by_observation(found: dict[str, dict[str, Among]]) -> list[str]:
    lines = [f"  {name:<24}{_ranked(policies)}" for name, policies in found.items() if len(policies) > 1]
    return ["Best finished trial by an observation's policy (finished of tried):", *lines, ""] if lines else []


def _ranked(policies: dict[str, Among]) -> str:
    order = sorted(policies.items(), key=lambda item: -item[1].best if item[1].finished else 1)
    return "   ".join(f"{name} {decimal(them.best)} ({them.finished} of {them.trials})" for name, them in order)


def command(name: str) -> str:
    """How the user can type a command of this environment: by its name if that is on the PATH, else by its path."""
    ours = Path(sys.executable).parent / name
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).resolve() == ours.resolve() else str(_near(ours))


def _near(path: Path) -> Path:
    here = Path(os.path.relpath(path))
    return path if here.parts[:2] == ("..", "..") else here
