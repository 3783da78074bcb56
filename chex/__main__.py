"""The command `chex`: one run, a look at the data before it, and the phantom to try both on."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from chex.errors import InputError

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 bad input (one sentence on stderr), 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except InputError as error:
        print(f"chex {options.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chex", description="One run on a CheXpert tree.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train one run and keep its best weights")
    train.add_argument("config", type=Path, metavar="RUN.yaml")
    train.add_argument("--data", type=Path, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    train.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    train.add_argument("--out", type=Path, help="folder of the run (default: results/run-<name of RUN.yaml>)")
    train.add_argument("--fresh", action="store_true", help="train again where OUT holds a finished run")
    train.set_defaults(run=_train)

    explore = commands.add_parser("explore", help="write a page of tables and pictures of a tree")
    explore.add_argument("tree", type=Path, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    explore.add_argument("--out", type=Path, help="folder of the page (default: results/explore-<name of TREE>)")
    explore.add_argument("--films", type=int, default=500, metavar="N", help="how many films to look at (default: 500)")
    explore.set_defaults(run=_explore)

    phantom = commands.add_parser("phantom", help="write a synthetic CheXpert tree with known truth")
    phantom.add_argument("out", type=Path, metavar="OUT")
    phantom.add_argument("--set", nargs="+", action="extend", default=[], metavar="a=value", dest="sets")
    phantom.set_defaults(run=_phantom)
    return parser


# The imports below stay inside: `chex --help` and `chex phantom` should not wait seconds for torch.


def _train(options: argparse.Namespace) -> int:
    from chex.config import load_run
    from chex.train import train

    sets = [*options.sets, *([f"data.root={os.path.abspath(options.data)}"] if options.data else [])]
    config = load_run(options.config, sets)
    out = options.out or Path("results") / f"run-{options.config.stem}"
    try:
        return train(config, out.absolute(), fresh=options.fresh)
    except KeyboardInterrupt:
        print("\nchex train: interrupted; the same command goes on from the last report", file=sys.stderr)
        return EXIT_INTERRUPTED


def _explore(options: argparse.Namespace) -> int:
    from chex.explore.exploration import explore

    explored = explore(
        options.tree, options.out or Path("results") / f"explore-{options.tree.resolve().name}", options.films
    )
    for finding in explored.findings:
        print(f"{finding.weight:<8} {finding.text}")
    print(explored.page)
    return 0


def _phantom(options: argparse.Namespace) -> int:
    from chex.config import parse_sets, validated
    from chex.console import progress_bar
    from chex.phantom.write import PhantomConfig, write_phantom

    config = validated(PhantomConfig, parse_sets(options.sets), "chex phantom")
    with progress_bar("writing films") as advance:
        root = write_phantom(options.out, config, advance)
    print(root if config.table_only else f"{root}\nNow: chex train configs/run/densenet121.yaml --data {root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
