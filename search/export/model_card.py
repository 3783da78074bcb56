"""Writes the README.md of an exported folder: a model card (Mitchell et al. 2019) with a Hugging Face header."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from chex.config import RunConfig
from chex.evaluation.load_model import NO_DIAGNOSIS
from chex.evaluation.model_bundle import ABOUT, RECALL, RULES, BundleMetadata
from chex.reporting.console import format_decimal, format_percent
from chex.statistics.intervals import Estimate
from chex.statistics.thresholds import Evaluation
from chex.uncertainty.policy_config import policy_of

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
TASK = "image-classification"


@dataclass(frozen=True)
class LabelCounts:
    """The number of each label of one observation in train.csv, among the images that may be trained on."""

    positive: int
    negative: int
    uncertain: int
    blank: int


@dataclass(frozen=True)
class TreeSummary:
    """The training part of the tree that the search ran on."""

    images: int
    """Number of images that may be trained on."""
    patients: int
    labels: Mapping[str, LabelCounts]
    """The label counts of each observation."""
    phantom: bool
    """Whether `chex phantom` drew the tree."""


@dataclass(frozen=True)
class Selection:
    """How the trial was selected."""

    search: str
    trial: int
    states: Mapping[str, int]
    """Number of trials by state."""
    search_finished: bool
    sampler: str
    sampler_seed: int
    pruning: bool
    params: Mapping[str, Any]
    """The trial's values of the parameters that the search varied, by dotted path."""


@dataclass(frozen=True)
class CardFacts:
    """The content of a card."""

    metadata: BundleMetadata
    config: RunConfig
    evaluation: Evaluation
    """The evaluation of the trial's validation probabilities."""
    units: int
    """Number of images or studies that were scored."""
    debiased_auroc: Estimate
    """The trial's AUROC, corrected for its selection."""
    retrained_auroc: Estimate | None
    """The mean AUROC of its config on new seeds, if `chex-search confirm` has trained it again."""
    selection: Selection
    tree: TreeSummary | str
    """The tree, or as a string the reason why it is not known."""
    strategies: pd.DataFrame | None
    """The search's strategies.csv (see search.analysis.strategies); None while the search is not finished."""
    onnx_difference: float | None
    """The largest difference between the ONNX graph's probabilities and the network's; None without a graph."""


def model_card(facts: CardFacts) -> str:
    """Returns the card as Markdown."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    metadata, config, tree, selection = facts.metadata, facts.config, facts.tree, facts.selection
    unit = metadata.scoring
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        vars(facts),
        front_matter=_front_matter(facts),
        no_diagnosis=NO_DIAGNOSIS,
        observations=_join(metadata.observations),
        multiclass=_join(metadata.multiclass),
        n_outputs=len(metadata.observations),
        n_trials=sum(selection.states.values()),
        n_units=facts.units,
        unit=unit,
        units={"image": "images", "study": "studies"}[unit],
        states=", ".join(f"{count} {state}" for state, count in selection.states.items()),
        params="; ".join(f"`{path}` {value}" for path, value in selection.params.items()),
        versions=", ".join(f"{name} {version}" for name, version in metadata.versions.items()),
        initial_weights=_initial_weights(config),
        how=metadata.preprocessing,
        rules=RULES,
        recall=RECALL,
        about_file=ABOUT,
        data=config.data,
        sampling=config.sampling,
        fraction=format_percent(config.sampling.fraction),
        balancing={
            "none": "",
            "oversample": " after repeating images of the rarer class",
            "undersample": " after dropping images of the more frequent class",
        }[config.sampling.balance],
        tree_name=config.data.root.name if config.data.root else "unknown",
        phantom=isinstance(tree, TreeSummary) and tree.phantom,
        label_table=_label_table(facts),
        auroc_table=_auroc_table(facts.evaluation),
        strategy_table=_strategy_table(facts.strategies),
        threshold_table=_threshold_table(metadata),
        validation_auroc=_interval(facts.evaluation.mean["AUROC"]),
        debiased_auroc=_interval(facts.debiased_auroc),
        retrained_auroc=facts.retrained_auroc and _interval(facts.retrained_auroc),
        fewest_positives=min((each.positives for each in facts.evaluation.observations), default=0),
    )


def _front_matter(facts: CardFacts) -> str:
    """Returns the Hugging Face header as YAML, with each defined validation AUROC as an evaluation result."""
    aurocs = {each.name: each.metrics["AUROC"].value for each in facts.evaluation.observations}
    aurocs["corrected for selection"] = facts.debiased_auroc.value
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="chexpert",
            dataset_name="validation data of the search",
            metric_type="roc_auc",
            metric_name=f"AUROC ({name})",
            metric_value=round(value, 4),
        )
        for name, value in aurocs.items()
        if value == value
    ]
    card = ModelCardData(
        library_name="timm",
        pipeline_tag=TASK,
        tags=["chest-x-ray", "multi-label", "timm"],
        model_name=facts.metadata.backbone,
        eval_results=results,
    )
    text: str = card.to_yaml()
    return text


def _initial_weights(config: RunConfig) -> str:
    if not config.model.pretrained:
        return "random weights"
    return "a file of backbone weights" if config.model.pretrained_file else "timm's published weights"


def _label_table(facts: CardFacts) -> str:
    columns = ["observation", "policy for uncertain labels"]
    rows = [[name, str(policy_of(facts.config.policy, name))] for name in facts.metadata.observations]
    if isinstance(facts.tree, TreeSummary):
        columns += ["positive", "negative", "uncertain", "blank (counts as negative)"]
        rows = [[*row, *(f"{count:,}" for count in vars(facts.tree.labels[row[0]]).values())] for row in rows]
    return _table(columns, rows)


def _auroc_table(evaluation: Evaluation) -> str:
    rows = [
        [each.name, _interval(each.metrics["AUROC"]), f"{each.positives:,}", f"{each.negatives:,}"]
        for each in evaluation.observations
    ]
    if len(rows) > 1:
        rows.append(["mean", _interval(evaluation.mean["AUROC"]), "", ""])
    return _table(["observation", "AUROC (95 % interval)", "positives", "negatives"], rows)


def _strategy_table(strategies: pd.DataFrame | None) -> str:
    """Returns the values of categorical parameters with their differences; "" without any."""
    values = pd.DataFrame() if strategies is None else strategies[strategies["value"].notna()]
    rows = [
        [
            f"{row['param']} {row['value']}",
            f"{row['trials']:.0f} ({row['finished']:.0f})",
            "-"
            if row["value"] == row["reference"]
            else f"{row['effect']:+.3f} ({row['effect_low']:+.3f} to {row['effect_high']:+.3f})",
            f"{row['probability']:.2f}",
            "yes" if row["may_be_best"] else "no",
        ]
        for row in values.to_dict("records")
    ]
    columns = ("value", "trials (finished)", "AUROC minus that with the base run's value", "best with", "may be best")
    return _table(columns, rows) if rows else ""


def _threshold_table(metadata: BundleMetadata) -> str:
    rows = [
        [
            name,
            rule,
            "-" if each.threshold is None else f"{each.threshold:.4g}",
            "-" if each.recall is None else format_decimal(each.recall),
            "-" if each.precision is None else format_decimal(each.precision),
            f"{each.positives:,}",
        ]
        for name, by_rule in metadata.thresholds.items()
        for rule, each in by_rule.items()
    ]
    return _table(["observation", "rule", "threshold", "recall", "precision", "positives"], rows)


def _interval(estimate: Estimate) -> str:
    return f"{format_decimal(estimate.value)} ({format_decimal(estimate.low)} to {format_decimal(estimate.high)})"


def _join(names: Sequence[str]) -> str:
    *others, last = names or [""]
    return f"{', '.join(others)} and {last}" if others else last


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))
