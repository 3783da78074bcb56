"""The README.md of an exported folder: a model card (Mitchell et al. 2019), from what the search's folder says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chex.config import RunConfig
from chex.console import decimal, percent
from chex.exported import ABOUT, RECALL, RULES, About
from chex.figures import Evaluation
from chex.intervals import Estimate
from chex.trained import NO_DIAGNOSIS
from chex.uncertainty import policy_of

HEADER = "---\nlibrary_name: timm\npipeline_tag: image-classification\ntags: [chest-x-ray, multi-label, timm]\n---\n"


@dataclass(frozen=True)
class Labels:
    """How often train.csv says what of one observation, among the films that may be trained on."""

    positive: int
    negative: int
    uncertain: int
    blank: int


@dataclass(frozen=True)
class Trees:
    """What the tree says that the search ran on."""

    films: int
    """That may be trained on."""
    patients: int
    labels: Mapping[str, Labels]
    """Of each observation."""
    phantom: bool
    """`chex phantom` drew it."""


@dataclass(frozen=True)
class Chosen:
    """How the trial was chosen."""

    search: str
    trial: int
    states: Mapping[str, int]
    """How many trials are finished, stopped, failed or in another state."""
    ended: bool
    sampler: str
    sampler_seed: int
    stopping: bool
    knobs: Mapping[str, Any]
    """Dotted paths that the search varied, and the trial's values."""


@dataclass(frozen=True)
class Facts:
    """All that a card says."""

    about: About
    config: RunConfig
    evaluation: Evaluation
    """Of the trial's validation probabilities."""
    units: int
    """Films or studies that were scored."""
    estimate: Estimate
    """The trial's AUROC corrected for its having been chosen."""
    again: Estimate | None
    """The mean AUROC of its config on new seeds, where `chex-search confirm` has trained it again."""
    chosen: Chosen
    tree: Trees | str
    """Or why nothing is known of it."""
    graph: float | None
    """How far the ONNX graph's probabilities are from the network's; None without a graph."""


def card(facts: Facts) -> str:
    """The card, as Markdown."""
    sections = {
        "Model details": _details(facts),
        "How to use": _use(facts),
        "Intended use": _intended(),
        "Factors": ["Not evaluated: the search did not compare sexes, ages, hospitals or devices."],
        "Metrics": _metrics(facts),
        "Evaluation data": _evaluation_data(facts),
        "Training data": _training_data(facts),
        "Quantitative analyses": _figures(facts),
        "Ethical considerations": _ethics(facts),
        "Caveats and recommendations": _caveats(facts),
    }
    title = f"# {facts.about.backbone} for {_listed(facts.about.observations)} on chest X-rays"
    parts = [f"## {name}\n\n" + "\n\n".join(lines) for name, lines in sections.items()]
    return HEADER + "\n\n".join([title, f"**Not for clinical use.** {NO_DIAGNOSIS}", *parts]) + "\n"


def _details(facts: Facts) -> list[str]:
    about, chosen, model = facts.about, facts.chosen, facts.config.model
    tried = sum(chosen.states.values())
    states = ", ".join(f"{count} {state}" for state, count in chosen.states.items())
    order = ", in that order" if len(about.observations) > 1 else ""
    published = "a file of backbone weights" if model.weights else "timm's published weights"
    begun = published if model.pretrained else "random weights"
    so_far = "" if chosen.ended else " The search was not at its end when this was exported."
    stopping = "poor trials were stopped early" if chosen.stopping else "no trial was stopped early"
    knobs = [f"`{path}` {value}" for path, value in chosen.knobs.items()]
    return [
        f"A timm {about.backbone}, begun from {begun}, with one linear layer that gives the log odds of "
        f"{_listed(about.observations)}{order}. Seed {about.seed}.",
        f"Chosen as the trial of the highest validation AUROC: trial {chosen.trial} of the {tried} of the search "
        f"`{chosen.search}` ({states}), proposed by the sampler `{chosen.sampler}` (seed {chosen.sampler_seed}); "
        f"{stopping}.{so_far}",
        f"What the search varied, and its values here: {'; '.join(knobs) or 'nothing'}. `best.yaml` is the whole run.",
        "Exported with " + ", ".join(f"{name} {version}" for name, version in about.versions.items()) + ".",
    ]


def _use(facts: Facts) -> list[str]:
    size, names = facts.about.preprocessing.size, facts.about.observations
    lines = [
        "With timm alone, in this folder:",
        _code(
            "import timm",
            'model = timm.create_model("local-dir:.", pretrained=True).eval()',
            f"logits = model(films)  # films: float32 (B, 1, {size}, {size}); logits: (B, {len(names)})",
        ),
        f"The sigmoid of a logit is the probability. {_three(facts.about.multiclass)}".strip(),
        f"{_preprocessing(facts.about)} In Python:",
        _code(*_film(facts.about)),
        "In 16-bit files the brightest pixel becomes 255 first, which `chex predict` does and this function does not.",
        f"With chexpert-search: `chex predict FOLDER FILM.jpg`, with `--call {'`, `'.join(RULES[1:])}` or `{RULES[0]}` "
        "to say what is called at a threshold. "
        f"`{ABOUT}` has preprocessing, observations, thresholds and versions for programs.",
    ]
    if facts.graph is not None:
        lines.append(
            f"`model.onnx` takes `films` as above and gives `probabilities` (B, {len(names)}); onnxruntime's were at "
            f"most {facts.graph:.1g} from the network's."
        )
    return lines


def _three(multiclass: Sequence[str]) -> str:
    if not multiclass:
        return ""
    return (
        f"{_listed(multiclass)} {'was' if len(multiclass) == 1 else 'were'} trained with uncertain as a third class "
        "(`multiclass`): the probability is the softmax over positive and negative only, and the class uncertain is "
        "not among the outputs."
    )


def _preprocessing(about: About) -> str:
    how = about.preprocessing
    fitted = (
        f"its longer side becomes {how.size} pixels (bilinear), in the middle of a black square"
        if how.resize == "letterbox"
        else f"it becomes {how.size} x {how.size} pixels whatever its proportions (bilinear)"
    )
    return (
        f"A film is read as gray of 0 to {how.white}; {fitted}; then it is divided by {how.white}, less {how.mean}, "
        f"over {how.std}."
    )


def _film(about: About) -> list[str]:
    how = about.preprocessing
    shape = f"({how.size}, {how.size})"
    if how.resize == "letterbox":
        shape = f"tuple(max(1, round(side * {how.size} / max(image.size))) for side in image.size)"
    return [
        "import numpy",
        "import torch",
        "from PIL import Image",
        "",
        "def film(path):",
        "    with Image.open(path) as image:",
        f"        width, height = {shape}",
        '        image.draft("L", (2 * width, 2 * height))',
        '        gray = image.convert("L").resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)',
        f"    square = numpy.zeros(({how.size}, {how.size}), dtype=numpy.float32)",
        f"    top, left = ({how.size} - height) // 2, ({how.size} - width) // 2",
        "    square[top : top + height, left : left + width] = gray",
        f"    return torch.from_numpy((square / {how.white} - {how.mean}) / {how.std})[None, None]",
        "",
        "# films = torch.cat([film(path) for path in paths])",
    ]


def _intended() -> list[str]:
    return [
        "Research on chest X-ray classification and on uncertain labels: to compare, train further, look into.",
        "Out of scope: diagnosis, triage, screening, and any decision about a patient.",
    ]


def _metrics(facts: Facts) -> list[str]:
    unit = _unit(facts)
    return [
        "AUROC per observation and its mean over the observations where it is defined; 95 % intervals take "
        "patients as clusters (DeLong's on the logit scale, no shorter than Newcombe's score interval). "
        "Thresholds: .5; Youden's, of the largest recall minus false positive rate; and the "
        f"highest that reaches recall {RECALL:g}. They were chosen on the validation {unit} that they "
        f"are judged on, which is optimistic; a {facts.about.scoring if facts.about.scoring == 'study' else 'film'} "
        "is called where its probability is the threshold or more.",
    ]


def _evaluation_data(facts: Facts) -> list[str]:
    data = facts.config.data
    source = "valid.csv" if data.holdout is None else f"train.csv, {data.holdout} of whose patients were held out"
    counted = "" if data.scoring == "image" else " A study counts once, with the highest probability of its films."
    return [
        f"{facts.units:,} {_unit(facts)} of {facts.evaluation.patients:,} patients of {source} (views: {data.views}), "
        f"the same for all trials of the search; digest of their labels: `{facts.about.labels}`.{counted}"
    ]


def _training_data(facts: Facts) -> list[str]:
    config, names = facts.config, facts.about.observations
    root = config.data.root
    policies = {name: policy_of(config.policy, name) for name in names}
    tree = facts.tree
    head = f"The tree `{root.name if root else 'unknown'}`"
    if isinstance(tree, str):
        head += f", {tree}: how many films and patients, and whether it is a phantom, is not known here."
    else:
        drawn = "It is a phantom, drawn by `chex phantom`: no film is of a patient. " if tree.phantom else ""
        head += f": {tree.films:,} films of {tree.patients:,} patients to train on. {drawn}".rstrip()
    rows = [
        [name, str(policies[name])] + ([] if isinstance(tree, str) else _counts(tree.labels[name])) for name in names
    ]
    columns = ["observation", "policy for uncertain labels"]
    columns += [] if isinstance(tree, str) else ["positive", "negative", "uncertain", "blank (counts as negative)"]
    sampled = config.sampling
    what = {"image": "these films", "patient": "these patients"}[sampled.by]
    how = {
        "none": "",
        "over": " after repeating films of the rarer class",
        "under": " after dropping films of the commoner class",
    }[sampled.balance]
    return [
        head,
        _table(columns, rows),
        f"The run took {percent(sampled.fraction)} of {what}{how}.",
    ]


def _counts(labels: Labels) -> list[str]:
    return [f"{count:,}" for count in (labels.positive, labels.negative, labels.uncertain, labels.blank)]


def _figures(facts: Facts) -> list[str]:
    found = facts.evaluation
    corrected, again = _told(facts.estimate), facts.again
    tried = sum(facts.chosen.states.values())
    rows = [
        [each.name, _told(each.figures["AUROC"]), f"{each.positives:,}", f"{each.negatives:,}"]
        for each in found.observations
    ]
    if len(rows) > 1:
        rows.append(["mean", _told(found.mean["AUROC"]), "", ""])
    cuts = [
        [name, rule, _figure(cut.threshold, 4), _figure(cut.recall), _figure(cut.precision), f"{cut.positives:,}"]
        for name, own in facts.about.thresholds.items()
        for rule, cut in own.items()
    ]
    return [
        f"Validation AUROC {_told(found.mean['AUROC'])}, of the best of {tried} trials on the very {_unit(facts)} that "
        "chose it, which is optimistic.",
        f"Corrected for that selection, and so to be expected on other patients like these: {corrected}.",
        *([f"Its config trained again on new seeds, mean on the same films: {_told(again)}."] if again else []),
        _table(["observation", "AUROC (95 % interval)", "positives", "negatives"], rows),
        _table(["observation", "rule", "threshold", "recall", "precision", "positives"], cuts),
    ]


def _ethics(facts: Facts) -> list[str]:
    if not isinstance(facts.tree, str) and facts.tree.phantom:
        return ["The training films are drawings: no patient's data is in them, and no patient's disease."]
    return [
        "Weights may be passed on only as far as the terms of the films allow on which they were trained; this folder "
        "holds no films, labels or names of patients. CheXpert itself is free for research under Stanford's research "
        "use agreement, and neither its films nor its tables may be passed on.",
        "The weights carry hashes of the ids of the patients that they saw, so that `chex evaluate` refuses to score "
        "them on these: who can guess an id can find out whether it is among them.",
    ]


def _caveats(facts: Facts) -> list[str]:
    few = min((each.positives for each in facts.evaluation.observations), default=0)
    phantom = not isinstance(facts.tree, str) and facts.tree.phantom
    labels = (
        "The phantom's labels imitate a labeler's errors; what holds on it says nothing of patients."
        if phantom
        else "The layout's train.csv is made for labels that a program reads out of reports, as CheXpert's were: where "
        "that is so here, the network has learnt the program's errors too."
    )
    return [
        labels,
        f"The rarest observation has {few:,} positives among the validation {_unit(facts)}: recall and its threshold "
        "rest on these.",
        "Nothing was done to calibrate the probabilities. Choose thresholds anew on films of the place where it is to "
        "be studied.",
    ]


def _unit(facts: Facts) -> str:
    return {"image": "films", "study": "studies"}[facts.about.scoring]


def _told(estimate: Estimate) -> str:
    return f"{decimal(estimate.value)} ({decimal(estimate.low)} to {decimal(estimate.high)})"


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}g}" if digits > 3 else decimal(value)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _code(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))
