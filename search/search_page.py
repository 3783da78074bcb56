"""results/<search>/report.html: what a search found, how sure that is, and what to do now, in one page.

It is made from the search's folder alone. Films need the tree too, or its source; where that or the weights cannot be
read, the page says so in their place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from chex.config import RunConfig, load_run
from chex.console import decimal, percent
from chex.evaluation_page import Told
from chex.evaluation_page import page as evaluation_page
from chex.figures import evaluation
from chex.intervals import Estimate
from chex.page import Beside, Page, Part, Picture, Plot, Points, Section, Single, Table, write_alone
from chex.seeds import stream
from chex.train import scored_as
from chex.trained import NO_DIAGNOSIS
from search.book import read_book
from search.bucket import shown as shown_uri
from search.chart_style import Drawn, signed
from search.confirm import CONFIRMED, TEXT
from search.confirm import FOLDER as CONFIRM
from search.environment import environments
from search.knob_charts import parallel, slices
from search.ledger import TrialRow
from search.missed_films import missed_films
from search.paths import value_at
from search.predictions import Predictions, load_predictions
from search.progress import clock, shown
from search.relabelling import told_costs
from search.search_charts import curves_plot, found_over_images, importances_plot, rival_plots
from search.search_config import SearchConfig
from search.selection import kept_report
from search.study import BASE, PAGE, load_begun
from search.verdict import Verdict, load_verdict
from search.verdict_text import caveats, spoken

STRATEGY = ("policy.", "model.backbone")
"""What paths begin with whose values are set against each other on the first screen."""
STATES = {"finished": "finished", "stopped": "stopped early", "failed": "failed", "waiting": "unfinished"}
AVERAGES = (
    "Dots compare average trials, all other knobs alike; their intervals hold together for all pairs of all knobs in "
    "95 % of searches. Diamonds compare the best trial of each value and are no test: they say what was found, not "
    "which value is better, for more trials find more."
)
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Searched:
    """All that the page tells of."""

    folder: Path
    search: SearchConfig
    base: RunConfig
    """As the trials had it: `auto` settled."""
    rows: Sequence[TrialRow]
    order: Sequence[int]
    """The numbers of ended trials in the order in which they ended."""
    seconds: float
    """How long the search has run."""
    held: Predictions
    verdict: Verdict

    @property
    def drawn(self) -> Drawn:
        """The trials as pictures need them."""
        return Drawn(self.rows, self.verdict.winner, frozenset(self.verdict.ties.trials), self.search.knobs())


def write_search_page(folder: Path, recall: float, tell: Tell = lambda _: None) -> Path:
    """Writes report.html into the search's `folder`, whole, and returns its path.

    `recall`: what one of the thresholds reaches whose costs it tells; `tell` hears what is being done. Raises
    InputError where `folder` holds no search, or one of which no trial has ended with a result.
    """
    found = load_searched(folder, tell)
    tell("drawing the page")
    write_alone(search_page(found, recall), folder / PAGE)
    return folder / PAGE


def load_searched(folder: Path, tell: Tell) -> Searched:
    """What there is to tell of the search in `folder`. Raises InputError as above."""
    search = load_begun(folder)
    verdict = load_verdict(folder, tell)
    with read_book(folder, search.knobs()) as book:
        rows, seconds = book.rows(), book.seconds
        ended = sorted((trial for trial in book.history() if trial.datetime_complete), key=_when)
    order = [trial.number + 1 for trial in ended]
    return Searched(folder, search, load_run(folder / BASE), rows, order, seconds, load_predictions(folder), verdict)


def _when(trial: Any) -> Any:
    return trial.datetime_complete


def search_page(found: Searched, recall: float) -> Page:
    """The page."""
    drawn, verdict = found.drawn, found.verdict
    rivals = rival_plots(verdict.rivals, drawn.won.knobs)
    strategies, others = list[Plot](), list[Plot]()
    for (first, everything), knob in zip(rivals, _knobs(verdict), strict=True):
        strategic = knob.startswith(STRATEGY)
        strategies += [first] if strategic else []
        others += [everything] if everything else [] if strategic else [first]
    return Page(
        f"{found.folder.name}: which training is best, and how sure that is",
        _lead(found),
        [
            Section("What now", ["Commands are typed in this folder.", next_steps(found)]),
            *_confirmed(found.folder),
            Section(
                "What this does not prove",
                [Points([("mind", text) for text in caveats(verdict, scored_as(found.base))])],
            ),
            Section("All knobs at once", [parallel(drawn)]),
            Section("One knob at a time", [*([Beside(others)] if others else []), Beside(slices(drawn), least=260)]),
            Section("Which knobs matter", _importances(verdict)),
            Section("Learning curves", [curves_plot(drawn, found.search.stopping)]),
            Section("How good the winner is", _winner_parts(found, recall)),
            Section("What the winner misses", _missed(found)),
            Section("All trials", [trials_table(found)]),
            Section("What was spent", _spent(found)),
            Section("Environment and seeds", _environment(found)),
        ],
        first=[
            Points(list(zip(("winner", "ties", "values"), spoken(verdict, scored_as(found.base)), strict=True))),
            *_first_screen(found, strategies),
        ],
    )


def _first_screen(found: Searched, strategies: Sequence[Plot]) -> list[Part]:
    """The best config, how it was found, and strategy against strategy: one alone stands below the config."""
    over = found_over_images(found.drawn, found.order, found.verdict.corrected)
    if len(strategies) == 1:
        below: list[Single] = [config_table(found), *strategies, AVERAGES]
        return [Beside([below, over], least=380)]
    rest: list[Part] = [Beside(strategies, least=380), AVERAGES] if strategies else []
    return [Beside([config_table(found), over], least=380), *rest]


def _knobs(verdict: Verdict) -> list[str]:
    return list(dict.fromkeys(each.knob for each in verdict.rivals))


def _lead(found: Searched) -> str:
    verdict, run = found.verdict, found.base
    tree = shown_uri(found.search.source) if found.search.source else run.data.root
    return (
        f"{len(found.rows)} trials ({', '.join(_counted_states(found.rows))}) of {_backbones(found)} at "
        f"{run.image.size} px on {tree}, scored by the AUROC of {', '.join(verdict.observations)} on "
        f"{verdict.units:,} {scored_as(run)} of {verdict.patients:,} patients. {NO_DIAGNOSIS}"
    )


def _counted_states(rows: Sequence[TrialRow]) -> list[str]:
    states = [row.state for row in rows]
    return [f"{states.count(state)} {told}" for state, told in STATES.items() if state in states]


def _backbones(found: Searched) -> str:
    tried = {str(row.knobs.get("model.backbone", found.base.model.backbone)) for row in found.rows}
    return ", ".join(sorted(tried))


def config_table(found: Searched) -> Table:
    """The winner's knobs, beside those of the cheapest tied trial and of the base run where those are others."""
    rows = {row.number: row for row in found.rows}
    verdict, base = found.verdict, found.base.model_dump(mode="json")
    columns = {f"trial {verdict.winner}, the winner": rows[verdict.winner]}
    if verdict.ties.cheapest != verdict.winner:
        columns[f"trial {verdict.ties.cheapest}, cheapest tied"] = rows[verdict.ties.cheapest]
    paths = [path for path in found.search.space if any(path in row.knobs for row in columns.values())]
    frame = pd.DataFrame({"knob": [*paths, "AUROC", "training images"]})
    for head, row in columns.items():
        knobs = [_value(row.knobs.get(path)) for path in paths]
        frame[head] = [*knobs, decimal(row.value), f"{row.images:,}"]
    first = rows[1] if found.search.first_point() is not None else None
    reached = [decimal(first.value), f"{first.images:,}"] if first else ["", ""]
    frame["base run"] = [*(_value(value_at(base, path)) for path in paths), *reached]
    return Table("best-config", frame, "The best config")


def next_steps(found: Searched) -> Points:
    """What to do with it; commands are typed in the search's folder."""
    verdict = found.verdict
    steps = [
        ("train", "The winner again, without Ray.", "chex train best.yaml"),
        ("ask", "Its weights, of new films.", "chex predict best.safetensors FILMS"),
        ("test", "Them, on films that chose nothing.", "chex evaluate best.safetensors --data TREE"),
        ("hand on", "The winner with a model card, to be used anywhere.", "chex-search export . OUT"),
    ]
    if verdict.ties.cheapest != verdict.winner:
        cheap = f"Where training is dear, take trial {verdict.ties.cheapest}: it may be as good."
        steps.append(("cheaper", cheap, ""))
    if len(verdict.ties.trials) > 1:
        steps.append(
            ("surer", "The best again on new seeds, to tell luck from a better config.", "chex-search confirm .")
        )
    if verdict.unfinished:
        steps.append(("more", "Trials are unfinished.", "chex-search resume ."))
    elif any(each.verdict != "different" for each in verdict.rivals):
        more = f"chex-search extend . --trials {len(found.rows)}"
        steps.append(("more", "As many trials again, to tell values apart.", more))
    if verdict.ensemble:
        mixed = verdict.ensemble
        gain = (
            f"The average of {len(mixed.members)} reports' probabilities reaches {decimal(mixed.auroc)} on these "
            f"films; on other patients like these expect {signed(mixed.gain)} over the winner alone."
        )
        steps.append(("together", gain, ""))
    return Points([step[:2] for step in steps], [step[2] for step in steps])


def _confirmed(folder: Path) -> list[Section]:
    """What `chex-search confirm` found, where that was run."""
    if not (folder / CONFIRM / CONFIRMED).is_file():
        return []
    frame = pd.read_csv(folder / CONFIRM / CONFIRMED)
    lines = (folder / CONFIRM / TEXT).read_text(encoding="utf-8").splitlines()
    rows = [
        {
            "trial": str(int(trial)),
            "in the search": decimal(before),
            "again": decimal(again),
            "95 % interval": f"{decimal(low)} to {decimal(high)}",
            "sd of seeds": decimal(spread),
            "from the first, paired": signed(Estimate(*difference)) if place else "-",
        }
        for place, (trial, before, again, low, high, spread, *difference) in enumerate(frame.to_numpy().tolist())
    ]
    table = Table("confirmed", frame, "The best configs on new seeds", shown=pd.DataFrame(rows))
    return [Section("Trained again on new seeds", [lines[0], table, *lines[lines.index("", 3) + 1 :]])]


def _importances(verdict: Verdict) -> list[Part]:
    found = verdict.importances
    if found is None or found.why:
        return [f"There are no figures: {found.why if found else 'they were not asked for'}."]
    return [importances_plot(found)]


def _winner_parts(found: Searched, recall: float) -> list[Part]:
    held, verdict = found.held, found.verdict
    unit = {"image": ("film", "films"), "study": ("study", "studies")}[found.base.data.scoring]
    given = held.probability[kept_report(found.drawn.won, held.trials, held.images)]
    figures = evaluation(
        held.truth, given, held.patients, held.observations, recall, stream(found.base.seed, "interval")
    )
    head = f"Trial {verdict.winner} on {len(held.paths):,} {unit[1]} that it was chosen by: these are optimistic."
    told = Told(figures, held.truth, given, head, unit, recall)
    parts = [part for section in evaluation_page(told).sections for part in section.parts]
    if len(held.observations) > 1:
        return [head, *parts]
    curves = [replace(part, wide=False) for part in parts if isinstance(part, Picture) and part.name != "confusion"]
    rest = [part for part in parts if not isinstance(part, Picture) or part.name == "confusion"]
    return [head, *rest, Beside(curves, least=340)]


def _missed(found: Searched) -> list[Part]:
    given = found.held.probability[kept_report(found.drawn.won, found.held.trials, found.held.images)]
    search = found.search.model_copy(update={"base": found.base})
    return [
        "The positives that are given the lowest probabilities.",
        *missed_films(found.folder, search, found.held, given),
    ]


def trials_table(found: Searched) -> Table:
    """A row a trial, the best first."""
    verdict, space = found.verdict, found.search.space
    intervals = {one.trial: one.auroc for one in verdict.trials}
    records = []
    for row in sorted(found.rows, key=lambda row: (row.value != row.value, -row.value)):
        tied = "winner" if row.number == verdict.winner else "tied" if row.number in verdict.ties.trials else ""
        own = intervals.get(row.number)
        records.append(
            {
                "trial": row.number,
                "state": STATES.get(row.state, row.state),
                "best?": tied,
                "AUROC": row.value,
                "95 % interval": f"{decimal(own.low)} to {decimal(own.high)}" if own else "",
                "% done": row.percent,
                "images": row.images,
                "minutes": float(row.report.get("seconds", 0)) / 60,
                **{path: row.knobs.get(path) for path in space},
                "error": row.error,
            }
        )
    frame = pd.DataFrame(records)
    if not frame["error"].any():
        frame = frame.drop(columns="error")
    formats: dict[str, Callable[[Any], str]] = {"AUROC": decimal, "minutes": lambda value: f"{value:.1f}"}
    formats |= dict.fromkeys(space, _value)
    return Table("trials", frame, "Trials, the best first", formats, most=len(frame), sortable=True)


def _value(value: Any) -> str:
    whole = isinstance(value, float) and value == int(value) and abs(value) < 1e15
    return "-" if value is None else f"{value:,.0f}" if whole else shown(value)


def _spent(found: Searched) -> list[Part]:
    rows = found.rows
    seconds = {row.number: float(row.report.get("seconds", 0)) for row in rows}
    total = sum(row.images for row in rows)
    frame = pd.DataFrame(
        [
            {
                "trials": told,
                "count": len(own),
                "images": sum(row.images for row in own),
                "share of images": percent(sum(row.images for row in own) / max(1, total)),
                "hours of trials": sum(seconds[row.number] for row in own) / 3600,
            }
            for told, own in [
                *((told, [row for row in rows if row.state == state]) for state, told in STATES.items()),
                ("all", list(rows)),
            ]
            if own
        ]
    )
    return [
        f"{total:,} training images in {clock(found.seconds)} of this search, {len(rows)} of "
        f"{found.search.budget.trials} trials begun.{_spared(rows)}",
        Table("spent", frame, "What trials took"),
        *told_costs(found.folder),
    ]


def _spared(rows: Sequence[TrialRow]) -> str:
    stopped = [row for row in rows if row.state == "stopped" and row.step]
    spared = sum(row.images * (row.report["steps"] / row.step - 1) for row in stopped)
    return f" Early stopping spared about {spared:,.0f} images, to the ends of the stopped trials." if stopped else ""


def _environment(found: Searched) -> list[Part]:
    run, sampler = found.base, found.search.sampler
    device = run.device
    threads = {None: "all threads", 1: "one thread"}.get(device.threads, f"{device.threads} threads")
    seeds = (
        f"Seeds: {run.seed} of the base run (weights, order, draws), {sampler.seed} of the sampler ({sampler.kind}), "
        f"{run.data.split_seed} of the split. Trials computed on {device.kind} with {threads}, "
        f"amp {device.amp}."
    )
    noted = environments(found.folder)
    if not noted:
        return [seeds, "What versions and machine it ran on was not noted."]
    names = dict.fromkeys(name for one in noted for name in one)
    frame = pd.DataFrame({"": list(names)})
    for place, one in enumerate(noted, start=1):
        frame["then" if len(noted) == 1 else f"environment {place}"] = [one.get(name, "") for name in names]
    return [seeds, Table("environment", frame, "What it ran on")]
