"""The command `chex-search`: its subcommands, their options and what each of them calls."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chex.reporting.console import activity_line, clear_activity, show_activity
from chex.runtime.versions import add_version
from chex.schema.command_line import Parser, parse
from search.cluster.commands import add_cluster

if TYPE_CHECKING:
    from pydantic import BaseModel

    from search.config.search_config import SearchConfig
    from search.trials.trial import TrialRecord

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
RECALL = 0.9
"""By default the page shows the cost of the threshold that reaches this recall."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 bad input (a sentence on stderr), 130 after Ctrl-C or SIGTERM."""
    options = parse(_parser(), sys.argv[1:] if arguments is None else arguments, _settings)
    from chex.errors import InputError
    from chex.runtime.signals import sigterm_as_interrupt

    try:
        with sigterm_as_interrupt(), activity_line():
            show_activity("reading")
            return int(options.run(options))
    except InputError as error:
        _print_error(options, str(error))
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:  # before a search has started, or after its end
        _print_error(options, "interrupted; `chex-search resume` continues a search that has started")
        return EXIT_INTERRUPTED


def _print_error(options: argparse.Namespace, message: str) -> None:
    print(f"chex-search {options.command}: {message}", file=sys.stderr)


def _settings(_: str) -> "type[BaseModel]":
    from search.config.search_config import SearchConfig

    return SearchConfig


def _parser() -> Parser:
    parser = Parser(prog="chex-search", description="Searches for the run with the best validation AUROC.")
    add_version(parser, ("torch", "timm", "ray", "optuna"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], help_text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=help_text)
        command.set_defaults(run=run)
        return command

    _add_run_options(add("run", _run, "run a search, or resume one that was interrupted"))
    resume = add("resume", _resume, "resume a search that has stopped")
    extend = add("extend", _extend, "add to a search's budget and resume it")
    status = add("status", _status, "show the status of a search, running or not")
    verdict = add("verdict", _verdict, "show what the trials prove so far")
    report = add("report", _report, "write the page of a search again, from its folder")
    confirm = add("confirm", _confirm, "train a search's best configs again, each on the same new seeds")
    lister = add("list", _list, "list all searches and their status")
    lister.add_argument(
        "--results", default="results", metavar="DIR", help="the folder of searches, or the URI of their storage"
    )
    export = add("export", _export, "write the best network and a model card, for use elsewhere")
    logs = add("logs", _logs, "show what is known of one trial, and why it failed")
    for command in (status, verdict, lister):
        command.add_argument("--json", action="store_true", help="print JSON; NaN becomes null")
    for command in (resume, extend, status, verdict, report, confirm, export, logs):
        command.add_argument("folder", metavar="DIR", help="the search's folder, or its URI in a storage")
        command.add_argument(
            "--results", type=Path, default=Path("results"), help="the folder that a search from a URI is copied to"
        )
    extend.add_argument("--trials", type=_positive, metavar="N", help="number of additional trials")
    extend.add_argument("--images", type=_positive, metavar="N", help="number of additional training images")
    extend.add_argument("--hours", type=_hours, metavar="H", help="number of additional hours")
    report.add_argument(
        "--recall",
        type=_share,
        default=RECALL,
        metavar="R",
        help="the page shows the cost of the threshold with this recall (default: .9)",
    )
    confirm.add_argument("--top", type=_positive, default=3, metavar="N", help="number of configs (default: 3)")
    confirm.add_argument("--seeds", type=_positive, default=5, metavar="N", help="number of seeds (default: 5)")
    for command in (resume, extend, confirm):
        _add_ray_options(command)
    export.add_argument("out", type=Path, metavar="OUT", help="a new or empty folder, or an earlier export")
    export.add_argument("--onnx", action="store_true", help="also write an ONNX graph, checked with onnxruntime")
    logs.add_argument("trial", type=_positive, metavar="TRIAL", help="the trial's number, from 1")
    _add_plan_options(add("plan", _plan, "show what a search would do and cost; starts and writes nothing"))
    stage = add("stage", _stage, "fetch a dataset from a bucket and print its folder, for chex")
    stage.add_argument("uri", metavar="URI", help="the folder with train.csv and valid.csv, or a zip archive of it")
    stage.add_argument(
        "--to", type=Path, metavar="FOLDER", help="where to put it (default: where searches look for it)"
    )
    add_cluster(commands.add_parser("cluster", help="start a Ray cluster of GPU machines, submit, fetch, delete"))
    return parser


def _add_run_options(command: argparse.ArgumentParser) -> None:
    _add_search_options(command)
    command.add_argument("--name", help="folder below --results (default: name of SEARCH.yaml and values of --set)")
    command.add_argument("--results", type=Path, default=Path("results"), help="folder of searches (default: results)")
    command.add_argument("--storage", metavar="URI", help="also store the search there: gs://BUCKET/searches")
    command.add_argument("--from", metavar="DIR", dest="earlier", help="learn from the trials of this search too")
    command.add_argument("--overwrite", action="store_true", help="delete the folder's content and start over")
    _add_ray_options(command)


def _add_plan_options(command: argparse.ArgumentParser) -> None:
    _add_search_options(command)
    command.add_argument(
        "--images-per-second",
        type=float,
        metavar="X",
        help="the training speed of the intended machine, all its trials together (default: measured here)",
    )


def _add_search_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", type=Path, metavar="SEARCH.yaml")
    command.add_argument("--data", metavar="TREE", help="the folder with train.csv and valid.csv, or its URI")
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")


def _add_ray_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cluster", metavar="ADDRESS", help="run the trials on the Ray cluster with its head at HOST:PORT, or `auto`"
    )
    command.add_argument("--dashboard", action="store_true", help="start Ray's dashboard on this machine")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1; give for example 20")
    return int(text)


def _share(text: str) -> float:
    share = _number(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share above 0 and at most 1; give for example .9")
    return share


def _hours(text: str) -> float:
    hours = _number(text)
    if not 0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of hours above 0; give for example 2.5")
    return hours


def _number(text: str) -> float:
    """Returns 0 for text that is not a number."""
    try:
        return float(text)
    except ValueError:
        return 0.0


# The functions below check what they can before they import torch and Ray.


def _run(options: argparse.Namespace) -> int:
    where = _where(options)
    sets = [*options.sets, *([f"storage_uri={options.storage}"] if options.storage else [])]
    search = _load(options, sets)
    from chex.runtime.output_folder import check_can_empty
    from search.config.search_config import check_name, search_name
    from search.config.search_folder import check_folder
    from search.trials.layout import REPORT

    name = search_name(options.config, options.sets) if options.name is None else options.name
    check_name(name)
    folder = (options.results / name).absolute()
    learn_from = _earlier_folder(options)
    if options.overwrite:
        check_can_empty(folder, "--results and --name", {"the config": options.config, "--from": learn_from})
    if (folder / REPORT).exists() and not options.overwrite:
        check_folder(search, folder)
        return _show_finished(folder, "--overwrite starts it over")
    _check_tables(search)
    show_activity("loading torch and Ray")
    from search.engine.runner import run_search

    return _finish(
        options, folder, lambda: run_search(search, folder, options.overwrite, *where, learn_from=learn_from)
    )


def _earlier_folder(options: argparse.Namespace) -> Path | None:
    """Returns the folder of the search from whose trials the sampler learns. Downloads a search at a URI."""
    if options.earlier is None:
        return None
    from search.config.download import resolve_search_dir

    return resolve_search_dir(options.earlier, options.results)


def _where(options: argparse.Namespace) -> tuple[str | None, bool]:
    """Returns the address of the cluster and whether to start a dashboard. Raises InputError if both are asked for."""
    from chex.errors import InputError

    if options.cluster and options.dashboard:
        raise InputError(
            f"--dashboard: the cluster {options.cluster} has a dashboard of its own on its head; leave --dashboard out"
        )
    return options.cluster, options.dashboard


def _load(options: argparse.Namespace, sets: Sequence[str]) -> "SearchConfig":
    """Returns the search that the options describe. A mistyped name of its file is answered before Optuna is imported.

    Raises InputError as `load_search` does.
    """
    from chex.config import read_yaml

    read_yaml(options.config)
    from search.config.search_config import load_search

    return load_search(options.config, sets, options.data)


def _check_tables(search: "SearchConfig") -> None:
    """Raises InputError for a dataset on this machine that the base run cannot use, before torch is imported."""
    from chex.training.preflight import check_tables
    from search.space.policy_tables import without_tables

    if search.data_uri is None:
        show_activity("reading the tables")
        check_tables(without_tables(search.base))


def _resume(options: argparse.Namespace) -> int:
    where = _where(options)
    from search.trials.layout import REPORT

    folder = _search_folder(options, resumes=True)
    if (folder / REPORT).exists():
        return _show_finished(folder, f"chex-search extend {folder} --trials N continues it")
    show_activity("loading torch and Ray")
    from search.engine.runner import resume_search

    return _finish(options, folder, lambda: resume_search(folder, *where))


def _search_folder(options: argparse.Namespace, resumes: bool = False) -> Path:
    """Returns the folder of the search. Downloads a search at a URI; if the command `resumes`, also what is new."""
    from search.storage.uri import is_uri

    if not resumes and not is_uri(options.folder):
        return Path(os.path.abspath(options.folder))
    from search.config.download import refresh, resolve_search_dir

    folder = resolve_search_dir(options.folder, options.results)
    if resumes and not is_uri(options.folder):
        refresh(folder)
    return folder


def _show_finished(folder: Path, remedy: str) -> int:
    from search.report.last_screen import files_and_commands
    from search.trials.layout import REPORT

    clear_activity()
    print(
        f"{(folder / REPORT).read_text(encoding='utf-8')}\n{files_and_commands(folder)}\n{folder} is finished; {remedy}"
    )
    return 0


def _extend(options: argparse.Namespace) -> int:
    where = _where(options)
    folder = _search_folder(options, resumes=True)
    show_activity("loading torch and Ray")
    from search.engine.runner import extend_search

    budget = options.trials, options.images, options.hours
    return _finish(options, folder, lambda: extend_search(folder, *budget, *where))


def _status(options: argparse.Namespace) -> int:
    from rich.console import Console

    from search.monitor.live_table import RESERVED_LINES
    from search.monitor.status import DEFAULT_MAX_TRIALS, read_status, render_status

    if options.json:
        from search.monitor.as_json import status_record, to_json

        folder = _search_folder(options)
        return _print(to_json(status_record(folder.name, read_status(folder))))
    console = Console()
    max_rows = max(3, console.height - RESERVED_LINES) if console.is_terminal else DEFAULT_MAX_TRIALS
    table = render_status(_search_folder(options), console.width, max_rows)
    clear_activity()
    console.print(table)
    return 0


def _verdict(options: argparse.Namespace) -> int:
    folder = _search_folder(options)
    from chex.training.preflight import evaluation_note
    from search.analysis.verdict import load_verdict
    from search.analysis.verdict_text import verdict_text
    from search.config.search_folder import load_search_folder

    show_activity("reading")
    verdict = load_verdict(folder, show_activity)
    clear_activity()
    unit = evaluation_note(load_search_folder(folder).base)
    if options.json:
        from search.monitor.as_json import to_json, verdict_record

        return _print(to_json(verdict_record(folder.name, verdict, unit)))
    return _print(verdict_text(verdict, unit))


def _list(options: argparse.Namespace) -> int:
    from rich.console import Console

    from search.monitor.list_searches import as_lines, as_records, as_table, list_searches

    searches, console = list_searches(options.results), Console()
    if options.json:
        from search.monitor.as_json import to_json

        return _print(to_json(as_records(searches)))
    if not searches:
        return _print(f"{options.results} holds no searches")
    if not console.is_terminal:
        return _print("\n".join(as_lines(searches)))
    clear_activity()
    console.print(as_table(searches))
    return 0


def _print(text: str) -> int:
    clear_activity()
    print(text, flush=True)
    return 0


def _confirm(options: argparse.Namespace) -> int:
    where = _where(options)
    from search.trials.layout import CONFIRM_FOLDER, PAGE

    folder = _search_folder(options, resumes=True)
    show_activity("loading torch and Ray")
    from search.engine.confirm import confirm

    def work() -> int:
        _print(confirm(folder, options.top, options.seeds, *where))
        return _write_page(options, folder, RECALL, PAGE)

    remedy = f"`chex-search confirm {folder} --top {options.top} --seeds {options.seeds}`"
    return _run_to_exit_code(options, folder / CONFIRM_FOLDER, remedy, work)


def _export(options: argparse.Namespace) -> int:
    folder = _search_folder(options)
    show_activity("loading torch")
    from search.analysis.verdict import load_analyzed
    from search.export.bundle import export_bundle

    return _print(export_bundle(folder, options.out, lambda: load_analyzed(folder).debiased_auroc, options.onnx))


def _report(options: argparse.Namespace) -> int:
    from chex.runtime.output_folder import check_claim
    from search.trials.layout import PAGE

    folder = _search_folder(options)
    check_claim(folder, "search", "")
    code = _write_page(options, folder, options.recall, PAGE)
    if code == 0:
        print(folder / PAGE)
    return code


def _write_page(options: argparse.Namespace, folder: Path, recall: float, *uploads: str) -> int:
    """Writes the page and uploads the files `uploads` to the search's storage; returns the exit code."""
    from search.config.search_folder import load_search_folder, storage_of
    from search.engine.interruption import SearchInterrupted, report_disk_full
    from search.report.search_page import write_search_page
    from search.storage.search_storage import upload_files
    from search.storage.uri import Unreachable
    from search.trials.layout import PAGE

    remedy = f"`chex-search report {folder}`"
    try:
        with report_disk_full(folder):
            show_activity("reading")
            write_search_page(folder, recall, show_activity)
        upload_files(folder, storage_of(load_search_folder(folder), folder), *uploads)
    except SearchInterrupted as error:
        _print_error(options, f"{error}; {remedy} writes the page")
        return EXIT_FAILED
    except Unreachable as error:
        _print_error(options, f"{error}; {folder / PAGE} is written, and {remedy} uploads it")
        return EXIT_FAILED
    finally:
        clear_activity()
    return 0


def _finish(options: argparse.Namespace, folder: Path, run: Callable[[], "list[TrialRecord]"]) -> int:
    """Runs the search and shows its last screen; returns the exit code."""
    remedy = f"`chex-search resume {folder}`"
    return _run_to_exit_code(options, folder, remedy, lambda: _show_last_screen(options, folder, run()))


def _run_to_exit_code(options: argparse.Namespace, folder: Path, remedy: str, work: Callable[[], int]) -> int:
    """Returns the exit code of `work`; if it stops before its end, prints the `remedy` that continues it."""
    from search.engine.interruption import SearchInterrupted, TooManyFailures, report_disk_full

    try:
        with report_disk_full(folder):
            return work()
    except SearchInterrupted as error:
        _print_error(options, f"{error}; {remedy} continues it")
        return EXIT_INTERRUPTED
    except TooManyFailures as error:
        _print_error(options, str(error))
        return EXIT_FAILED


def _show_last_screen(options: argparse.Namespace, folder: Path, trials: "list[TrialRecord]") -> int:
    show_activity("loading statistics")
    from search.config.search_folder import load_search_folder
    from search.report.last_screen import files_and_commands, finish_search  # slow, so imported after the trials
    from search.trials.layout import PAGE, REPORT, STRATEGIES

    show_activity("analyzing the trials")
    text = finish_search(trials, folder, load_search_folder(folder))
    clear_activity()
    if text is None and any(trial.state == "pending" for trial in trials):
        remedy = f"`chex-search extend {folder} --trials N` continues it"
        _print_error(options, f"the budget is spent and no trial has a result; {remedy}")
        return EXIT_FAILED
    if text is None:
        _print_error(options, f"all trials failed; {folder}/trials.csv says why")
        return EXIT_FAILED
    print(f"{text}\n\n{files_and_commands(folder)}", flush=True)
    return _write_page(options, folder, RECALL, REPORT, PAGE, STRATEGIES)


def _logs(options: argparse.Namespace) -> int:
    from search.monitor.trial_log import trial_log

    return _print(trial_log(_search_folder(options), options.trial))


def _plan(options: argparse.Namespace) -> int:
    search = _load(options, options.sets)
    _check_tables(search)
    show_activity("loading torch")
    from search.planning.plan import plan, show

    planned = plan(search, options.config.name, options.images_per_second)
    clear_activity()
    show(planned)
    return 0


def _stage(options: argparse.Namespace) -> int:
    from chex.reporting.console import progress_bar
    from search.storage.dataset import STAGE_ROOT, stage, staging_path
    from search.storage.uri import is_uri

    uri = options.uri if is_uri(options.uri) else os.path.abspath(options.uri)
    with progress_bar("fetching files") as advance:
        print(stage(uri, staging_path(uri, options.to or STAGE_ROOT), advance))
    return 0
