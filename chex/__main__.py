"""The command `chex`: trains one run, describes a data tree, scores and uses trained weights, makes synthetic data."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chex.errors import InputError
from chex.reporting.console import activity_line, clear_activity, show_activity
from chex.runtime.signals import sigterm_as_interrupt
from chex.runtime.versions import add_version
from chex.schema.command_line import Parser, parse
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES

if TYPE_CHECKING:
    from pydantic import BaseModel

    from chex.config import RunConfig
    from chex.runtime.output_folder import Kind

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
POLICY_OF_TABLE = {policy.table_maker: policy.name for policy in POLICIES.values() if policy.table_maker}
"""The argument of `chex relabel`, and the policy that reads the table it makes."""

RESUMABLE = ("train", "relabel")
"""The commands that continue after an interrupt where they stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code.

    0: done; 1: failed; 2: bad input, with one sentence on stderr; 130: interrupted by Ctrl-C or SIGTERM.
    """
    options = parse(_build_parser(), sys.argv[1:] if arguments is None else arguments, _config_class)
    try:
        with sigterm_as_interrupt(), activity_line():
            return int(options.run(options))
    except KeyboardInterrupt:
        remedy = "the same command continues it" if options.command in RESUMABLE else "start it again"
        print(f"\nchex {options.command}: interrupted; {remedy}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except InputError as error:
        print(f"chex {options.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _config_class(command: str) -> "type[BaseModel]":
    """Returns the config class whose settings `command` takes after --set."""
    from chex.config import RunConfig
    from chex.evaluation.evaluate import EvaluationConfig
    from chex.phantom.write import PhantomConfig

    others: dict[str, type[BaseModel]] = {"evaluate": EvaluationConfig, "phantom": PhantomConfig}
    return others.get(command, RunConfig)


def _build_parser() -> Parser:
    parser = Parser(prog="chex", description="Trains and scores a classifier on a CheXpert tree.")
    add_version(parser, ("torch", "timm"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train one run and keep its best weights")
    train.add_argument("config", type=Path, metavar="RUN.yaml")
    train.add_argument("--data", type=_local_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    train.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    train.add_argument("--out", type=Path, help="folder of the run (default: results/run-<name of RUN.yaml>)")
    train.add_argument("--overwrite", action="store_true", help="delete the run in OUT and start over")
    train.set_defaults(run=_train)

    relabel = commands.add_parser(
        "relabel", help=f"make the probability table that {' or '.join(TABLE_POLICIES)} reads"
    )
    relabel.add_argument("maker", choices=POLICY_OF_TABLE, help="a network, or a random forest on the metadata")
    relabel.add_argument("config", type=Path, metavar="RUN.yaml")
    relabel.add_argument(
        "--data", type=_local_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv"
    )
    relabel.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    relabel.add_argument("--out", type=Path, help="folder of the table (default: results/<maker>-<name of RUN.yaml>)")
    relabel.set_defaults(run=_relabel)

    evaluate = commands.add_parser("evaluate", help="score weights on a tree: metrics, thresholds and their errors")
    evaluate.add_argument("weights", type=Path, metavar="WEIGHTS", help="a best.safetensors, or an exported folder")
    evaluate.add_argument(
        "--data", type=_local_tree, required=True, metavar="TREE", help="the folder that holds train.csv and valid.csv"
    )
    evaluate.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    evaluate.add_argument("--out", type=Path, help="folder of the page (default: results/evaluate-<name of WEIGHTS>)")
    evaluate.add_argument(
        "--recall", type=float, default=0.9, help="the recall that one threshold must reach (default: .9)"
    )
    evaluate.add_argument("--batch", type=int, default=128, metavar="N", help="images scored at a time (default: 128)")
    evaluate.set_defaults(run=_evaluate)

    predict = commands.add_parser("predict", help="predict images: a CSV of probabilities, and Grad-CAM overlays")
    predict.add_argument("weights", type=Path, metavar="WEIGHTS", help="a best.safetensors, or an exported folder")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG or PNG files, or folders of them")
    predict.add_argument("--out", type=Path, metavar="FILE.csv", help="the CSV to write (default: stdout)")
    predict.add_argument(
        "--threshold",
        metavar="RULE",
        help="also report which observations are positive at an exported threshold: .5, youden, recall",
    )
    predict.add_argument("--grad-cam", type=Path, metavar="FOLDER", help="write an overlay per image and observation")
    predict.add_argument(
        "--observation", nargs="+", metavar="NAME", help="observations that --grad-cam draws (default: all)"
    )
    predict.add_argument("--batch", type=int, default=128, metavar="N", help="images scored at a time (default: 128)")
    predict.set_defaults(run=_predict)

    explore = commands.add_parser("explore", help="write a page of tables and plots about a tree")
    explore.add_argument("tree", type=_local_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    explore.add_argument("--out", type=Path, help="folder of the page (default: results/explore-<name of TREE>)")
    explore.add_argument(
        "--images", type=int, default=500, metavar="N", help="how many images to look at (default: 500)"
    )
    explore.set_defaults(run=_explore)

    find = commands.add_parser("lr-find", help="learning-rate range test: raise the rate step by step and suggest one")
    find.add_argument("config", type=Path, metavar="RUN.yaml")
    find.add_argument("--data", type=_local_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    find.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    find.add_argument("--low", type=float, default=1e-6, help="the lowest learning rate (default: 1e-6)")
    find.add_argument("--high", type=float, default=1.0, help="the highest learning rate (default: 1)")
    find.add_argument("--steps", type=int, default=100, help="number of steps (default: 100)")
    find.add_argument("--out", type=Path, help="folder of the curve (default: results/lr-find-<name of RUN.yaml>)")
    find.set_defaults(run=_lr_find)

    phantom = commands.add_parser("phantom", help="write a synthetic CheXpert tree whose true labels are known")
    phantom.add_argument("out", type=Path, metavar="OUT")
    phantom.add_argument("--set", nargs="+", action="extend", default=[], metavar="a=value", dest="sets")
    phantom.set_defaults(run=_phantom)

    forest = commands.add_parser(
        "forest", help="random forests on labels, sex and age: what metadata alone can predict"
    )
    forest.add_argument("tree", type=_local_tree, metavar="TREE", help="the folder that holds train.csv and valid.csv")
    forest.add_argument(
        "--target", nargs="+", required=True, metavar="OBSERVATION", help="one observation, several, or five"
    )
    forest.add_argument("--folds", type=int, default=5, help="folds of the cross-validation (default: 5)")
    forest.add_argument("--out", type=Path, help="folder of the report (default: results/forest-<target>)")
    forest.add_argument("--seed", type=int, default=0)
    forest.set_defaults(run=_forest)
    return parser


def _local_tree(text: str) -> Path:
    if "://" in text:
        remedy = f"`chex-search stage {shlex.quote(text)}` downloads it and prints its folder"
        raise argparse.ArgumentTypeError(f"'{text}' is not on this machine; {remedy}")
    return Path(text)


# The functions below import what they need, so that `chex --help` and `chex phantom` do not wait seconds for torch.


def _train(options: argparse.Namespace) -> int:
    from chex.runtime.output_folder import default_folder

    out = (options.out or default_folder("run", options.config)).absolute()
    config = _checked_config(options, out, "run")
    from chex.training.train import train

    return train(config, out, options.overwrite, options.config)


def _relabel(options: argparse.Namespace) -> int:
    from chex.runtime.output_folder import default_folder

    out = options.out or default_folder(options.maker, options.config)
    config = _checked_config(options, out.absolute(), "teacher" if options.maker == "teacher" else "relabel forest")
    from chex.training.relabel import make_forest_table, make_teacher_table
    from chex.uncertainty.probability_tables import TABLE

    make = {"teacher": make_teacher_table, "forest": make_forest_table}[options.maker]
    code = make(config, out.absolute())
    if code == 0:
        policy = POLICY_OF_TABLE[options.maker]
        used = f"policy.default={policy} relabel.{policy}={out / TABLE}"
        print(f"Now: chex train {options.config} --data {options.data} --set {used}")
    return code


def _lr_find(options: argparse.Namespace) -> int:
    from chex.runtime.output_folder import default_folder

    out = options.out or default_folder("lr-find", options.config)
    config = _checked_config(options, out.absolute(), "lr-find")
    from chex.training.lr_finder import lr_find

    return lr_find(config, out, options.low, options.high, options.steps)


def _checked_config(options: argparse.Namespace, out: Path, kind: "Kind") -> "RunConfig":
    """Returns the config that the options name. Runs all checks that need no torch, whose import takes seconds."""
    from chex.config import load_run
    from chex.training.preflight import check_out, check_tables, teacher_config

    config = load_run(options.config, options.sets, Path(os.path.abspath(options.data)) if options.data else None)
    check_out(config, out, kind)
    show_activity("reading the tables")
    check_tables(teacher_config(config) if kind in ("teacher", "relabel forest") else config)
    show_activity("loading torch")
    return config


def _evaluate(options: argparse.Namespace) -> int:
    from chex.data.tables import load_tree
    from chex.evaluation.preflight import check_weights_path
    from chex.runtime.output_folder import check_claim

    tree = Path(os.path.abspath(options.data))
    if options.out:
        check_claim(options.out, "evaluation", tree=tree)
    check_weights_path(options.weights)
    load_tree(tree)
    show_activity("loading torch")
    from chex.evaluation.evaluate import evaluate

    clear_activity()
    return evaluate(options.weights, tree, options.sets, options.recall, options.batch, options.out)


def _predict(options: argparse.Namespace) -> int:
    from chex.evaluation.preflight import check_outputs, check_weights_path

    check_outputs(options.out, options.grad_cam, options.observation)
    check_weights_path(options.weights)
    show_activity("loading torch")
    from chex.evaluation.predict import predict_files

    clear_activity()
    return predict_files(
        options.weights,
        options.images,
        options.out,
        options.grad_cam,
        options.observation,
        options.batch,
        options.threshold,
    )


def _explore(options: argparse.Namespace) -> int:
    from chex.explore.exploration import explore

    out = options.out or Path("results") / f"explore-{options.tree.resolve().name}"
    exploration = explore(options.tree, out, options.images)
    for finding in exploration.findings:
        print(f"{finding.severity:<8} {finding.text}")
    print(exploration.page)
    return 0


def _phantom(options: argparse.Namespace) -> int:
    from chex.config import validate
    from chex.phantom.write import PhantomConfig, write_phantom
    from chex.reporting.console import progress_bar
    from chex.schema.overrides import parse_overrides

    config = validate(PhantomConfig, parse_overrides(options.sets), "chex phantom")
    with progress_bar("writing images") as advance:
        root = write_phantom(options.out, config, advance)
    print(root if config.table_only else f"{root}\nNow: chex train configs/run/densenet121.yaml --data {root}")
    return 0


def _forest(options: argparse.Namespace) -> int:
    import numpy as np

    from chex.data.tables import check_root, load_tree
    from chex.forest.forest_report import chosen_targets, forest_folder, report_forests
    from chex.runtime.output_folder import check_claim

    check_root(options.tree, "TREE", option="")
    folder = forest_folder(chosen_targets(options.target), options.out)
    check_claim(folder, "forest", tree=options.tree)
    train = load_tree(options.tree).train
    return report_forests(train, np.arange(len(train)), options.target, options.folds, options.seed, folder)


if __name__ == "__main__":
    sys.exit(main())
