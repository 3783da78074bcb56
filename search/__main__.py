"""The command `chex-search`: many runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import chex
import search

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 bad input (one sentence on stderr), 130 interrupted."""
    ours, other = Path(search.__file__).parents[1], Path(chex.__file__).parents[1]
    if ours != other:
        print(
            f"chex-search: `chex` was imported from {other} and `search` from {ours}; they must lie side by side: "
            "remove the other package named chex from this environment",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    options = _parser().parse_args(arguments)
    from chex.errors import InputError

    try:
        return int(options.run(options))
    except InputError as error:
        print(f"chex-search {options.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chex-search", description="Searches over runs for the best validation AUROC."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a search, or go on with one that was interrupted")
    run.add_argument("config", type=Path, metavar="SEARCH.yaml")
    run.add_argument("--data", type=Path, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    run.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    run.add_argument("--name", help="folder below --results (default: the name of SEARCH.yaml and the values of --set)")
    run.add_argument("--results", type=Path, default=Path("results"), help="where searches are kept (default: results)")
    run.add_argument("--fresh", action="store_true", help="delete what the folder holds and start over")
    run.set_defaults(run=_run)
    plan = commands.add_parser("plan", help="say what a search would do and cost; starts and writes nothing")
    plan.add_argument("config", type=Path, metavar="SEARCH.yaml")
    plan.add_argument("--data", type=Path, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    plan.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    plan.add_argument(
        "--images-per-second",
        type=float,
        metavar="X",
        help="the training speed of the machine that is meant, all its trials together (default: measured here)",
    )
    plan.set_defaults(run=_plan)
    return parser


# The imports below stay inside: `chex-search --help` should not wait seconds for torch and Ray.


def _run(options: argparse.Namespace) -> int:
    from search.report import REPORT, conclude
    from search.search_config import load_search, search_name
    from search.study import Interrupted, check_folder, run_search

    config = load_search(options.config, options.sets, options.data)
    folder = (options.results / (options.name or search_name(options.config, options.sets))).absolute()
    finished = folder / REPORT
    if finished.exists() and not options.fresh:
        check_folder(config, folder)
        print(f"{folder} is finished; --fresh starts it over\n\n{finished.read_text(encoding='utf-8')}", end="")
        return 0
    try:
        rows = run_search(config, folder, options.fresh)
    except Interrupted:
        print("chex-search run: interrupted; the same command goes on with it", file=sys.stderr)
        return EXIT_INTERRUPTED
    text = conclude(rows, folder, config)
    if text is None:
        failures = "; ".join(f"trial {row.number}: {row.error}" for row in rows[:3])
        print(f"chex-search run: all {len(rows)} trials failed ({failures})", file=sys.stderr)
        return EXIT_FAILED
    print(text)
    return 0


def _plan(options: argparse.Namespace) -> int:
    from search.plan import plan, show
    from search.search_config import load_search

    search = load_search(options.config, options.sets, options.data)
    show(plan(search, options.config.name, options.images_per_second))
    return 0


if __name__ == "__main__":
    sys.exit(main())
