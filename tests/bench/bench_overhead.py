"""What Ray costs: the same trainings, of the demo's size, in a plain loop over fit() and as trials of a search.

    python tests/bench/bench_overhead.py TREE [--rounds 3] [--trials 6] [--epochs 2]

Each side is a process of its own that trains with as many workers and threads as the other; the two take turns. A ratio
is search / plain of one round. `trials` counts from the first training's start to the last one's end; `all` from the
process's start to its exit, imports and Ray's start included. A gap is the time from a training's end to the start of
the next one in the same worker. Ends with the same figures as a line of JSON. The aim: trials at 1.05 or less.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import yaml

DEMO, DEMO_SECONDS = Path("configs/search/demo.yaml"), 300
"""The demo, and about how long it takes on 2 cores."""
HERE = Path(__file__)


@dataclass(frozen=True)
class Leg:
    """One side of one round, in seconds."""

    all: float
    trials: float
    to_first_trial: float
    to_exit: float
    """From the last training's end."""
    gap: float
    """Median; NaN where no worker trained twice."""
    training: float
    """Median of one training."""
    cpu: float
    """Median of one training, of its process: what it works, whoever else works beside it."""


def train(config: dict[str, Any], events: Path) -> None:
    """One training of the plain loop."""
    from chex.config import RunConfig, validate
    from chex.training.run_data import load_run_data
    from chex.training.run_tables import load_run_tables
    from chex.training.trainer import fit

    started, worked = time.time(), time.process_time()
    run = validate(RunConfig, config, "bench_overhead")
    with tempfile.TemporaryDirectory() as folder:
        for _ in fit(run, load_run_data(run, load_run_tables(run)), Path(folder)):
            pass
    tell(events, started, worked)


def tell(events: Path, started: float, worked: float) -> None:
    """Adds a training that ended now to the list of `events`; `worked` is the process's CPU time at its start."""
    told = {"worker": os.getpid(), "start": started, "end": time.time(), "cpu": time.process_time() - worked}
    with events.open("a") as file:
        file.write(json.dumps(told) + "\n")


def plain(configs: list[dict[str, Any]], workers: int, events: Path) -> None:
    """Trains all, each in the next worker that is free."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(train, configs, itertools.repeat(events)))


def searched(search: Path, folder: Path, events: Path) -> None:
    """Runs the search, whose trials are told to `events`. All that is known here of how a search runs."""
    from search.config.search_config import load_search
    from search.engine import runner, tune_experiment

    train_trial = tune_experiment.train_trial

    def timed(config: dict[str, Any], **given: Any) -> None:
        started, worked = time.time(), time.process_time()
        train_trial(config, **given)
        tell(events, started, worked)

    tune_experiment.train_trial = timed
    runner.run_search(load_search(search, [], None), folder, overwrite=False)


def prepared(tree: Path, trials: int, epochs: int) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """A search over seeds alone, the config of each of its trials, and how many run at once; the images decoded."""
    from chex.training.auto import resolve_auto
    from chex.training.run_data import load_run_data
    from chex.training.run_tables import load_run_tables
    from search.config.resources import plan_slots, this_machine
    from search.config.search_config import load_search

    demo = load_search(DEMO, [], tree)
    given = plan_slots(demo.resources, [this_machine()])
    device = demo.base.device.model_copy(update={"kind": "cpu", "threads": given.cpus_per_trial})
    schedule = demo.base.schedule.model_copy(update={"epochs": epochs})
    run = resolve_auto(demo.base.model_copy(update={"device": device, "schedule": schedule}))
    load_run_data(run, load_run_tables(run))
    base = run.model_dump(mode="json")
    search = {
        "base": base,
        "space": {"seed": {"int": [0, trials - 1]}},
        "sampler": {"kind": "grid"},
        "budget": {"trials": trials},
        "pruning": None,
        "resources": demo.resources.model_dump(),
    }
    return search, [base | {"seed": seed} for seed in range(trials)], given.max_concurrent_trials


def leg(side: str, scratch: Path, number: int) -> Leg:
    """Runs one side in a process of its own."""
    events = scratch / f"{side}-{number}.jsonl"
    started = time.time()
    subprocess.run([sys.executable, str(HERE), side, str(scratch), str(number)], check=True, capture_output=True)
    ended = time.time()
    told = [json.loads(line) for line in events.read_text().splitlines()]
    first, last = min(each["start"] for each in told), max(each["end"] for each in told)
    gaps = []
    for worker in {each["worker"] for each in told}:
        own = sorted((each for each in told if each["worker"] == worker), key=lambda each: each["start"])
        gaps += [after["start"] - before["end"] for before, after in itertools.pairwise(own)]
    return Leg(
        all=ended - started,
        trials=last - first,
        to_first_trial=first - started,
        to_exit=ended - last,
        gap=statistics.median(gaps) if gaps else float("nan"),
        training=statistics.median(each["end"] - each["start"] for each in told),
        cpu=statistics.median(each["cpu"] for each in told),
    )


def side(name: str, scratch: Path, number: int) -> None:
    """What a leg's process does."""
    about = json.loads((scratch / "about.json").read_text())
    events = scratch / f"{name}-{number}.jsonl"
    if name == "plain":
        plain(about["configs"], about["workers"], events)
    else:
        searched(scratch / "search.yaml", scratch / f"results-{number}", events)


def main(tree: Path, rounds: int, trials: int, epochs: int) -> None:
    legs: dict[str, list[Leg]] = {"plain": [], "search": []}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        search, configs, workers = prepared(tree, trials, epochs)
        (scratch / "search.yaml").write_text(yaml.safe_dump(search))
        (scratch / "about.json").write_text(json.dumps({"configs": configs, "workers": workers}))
        print(
            f"{trials} trainings of {epochs} epochs, {workers} at once, {configs[0]['device']['threads']} threads each"
        )
        print(f"{'':16}" + "".join(f"{name.replace('_', ' '):>16}" for name in Leg.__annotations__))
        for number in range(rounds):
            for each in ("plain", "search") if number % 2 == 0 else ("search", "plain"):
                legs[each].append(leg(each, scratch, number))
                figures = asdict(legs[each][-1]).values()
                print(f"{number + 1:>3} {each:<12}" + "".join(f"{value:>14.2f} s" for value in figures), flush=True)
    conclude(legs)


def conclude(legs: dict[str, list[Leg]]) -> None:
    """Prints the ratios with their spread, and the JSON."""
    pairs = list(zip(legs["search"], legs["plain"], strict=True))
    found: dict[str, Any] = {}
    for name in Leg.__annotations__:
        values = [(getattr(search, name), getattr(plain, name)) for search, plain in pairs]
        ratios = sorted(first / second for first, second in values)
        more = statistics.median(first - second for first, second in values)
        found[name] = {"ratio": [ratios[0], statistics.median(ratios), ratios[-1]], "more seconds": more}
        low, middle, high = found[name]["ratio"]
        print(f"{name.replace('_', ' '):<16}search / plain {middle:.3f} ({low:.3f} to {high:.3f}), {more:+.2f} s")
    fixed = found["to_first_trial"]["more seconds"] + found["to_exit"]["more seconds"]
    print(
        f"start and end cost {fixed:.1f} s more than the plain loop's: {100 * fixed / DEMO_SECONDS:.1f} % of the demo"
    )
    print(json.dumps(found | {"fixed seconds": fixed, "phases": len(pairs)}))


if __name__ == "__main__":
    if sys.argv[1:2] in (["plain"], ["search"]):
        side(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("tree", type=Path)
        for name, default in (("rounds", 3), ("trials", 6), ("epochs", 2)):
            parser.add_argument(f"--{name}", type=int, default=default)
        main(**vars(parser.parse_args()))
