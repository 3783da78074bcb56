"""The command `chex`: one run, a look at the data before it and at the weights after it, a phantom to try all on."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chex.command_line import Parser, parse
from chex.console import doing, done, telling_what_is_done
from chex.errors import InputError
from chex.interrupt import terminable
from chex.versions import add_version

if TYPE_CHECKING:
    from pydantic import BaseModel

    from chex.config import RunConfig

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
POLICY_OF_TABLE = {"teacher": "self_trained", "forest": "forest"}
"""What `chex relabel` makes tables with, and the policy that reads each."""

AFTERWARDS = dict.fromkeys(("train", "relabel"), "the same command goes on from there")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 bad input (one sentence on stderr), 130 interrupted, by Ctrl-C or SIGTERM."""
    options = parse(_parser(), sys.argv[1:] if arguments is None else arguments, _settings)
    try:
        with terminable(), telling_what_is_done():
            return int(options.run(options))
    except KeyboardInterrupt:
        print(
            f"\nchex {options.command}: interrupted; {AFTERWARDS.get(options.command, 'start it again')}",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except InputError as error:
        print(f"chex {options.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _settings(command: str) -> "type[BaseModel]":
    from chex.config import RunConfig
    from chex.evaluate import EvaluationConfig
    from chex.phantom.write import PhantomConfig

    others: dict[str, type[BaseModel]] = {"evaluate": EvaluationConfig, "phantom": PhantomConfig}
    return others.get(command, RunConfig)


def _parser() -> Parser:
    parser = Parser(prog="chex", description="One run on a CheXpert tree.")
    add_version(parser, ("torch", "timm"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train one run and keep its best weights")
    train.add_argument("config", type=Path, metavar="RUN.yaml")
    train.add_argument("--data", type=_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    train.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    train.add_argument("--out", type=Path, help="folder of the run (default: results/run-<name of RUN.yaml>)")
    train.add_argument("--fresh", action="store_true", help="delete the run that OUT holds and start over")
    train.set_defaults(run=_train)

    relabel = commands.add_parser("relabel", help="make the probability table that self_trained or forest reads")
    relabel.add_argument("maker", choices=POLICY_OF_TABLE, help="a network, or a forest on the metadata")
    relabel.add_argument("config", type=Path, metavar="RUN.yaml")
    relabel.add_argument("--data", type=_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    relabel.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    relabel.add_argument("--out", type=Path, help="folder of the table (default: results/<maker>-<name of RUN.yaml>)")
    relabel.set_defaults(run=_relabel)

    evaluate = commands.add_parser("evaluate", help="score weights on a tree: figures, thresholds and what they cost")
    evaluate.add_argument("weights", type=Path, metavar="WEIGHTS", help="a best.safetensors, or an exported folder")
    evaluate.add_argument("--data", type=_tree, required=True, metavar="TREE", help="the folder that holds both CSVs")
    evaluate.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    evaluate.add_argument("--out", type=Path, help="folder of the page (default: results/evaluate-<name of WEIGHTS>)")
    evaluate.add_argument("--recall", type=float, default=0.9, help="what a threshold is to reach (default: .9)")
    evaluate.add_argument("--batch", type=int, default=128, metavar="N", help="films scored at a time (default: 128)")
    evaluate.set_defaults(run=_evaluate)

    predict = commands.add_parser("predict", help="what weights say of films: a CSV, and overlays of where")
    predict.add_argument("weights", type=Path, metavar="WEIGHTS", help="a best.safetensors, or an exported folder")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG or PNG files, or folders of them")
    predict.add_argument("--out", type=Path, metavar="FILE.csv", help="where the CSV goes (default: stdout)")
    predict.add_argument(
        "--call", metavar="RULE", help="say what is called at an exported threshold: .5, youden, recall"
    )
    predict.add_argument("--grad-cam", type=Path, metavar="FOLDER", help="write an overlay per film and observation")
    predict.add_argument("--observation", nargs="+", metavar="NAME", help="what --grad-cam draws (default: all)")
    predict.add_argument("--batch", type=int, default=128, metavar="N", help="films scored at a time (default: 128)")
    predict.set_defaults(run=_predict)

    explore = commands.add_parser("explore", help="write a page of tables and pictures of a tree")
    explore.add_argument("tree", type=_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    explore.add_argument("--out", type=Path, help="folder of the page (default: results/explore-<name of TREE>)")
    explore.add_argument("--films", type=int, default=500, metavar="N", help="how many films to look at (default: 500)")
    explore.set_defaults(run=_explore)

    find = commands.add_parser("lr-find", help="raise the learning rate step by step and suggest one")
    find.add_argument("config", type=Path, metavar="RUN.yaml")
    find.add_argument("--data", type=_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    find.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    find.add_argument("--low", type=float, default=1e-6, help="the first rate (default: 1e-6)")
    find.add_argument("--high", type=float, default=1.0, help="the last rate (default: 1)")
    find.add_argument("--steps", type=int, default=100, help="how many (default: 100)")
    find.add_argument("--out", type=Path, help="folder of the curve (default: results/lr-find-<name of RUN.yaml>)")
    find.set_defaults(run=_lr_find)

    phantom = commands.add_parser("phantom", help="write a synthetic CheXpert tree with known truth")
    phantom.add_argument("out", type=Path, metavar="OUT")
    phantom.add_argument("--set", nargs="+", action="extend", default=[], metavar="a=value", dest="sets")
    phantom.set_defaults(run=_phantom)

    forest = commands.add_parser("forest", help="a forest on labels, sex and age alone: what metadata can tell")
    forest.add_argument("tree", type=_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    forest.add_argument("--target", nargs="+", required=True, metavar="OBSERVATION", help="one, several, or five")
    forest.add_argument("--folds", type=int, default=5, help="parts of the cross-validation (default: 5)")
    forest.add_argument("--out", type=Path, help="folder of the report (default: results/forest-<target>)")
    forest.add_argument("--seed", type=int, default=0)
    forest.set_defaults(run=_forest)
    return parser


def _tree(text: str) -> Path:
    if "://" in text:
        fetched = f"`chex-search stage {shlex.quote(text)}` fetches it and says where it then lies"
        raise argparse.ArgumentTypeError(f"'{text}' is not on this machine; {fetched}")
    return Path(text)


# The imports below stay inside: `chex --help` and `chex phantom` should not wait seconds for torch.


def _train(options: argparse.Namespace) -> int:
    doing("loading torch")
    from chex.output_folder import default_folder
    from chex.train import train

    out = options.out or default_folder("run", options.config)
    return train(_run_config(options), out.absolute(), options.fresh, options.config)


def _relabel(options: argparse.Namespace) -> int:
    doing("loading torch")
    from chex.output_folder import default_folder
    from chex.relabel import TABLE
    from chex.tables import make_forest_table, make_teacher_table

    make = {"teacher": make_teacher_table, "forest": make_forest_table}[options.maker]
    out = options.out or default_folder(options.maker, options.config)
    code = make(_run_config(options), out.absolute())
    if code == 0:
        policy = POLICY_OF_TABLE[options.maker]
        used = f"policy.default={policy} relabel.{policy}={out / TABLE}"
        print(f"Now: chex train {options.config} --data {options.data} --set {used}")
    return code


def _lr_find(options: argparse.Namespace) -> int:
    doing("loading torch")
    from chex.output_folder import default_folder
    from chex.rate_sweep import lr_find

    out = options.out or default_folder("lr-find", options.config)
    return lr_find(_run_config(options), out, options.low, options.high, options.steps)


def _run_config(options: argparse.Namespace) -> "RunConfig":
    from chex.config import load_run

    return load_run(options.config, options.sets, Path(os.path.abspath(options.data)) if options.data else None)


def _evaluate(options: argparse.Namespace) -> int:
    doing("loading torch")
    from chex.evaluate import evaluate

    done()
    tree = Path(os.path.abspath(options.data))
    return evaluate(options.weights, tree, options.sets, options.recall, options.batch, options.out)


def _predict(options: argparse.Namespace) -> int:
    doing("loading torch")
    from chex.predict import predict_files

    done()
    return predict_files(
        options.weights,
        options.images,
        options.out,
        options.grad_cam,
        options.observation,
        options.batch,
        options.call,
    )


def _explore(options: argparse.Namespace) -> int:
    from chex.explore.exploration import explore

    out = options.out or Path("results") / f"explore-{options.tree.resolve().name}"
    explored = explore(options.tree, out, options.films)
    for finding in explored.findings:
        print(f"{finding.weight:<8} {finding.text}")
    print(explored.page)
    return 0


def _phantom(options: argparse.Namespace) -> int:
    from chex.config import validated
    from chex.console import progress_bar
    from chex.phantom.write import PhantomConfig, write_phantom
    from chex.sets import parse_sets

    config = validated(PhantomConfig, parse_sets(options.sets), "chex phantom")
    with progress_bar("writing films") as advance:
        root = write_phantom(options.out, config, advance)
    print(root if config.table_only else f"{root}\nNow: chex train configs/run/densenet121.yaml --data {root}")
    return 0


def _forest(options: argparse.Namespace) -> int:
    import numpy as np

    from chex.forest_report import chosen_targets, forest_folder, report_forests
    from chex.output_folder import check_claim
    from chex.records import check_root, load_tree

    check_root(options.tree, "TREE", option="")
    folder = forest_folder(chosen_targets(options.target), options.out)
    check_claim(folder, "forest", tree=options.tree)
    train = load_tree(options.tree).train
    return report_forests(train, np.arange(len(train)), options.target, options.folds, options.seed, folder)


if __name__ == "__main__":
    sys.exit(main())
