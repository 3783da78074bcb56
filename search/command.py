"""What `chex-search` understands: its commands, their options and what each of them calls."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chex.command_line import Parser, parse
from chex.console import doing, done, telling_what_is_done
from chex.versions import add_version
from search.cluster import add_cluster

if TYPE_CHECKING:
    from pydantic import BaseModel

    from search.ledger import TrialRow

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
QUICK = ("cluster", "stage")
"""Commands that load neither torch nor Ray."""
RECALL = 0.9
"""Of the threshold whose cost a page tells, besides two others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 bad input (one sentence on stderr), 130 interrupted, by Ctrl-C or SIGTERM."""
    options = parse(_parser(), sys.argv[1:] if arguments is None else arguments, _settings)
    from chex.errors import InputError
    from chex.interrupt import terminable

    try:
        with terminable(), telling_what_is_done():
            if options.command not in QUICK:
                doing("loading torch and Ray")
            return int(options.run(options))
    except InputError as error:
        print(f"chex-search {options.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:  # before a search has begun, or after its end
        print(
            f"chex-search {options.command}: interrupted; `chex-search resume` goes on with a search that has begun",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED


def _settings(_: str) -> "type[BaseModel]":
    from search.search_config import SearchConfig

    return SearchConfig


def _parser() -> Parser:
    parser = Parser(prog="chex-search", description="Searches over runs for the best validation AUROC.")
    add_version(parser, ("torch", "timm", "ray", "optuna"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a search, or go on with one that was interrupted")
    run.add_argument("config", type=Path, metavar="SEARCH.yaml")
    run.add_argument("--data", metavar="TREE", help="the folder that holds train.csv and valid.csv, or its URI")
    run.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    run.add_argument("--name", help="folder below --results (default: the name of SEARCH.yaml and the values of --set)")
    run.add_argument("--results", type=Path, default=Path("results"), help="where searches are kept (default: results)")
    run.add_argument("--storage", metavar="URI", help="keep the search there besides: gs://BUCKET/searches")
    run.add_argument("--fresh", action="store_true", help="delete what the folder holds and start over")
    run.set_defaults(run=_run)
    resume = commands.add_parser("resume", help="go on with a search that stopped, for whatever reason")
    extend = commands.add_parser("extend", help="give a search more to spend and go on with what it has learnt")
    status = commands.add_parser("status", help="show how a search stands, while it runs or after")
    verdict = commands.add_parser("verdict", help="say what the trials prove, as far as the search has come")
    report = commands.add_parser("report", help="write the page of a search anew, from its folder alone")
    confirm = commands.add_parser("confirm", help="train a search's best configs again, each on the same new seeds")
    lister = commands.add_parser("list", help="say which searches there are, and how each stands")
    lister.add_argument(
        "--results", default="results", metavar="DIR", help="the folder of searches, or the URI of a storage of them"
    )
    lister.set_defaults(run=_list)
    for command in (status, verdict, lister):
        command.add_argument("--json", action="store_true", help="print it for programs; NaN is null")
    export = commands.add_parser("export", help="write the best network, with a model card, to be used anywhere")
    logs = commands.add_parser("logs", help="say what is known of one trial, and what it died of")
    for command in (resume, extend, status, verdict, report, confirm, export, logs):
        command.add_argument(
            "folder", metavar="DIR", help="the search's folder, or its URI in the storage it is kept in"
        )
        command.add_argument(
            "--results", type=Path, default=Path("results"), help="where a search from a URI is brought to"
        )
    extend.add_argument("--trials", type=_positive, metavar="N", help="so many more trials")
    extend.add_argument("--images", type=_positive, metavar="N", help="so many more training images")
    extend.add_argument("--hours", type=_hours, metavar="H", help="so many more hours")
    resume.set_defaults(run=_resume)
    extend.set_defaults(run=_extend)
    status.set_defaults(run=_status)
    verdict.set_defaults(run=_verdict)
    report.add_argument(
        "--recall",
        type=_share,
        default=RECALL,
        metavar="R",
        help="the page tells what a threshold costs that finds this share of the positives (default: .9)",
    )
    report.set_defaults(run=_report)
    confirm.add_argument("--top", type=_positive, default=3, metavar="N", help="so many configs (default: 3)")
    confirm.add_argument("--seeds", type=_positive, default=5, metavar="N", help="so many seeds (default: 5)")
    confirm.set_defaults(run=_confirm)
    for command in (run, resume, extend, confirm):
        command.add_argument(
            "--cluster", metavar="ADDRESS", help="run trials on the Ray cluster whose head is at HOST:PORT, or `auto`"
        )
    export.add_argument("out", type=Path, metavar="OUT", help="a new or empty folder, or an earlier export")
    export.add_argument("--onnx", action="store_true", help="also write it as an ONNX graph, checked by onnxruntime")
    export.set_defaults(run=_export)
    plan = commands.add_parser("plan", help="say what a search would do and cost; starts and writes nothing")
    plan.add_argument("config", type=Path, metavar="SEARCH.yaml")
    plan.add_argument("--data", metavar="TREE", help="the folder that holds train.csv and valid.csv, or its URI")
    plan.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    plan.add_argument(
        "--images-per-second",
        type=float,
        metavar="X",
        help="the training speed of the machine that is meant, all its trials together (default: measured here)",
    )
    plan.set_defaults(run=_plan)
    logs.add_argument("trial", type=_positive, metavar="TRIAL", help="its number, from 1")
    logs.set_defaults(run=_logs)
    stage = commands.add_parser("stage", help="fetch a tree from a bucket and say where it then lies, for chex")
    stage.add_argument("uri", metavar="URI", help="of the folder that holds train.csv and valid.csv, or of a zip of it")
    stage.add_argument(
        "--to", type=Path, metavar="FOLDER", help="where it is put (default: where searches find it too)"
    )
    stage.set_defaults(run=_stage)
    add_cluster(commands.add_parser("cluster", help="a Ray cluster of GPU machines: launch, submit, fetch, delete"))
    return parser


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
    """0 for what is no number."""
    try:
        return float(text)
    except ValueError:
        return 0.0


# The imports below stay inside: `chex-search --help` should not wait seconds for torch and Ray.


def _run(options: argparse.Namespace) -> int:
    from chex.output_folder import check_emptying
    from search.search_config import check_name, load_search, search_name
    from search.study import REPORT, check_folder, run_search

    sets = [*options.sets, *([f"storage={options.storage}"] if options.storage else [])]
    config = load_search(options.config, sets, options.data)
    name = search_name(options.config, options.sets) if options.name is None else options.name
    check_name(name)
    folder = (options.results / name).absolute()
    if options.fresh:
        check_emptying(folder, "--results and --name", {"the config": options.config})
    if (folder / REPORT).exists() and not options.fresh:
        check_folder(config, folder)
        return _finished(folder, "--fresh starts it over")
    return _concluded(options, folder, lambda: run_search(config, folder, options.fresh, options.cluster))


def _resume(options: argparse.Namespace) -> int:
    from search.study import REPORT, resume_search

    folder = _folder(options, goes_on=True)
    if (folder / REPORT).exists():
        return _finished(folder, f"chex-search extend {folder} --trials N goes on with it")
    return _concluded(options, folder, lambda: resume_search(folder, options.cluster))


def _folder(options: argparse.Namespace, goes_on: bool = False) -> Path:
    """The folder of the search that is meant; where the command `goes_on` with it, with what other machines did."""
    from search.brought import bring_up_to_date, folder_of
    from search.bucket import is_uri

    folder = folder_of(options.folder, options.results)
    if goes_on and not is_uri(options.folder):
        bring_up_to_date(folder)
    return folder


def _finished(folder: Path, how: str) -> int:
    from search.report import places
    from search.study import REPORT

    done()
    print(f"{(folder / REPORT).read_text(encoding='utf-8')}\n{places(folder)}\n{folder} is finished; {how}")
    return 0


def _extend(options: argparse.Namespace) -> int:
    from search.study import extend_search

    folder = _folder(options, goes_on=True)
    more = options.trials, options.images, options.hours
    return _concluded(options, folder, lambda: extend_search(folder, *more, options.cluster))


def _status(options: argparse.Namespace) -> int:
    from rich.console import Console

    from search.progress import BESIDE
    from search.status import ROOM, stands, status

    if options.json:
        from search.as_json import standing_record, text

        folder = _folder(options)
        told = text(standing_record(folder.name, stands(folder)))
        done()
        print(told)
        return 0
    console = Console()
    room = max(3, console.height - BESIDE) if console.is_terminal else ROOM
    shown = status(_folder(options), console.width, room)
    done()
    console.print(shown)
    return 0


def _verdict(options: argparse.Namespace) -> int:
    from chex.train import scored_as
    from search.study import load_begun
    from search.verdict import load_verdict
    from search.verdict_text import told

    folder = _folder(options)
    doing("reading")
    verdict = load_verdict(folder, doing)
    done()
    unit = scored_as(load_begun(folder).base)
    if options.json:
        from search.as_json import text, verdict_record

        print(text(verdict_record(folder.name, verdict, unit)))
    else:
        print(told(verdict, unit))
    return 0


def _list(options: argparse.Namespace) -> int:
    from rich.console import Console

    from search.as_json import text
    from search.listing import as_table, lines, listed, records

    found, console = listed(options.results), Console()
    done()
    if options.json:
        print(text(records(found)))
    elif not found:
        print(f"{options.results} holds no searches")
    elif console.is_terminal:
        console.print(as_table(found))
    else:
        print(*lines(found), sep="\n")
    return 0


def _confirm(options: argparse.Namespace) -> int:
    from search.confirm import FOLDER, confirm
    from search.study import PAGE

    folder = _folder(options, goes_on=True)

    def work() -> int:
        told = confirm(folder, options.top, options.seeds, options.cluster)
        done()
        print(told, flush=True)
        return _page(options, folder, RECALL, PAGE)

    again = f"`chex-search confirm {folder} --top {options.top} --seeds {options.seeds}`"
    return _carried_out(options, folder / FOLDER, again, work)


def _export(options: argparse.Namespace) -> int:
    from search.handover import export
    from search.verdict import load_judged

    folder = _folder(options)
    told = export(folder, options.out, lambda: load_judged(folder).corrected, options.onnx)
    done()
    print(told)
    return 0


def _report(options: argparse.Namespace) -> int:
    from chex.output_folder import check_claim
    from search.study import PAGE

    folder = _folder(options)
    check_claim(folder, "search", "")
    code = _page(options, folder, options.recall, PAGE)
    if code == 0:
        print(folder / PAGE)
    return code


def _page(options: argparse.Namespace, folder: Path, recall: float, *delivered: str) -> int:
    """Writes the page, and has the search's storage keep the files `delivered`; what cannot be done is said."""
    from search.bucket import Unreachable
    from search.search_page import write_search_page
    from search.stored import deliver
    from search.study import PAGE, Interrupted, load_begun, room_said, storage_of

    again = f"`chex-search report {folder}`"
    try:
        with room_said(folder):
            doing("reading")
            write_search_page(folder, recall, doing)
        deliver(folder, storage_of(load_begun(folder), folder), *delivered)
    except Interrupted as error:
        print(f"chex-search {options.command}: {error}; {again} writes the page", file=sys.stderr)
        return EXIT_FAILED
    except Unreachable as error:
        where = f"{folder / PAGE} is written, and {again} puts it there"
        print(f"chex-search {options.command}: {error}; {where}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        done()
    return 0


def _concluded(options: argparse.Namespace, folder: Path, rows: Callable[[], "list[TrialRow]"]) -> int:
    """Runs the search and shows its last screen."""
    return _carried_out(
        options, folder, f"`chex-search resume {folder}`", lambda: _last_screen(options, folder, rows())
    )


def _carried_out(options: argparse.Namespace, folder: Path, again: str, work: Callable[[], int]) -> int:
    """What `work` gives; where it stops before its end, how to go on with it is said."""
    from search.study import Failing, Interrupted, room_said

    try:
        with room_said(folder):
            return work()
    except Interrupted as error:
        print(f"chex-search {options.command}: {error}; {again} goes on with it", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Failing as error:
        print(f"chex-search {options.command}: {error}", file=sys.stderr)
        return EXIT_FAILED


def _last_screen(options: argparse.Namespace, folder: Path, rows: "list[TrialRow]") -> int:
    doing("loading statistics")
    from search.report import conclude, places  # they load while nothing waits for a start
    from search.study import PAGE, REPORT, load_begun

    doing("judging the trials")
    text = conclude(rows, folder, load_begun(folder))
    done()
    if text is None and any(row.state == "waiting" for row in rows):
        print(
            f"chex-search {options.command}: the budget is spent and no trial has given a result; "
            f"`chex-search extend {folder}` goes on with it",
            file=sys.stderr,
        )
        return EXIT_FAILED
    if text is None:
        print(f"chex-search {options.command}: all trials failed; {folder}/trials.csv says why", file=sys.stderr)
        return EXIT_FAILED
    print(f"{text}\n\n{places(folder)}", flush=True)
    return _page(options, folder, RECALL, REPORT, PAGE)


def _logs(options: argparse.Namespace) -> int:
    from search.trial_log import trial_log

    told = trial_log(_folder(options), options.trial)
    done()
    print(told)
    return 0


def _plan(options: argparse.Namespace) -> int:
    from search.plan import plan, show
    from search.search_config import load_search

    search = load_search(options.config, options.sets, options.data)
    planned = plan(search, options.config.name, options.images_per_second)
    done()
    show(planned)
    return 0


def _stage(options: argparse.Namespace) -> int:
    from chex.console import progress_bar
    from search.bucket import is_uri
    from search.staging import STAGE, stage, tree_path

    place = options.uri if is_uri(options.uri) else os.path.abspath(options.uri)
    with progress_bar("fetching files") as advance:
        print(stage(place, tree_path(place, options.to or STAGE), advance))
    return 0
