"""Kills searches again and again, at random moments, and looks whether each ends as one that was left in peace.

    python tests/bench/kill_search.py KILLS SEED [FOLDER]

In turn it kills (SIGKILL) the command, a trial's process, and everything that Ray runs; presses Ctrl-C; and kills all
together, as the machine's end would, with Ray's note of a cluster left behind. After each, but for a trial's process,
`chex-search resume` goes on. Everything runs on one CPU, so one trial at a time. Prints a line a kill and a table, and
last a line of JSON: kills, reports lost, reports trained twice, and whether all files are equal to those of the search
left in peace, seconds apart.
"""

import json
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chex.runtime import run_folder

os.environ["HF_HUB_OFFLINE"] = "1"

import optuna
import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from chex.models import checkpoint
from chex.statistics.metrics import METRIC
from search.trials.layout import BEST, CONFIG, STUDY, TRIALS, trial_folder
from search.trials.study_store import STATES
from tests.bench.processes import family, title
from tests.conftest import TREE, write_split

KINDS = ("command", "trial", "Ctrl-C", "Ray", "machine")
PHASES = ("before trial 1", "training", "between")
TRIAL_PROCESS = re.compile(r"ray::(ImplicitFunc|train_trial)")
LONGEST = 180
"""Seconds that anything waited for may take."""
START_SECONDS, REPORT_SECONDS = 15.0, 0.6
"""About how long a search takes to its first report, and from report to report: a kill falls anywhere in between."""
NAME = "tiny"

Reports = dict[tuple[int, int], float]
"""By trial and step, the seconds that the report says: they differ where it was trained again."""


@dataclass
class Kill:
    """One kill and what came of it."""

    kind: str
    phase: str
    at: float
    """Of the monotonic clock."""
    before: Reports
    """What the book held."""
    ending: float = 0.0
    """Seconds until the command was gone."""
    recovery: float | None = None
    """Seconds until the next new report, or the end of the search; None where the next kill came before."""
    lost: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)


def tiny(folder: Path) -> Path:
    """Writes a search of 6 trials of up to 8 reports and its images, some with the wrong label; returns its file.

    Two observations have the same labels and a policy each.
    """
    train = write_split(folder / TREE, "train", range(1, 13), uncertain_every=5)
    table = write_split(folder / TREE, "valid", range(101, 113))
    wrong = table.index % 5 == 0
    table.loc[wrong, "Cardiomegaly"] = (1 - table.loc[wrong, "Cardiomegaly"].astype(float)).astype(str)
    for split, labels in (("train", train), ("valid", table)):
        labels["Edema"] = labels["Cardiomegaly"]
        labels.to_csv(folder / TREE / f"{split}.csv", index=False)
    search = {
        "base": {
            "data": {"root": str(folder / TREE), "observations": ["Cardiomegaly", "Edema"]},
            "image": {"size": 32, "cache_dir": str(folder / "cache")},
            "model": {"backbone": "test_resnet", "dropout": 0.2},
            "batches": {"size": 8},
            "schedule": {"epochs": 24},
            "reports": 8,
            "device": {"amp": "off"},
        },
        "space": {
            "policy.Cardiomegaly": {"choice": ["zeros", "ones", "ignore"]},
            "policy.Edema": {"choice": ["zeros", "ones", "ignore"]},
            "optimizer.lr": {"loguniform": [1e-5, 1e-1]},
        },
        "sampler": {"kind": "by_observation", "n_startup_trials": 2},
        "pruning": {"grace_period": 25, "reduction_factor": 2},
        "resources": {"cpus_per_trial": 1},
        "budget": {"trials": 5},
    }
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(search), encoding="utf-8")
    return folder / f"{NAME}.yaml"


class Command:
    """A `chex-search` under way, in a process group of its own, as a terminal starts it."""

    def __init__(self, arguments: list[str], log: Path, scratch: Path):
        here = Path(__file__).parents[2]
        cpu = max(os.sched_getaffinity(0))
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(cpu), sys.executable, "-m", "search", *arguments],
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONPATH": str(here), "RAY_TMPDIR": str(scratch)},
                start_new_session=True,
            )

    def family(self) -> list[int]:
        """The processes that it started, and those started by them."""
        return family(self.process.pid)

    def trial(self) -> int | None:
        """The process of the trial under way."""
        return next((pid for pid in self.family() if TRIAL_PROCESS.match(title(pid))), None)

    def ended(self) -> bool:
        return self.process.poll() is not None

    def last_words(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace").strip()


def main(kills: int, seed: int, folder: Path, scratch: Path) -> bool:
    config, draw = tiny(folder), random.Random(seed)
    peace = folder / "peace" / NAME
    command = Command(_run(config, peace), folder / "peace.log", scratch)
    _wait(command.ended, "the undisturbed search to end")
    assert command.process.returncode == 0, command.last_words()
    done: list[Kill] = []
    unlike: list[str] = []
    searches = 0
    while len(done) < kills:
        searches += 1
        search = folder / f"search{searches}" / NAME
        done += _disturbed(config, search, draw, scratch, kills - len(done), len(done))
        unlike += [f"search {searches}: {what}" for what in differences(search, peace)]
    wrong = unlike + [what for kill in done for what in kill.wrong]
    _show(done)
    print(*wrong, sep="\n")
    figures = {"kills": len(done), "searches": searches, "seed": seed, "equal": not unlike, "wrong": len(wrong)}
    figures |= {name: sum(getattr(kill, name) for kill in done) for name in ("lost", "repeated")}
    print(json.dumps(figures))
    return not wrong and not figures["lost"] and not figures["repeated"]


def _disturbed(config: Path, search: Path, draw: random.Random, scratch: Path, most: int, nth: int) -> list[Kill]:
    """Runs a search to its end, killed at most `most` times on the way; the kills, the first of which is the `nth`."""
    done: list[Kill] = []
    again: set[tuple[int, int]] = set()
    search.parent.mkdir(parents=True)
    command = Command(_run(config, search), search.parent / "0.log", scratch)
    while True:
        reports, fraction = draw.choice((0, 0, 1, 2, 3, 6)), draw.random()
        kind = KINDS[(nth + len(done)) % len(KINDS)] if len(done) < most else ""
        reached = _moment(command, search, reports, fraction, kind, done[-1] if done else None)
        if done:
            _compare(done[-1], search, again)
        if not reached:
            return done
        kill = Kill(kind, _phase(command, search), time.monotonic(), reports_of(search))
        _kill(command, kill, scratch)
        done.append(kill)
        print(f"kill {nth + len(done):>3} of {kind:<8} {kill.phase:<15} {len(kill.before):>3} reports", flush=True)
        if kind != "trial":
            command = Command(["resume", str(search)], search.parent / f"{len(done)}.log", scratch)


def _moment(command: Command, search: Path, reports: int, fraction: float, kind: str, last: Kill | None) -> bool:
    """Waits for the moment of the next kill; false where the search ended before it, with what it should have said."""
    known = len(reports_of(search))
    deadline = time.monotonic() + LONGEST
    due: float | None = None if reports else time.monotonic() + fraction * START_SECONDS
    while not command.ended():
        now = time.monotonic()
        assert now < deadline, f"no further report in {LONGEST} s: {command.last_words()}"
        found = reports_of(search)
        if len(found) > known:
            deadline = now + LONGEST
        if last and last.recovery is None and len(found) > known:
            last.recovery = now - last.at
        if due is None and len(found) >= known + reports:
            due = now + fraction * REPORT_SECONDS
        begun = command.trial() if kind == "trial" else (search / CONFIG).exists()  # else there is nothing to resume
        if kind and due is not None and now >= due and begun:
            return True
        time.sleep(0.02)
    if last and last.recovery is None:
        last.recovery = time.monotonic() - last.at
    assert command.process.returncode == 0, command.last_words()
    return False


def _kill(command: Command, kill: Kill, scratch: Path) -> None:
    """Kills, and waits until the command is gone."""
    family, driver = command.family(), command.process
    if kill.kind == "trial":
        trial = command.trial()
        if trial:
            os.kill(trial, signal.SIGKILL)
        return
    if kill.kind == "Ctrl-C":
        os.killpg(driver.pid, signal.SIGINT)
    if kill.kind in ("command", "machine"):
        driver.kill()
    if kill.kind in ("Ray", "machine"):
        for pid in family:
            _end(pid)
    if kill.kind == "machine":
        (scratch / "ray").mkdir(exist_ok=True)
        (scratch / "ray" / "ray_current_cluster").write_text("127.0.0.1:6379")
    try:
        driver.wait(LONGEST)
    except subprocess.TimeoutExpired:
        kill.wrong.append(f"{kill.kind}, {kill.phase}: the command still ran after {LONGEST} s")
        driver.kill()
        driver.wait()
    kill.ending = time.monotonic() - kill.at
    if kill.kind in ("Ctrl-C", "Ray"):
        words = command.last_words()
        if driver.returncode not in (0, 130) or "Traceback" in words:
            kill.wrong.append(f"{kill.kind}, {kill.phase}: exit code {driver.returncode}: {words[-600:]}")


def _phase(command: Command, search: Path) -> str:
    trials = _asked(search, "select state from trials")
    if not trials:
        return PHASES[0]
    return PHASES[1] if ("RUNNING",) in trials and command.trial() else PHASES[2]


def _compare(kill: Kill, search: Path, again: set[tuple[int, int]]) -> None:
    """Counts the reports that the kill cost, and those that were trained again for it; `again` gathers the latter."""
    now = reports_of(search)
    kill.lost = len(kill.before.keys() - now.keys())
    trained = Reports()
    for number in {number for number, _ in kill.before}:
        path = trial_folder(search, number) / run_folder.REPORTS
        table = pd.read_csv(path) if path.exists() else pd.DataFrame({"step": [], "seconds": []})
        trained |= {(number, int(row.step)): float(row.seconds) for row in table.itertuples()}
    repeated = {where for where, seconds in kill.before.items() if trained.get(where) != seconds} - again
    kill.repeated = len(repeated)
    again |= repeated


def reports_of(search: Path) -> Reports:
    """Every report in the book."""
    rows = _asked(
        search,
        "select number, value_json from trial_system_attributes join trials using (trial_id) where key like 'report %'",
    )
    told = [(number + 1, json.loads(report)) for number, report in rows]
    return {(number, int(report["step"])): float(report["seconds"]) for number, report in told}


def _asked(search: Path, question: str) -> list[tuple[Any, ...]]:
    if not (search / STUDY).exists():
        return []
    with closing(sqlite3.connect(search / STUDY, timeout=LONGEST)) as book:
        try:
            return book.execute(question).fetchall()
        except sqlite3.OperationalError:  # its tables are still to be made
            return []


def differences(search: Path, peace: Path) -> list[str]:
    """What a disturbed search left that is not as the undisturbed one left it, seconds apart."""
    tables = [TRIALS, *(str(path.relative_to(peace)) for path in sorted(peace.glob(f"trials/*/{run_folder.REPORTS}")))]
    found = [name for name in tables if not _table(search / name).equals(_table(peace / name))]
    files = (BEST, run_folder.PREDICTIONS)
    found += [name for name in files if (search / name).read_bytes() != (peace / name).read_bytes()]
    ours, theirs = (checkpoint.load_weights(folder / run_folder.WEIGHTS) for folder in (search, peace))
    same = ours[0].keys() == theirs[0].keys() and all(tensor.equal(theirs[0][name]) for name, tensor in ours[0].items())
    if not same or ours[1] != theirs[1]:
        found.append(run_folder.WEIGHTS)
    if _study(search) != _study(peace):
        found.append(STUDY)
    trials = pd.read_csv(search / TRIALS)
    told = [(STATES[state], value) for _, state, value, _, _ in _study(search)]
    written = [
        (state, value if state in ("finished", "pruned") else None)
        for state, value in zip(trials["state"], trials[METRIC].astype(float), strict=True)
    ]
    return found if told == written else [*found, f"{STUDY} against {TRIALS}"]


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).drop(columns="seconds") if path.exists() else pd.DataFrame()


def _study(search: Path) -> list[tuple[Any, ...]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{search / STUDY}")
    return [(t.number, t.state, t.value, t.params, t.intermediate_values) for t in study.trials]


def _show(done: list[Kill]) -> None:
    table = Table()
    heads = ("killed", "kills", *PHASES, "lost", "repeated", "s to its end", "s to the next report")
    for name in heads:
        table.add_column(name, justify="left" if name == "killed" else "right")
    for kind in KINDS:
        those = [kill for kill in done if kill.kind == kind]
        phases = [str(sum(kill.phase == phase for kill in those)) for phase in PHASES]
        costs = [str(sum(getattr(kill, name) for kill in those)) for name in ("lost", "repeated")]
        times = [_median([kill.ending for kill in those]), _median([kill.recovery for kill in those if kill.recovery])]
        table.add_row(kind, str(len(those)), *phases, *costs, *times)
    Console(width=120).print(table)


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f}" if seconds else ""


def _run(config: Path, search: Path) -> list[str]:
    return ["run", str(config), "--results", str(search.parent)]


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, f"waited {LONGEST} s for {what}"
        time.sleep(0.05)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores in the background, children too
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryDirectory(prefix="r") as scratch:
        where = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(own)
        sys.exit(not main(int(sys.argv[1]), int(sys.argv[2]), where, Path(scratch)))
