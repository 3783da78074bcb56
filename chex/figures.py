"""How good probabilities are and what thresholds cost, with intervals over patients: pure functions of arrays.

Everywhere `truth` is float (N, K) or (N,) of 1, 0 or NaN (not scored), `probability` is its like, `weights` is float
(D, N): how often each film counts in each of D draws. A film is called positive where its probability is the threshold
or more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chex.delong import aurocs
from chex.intervals import UNKNOWN, Estimate, correlations, effective_count, mean_estimate, wilson
from chex.metrics import patient_weights

DRAWS = 1000
CELLS = 100_000
"""Draws are taken together as long as draws times films are no more: that much stays in a processor's cache."""
FREE = ("AUROC", "AUPRC", "Brier")
AT = ("recall", "precision", "error rate", "F1")
RATES = np.linspace(0, 1, 101)
"""False positive rates at which ROC curves are kept."""
LEVEL = (2.5, 97.5)


@dataclass(frozen=True)
class Cost:
    """What one threshold does to one observation."""

    rule: str
    """How the threshold was chosen: one of `rules`."""
    threshold: float
    """NaN, and all that follows undefined, where the scored labels do not let it be chosen."""
    found: int
    missed: int
    false_alarms: int
    spared: int
    """Negatives that are not called."""
    figures: dict[str, Estimate]
    """Each of AT."""

    @property
    def called(self) -> int:
        """How many are called positive."""
        return self.found + self.false_alarms

    @property
    def alarms_a_find(self) -> float:
        """False alarms per positive found; NaN where none is found."""
        return self.false_alarms / self.found if self.found else float("nan")


@dataclass(frozen=True)
class Evaluated:
    """One observation's figures."""

    name: str
    positives: int
    negatives: int
    figures: dict[str, Estimate]
    """Each of FREE. AUROC and AUPRC are undefined where the scored labels have one class."""
    costs: tuple[Cost, ...]
    roc: np.ndarray
    """float (3, RATES): recall at each false positive rate of RATES, and its interval, low and high."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of all observations, and their means over those where each is defined."""

    observations: tuple[Evaluated, ...]
    mean: dict[str, Estimate]
    """Each of FREE."""
    mean_at: dict[str, dict[str, Estimate]]
    """Each of AT under each of `rules`."""
    patients: int


def rules(recall: float) -> tuple[str, str, str]:
    """The names of the three ways to choose a threshold."""
    return ".5", "Youden", f"recall {recall:g}".replace(" 0.", " .")


def evaluation(
    truth: np.ndarray,
    probability: np.ndarray,
    patients: np.ndarray,
    names: Sequence[str],
    recall: float,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Evaluation:
    """Returns the figures of (N, K) arrays with 95 % intervals over patients.

    AUROC has those of `aurocs`; AUPRC, recall, precision, error rate and F1 have Wilson's, with as many cases as tell
    what `draws` bootstrap draws of patients do (see `effective_count`); Brier has the draws' percentiles. A mean over
    observations has `mean_estimate`'s. A figure that is undefined in a draw is left out of it. Thresholds are chosen
    once, on all films, and stay as they are in every draw: the intervals do not know of that choice.
    """
    cuts = np.stack([thresholds(truth[:, k], probability[:, k], recall) for k in range(len(names))])
    parts = [_measured(truth, probability, cuts, weights) for weights in _all_weights(patients, rng, draws)]
    measured, curves = (np.concatenate(each) for each in zip(*parts, strict=True))
    areas = aurocs(truth, probability[None], patients)[0]
    own = [
        [areas.observations[k], *_estimates(truth[:, k], probability[:, k], patients, cuts[k], measured[:, k])]
        for k in range(len(names))
    ]
    mean = [_mean(measured[1:, :, column], [each[column] for each in own]) for column in range(len(own[0]))]
    mean[FREE.index("AUROC")] = areas.mean
    observations = tuple(
        _evaluated(
            name,
            truth[:, k],
            probability[:, k],
            cuts[k],
            recall,
            own[k],
            _band(curves[:, k], *_cases(patients, truth[:, k] == 1)),
        )
        for k, name in enumerate(names)
    )
    mean_at = {rule: _named(AT, mean[_columns_at(place)]) for place, rule in enumerate(rules(recall))}
    return Evaluation(observations, _named(FREE, mean[: len(FREE)]), mean_at, len(np.unique(patients)))


def thresholds(truth: np.ndarray, probability: np.ndarray, recall: float) -> np.ndarray:
    """float (3,), one for each of `rules`: .5; Youden's; the highest at which `recall` of the positives are found.

    Youden's (1950) has the largest recall minus false positive rate, and is the highest of several. NaN where positives
    are needed, or both classes, and not there.
    """
    scored = np.where(np.isnan(truth), 0.0, 1.0)[None]
    cuts, found, alarms = ladder(truth, probability, scored)
    youden = reaching = float("nan")
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if positives:
        reaching = cuts[np.argmax(found[0] / positives >= recall)]
        if negatives:
            youden = cuts[np.argmax(found[0] / positives - alarms[0] / negatives)]
    return np.array([0.5, youden, reaching])


def ladder(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """What each threshold calls, from the highest probability down.

    The distinct probabilities of scored films, falling (U,), and the weight of positives and of negatives that have
    that probability or more, float (D, U) each.
    """
    order = np.flatnonzero(~np.isnan(truth))
    order = order[np.argsort(-probability[order], kind="stable")]
    ties = np.flatnonzero(np.diff(probability[order], prepend=np.inf))
    positive = np.add.reduceat(weights[:, order] * (truth[order] == 1), ties, axis=1)
    negative = np.add.reduceat(weights[:, order] * (truth[order] == 0), ties, axis=1)
    return probability[order][ties], np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)


def average_precision(found: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """float (D,) from a `ladder`: AUPRC as the mean of precision over steps of recall; NaN with one class."""
    positives, negatives = _last(found), _last(alarms)
    precision = _share(found, found + alarms)
    area = np.nansum(np.diff(found, prepend=0.0, axis=1) * precision, axis=1)  # NaN only before the first that counts
    return np.where(negatives > 0, _share(area, positives), np.nan)


def weighted_brier(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float (D,): mean squared distance of probability and truth (Brier 1950); NaN where nothing is scored."""
    squares = np.nan_to_num((probability.astype(np.float64) - truth) ** 2)
    return _share(weights @ squares, weights @ ~np.isnan(truth))


def roc_curves(found: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """float (D, RATES) from a `ladder`: recall at each false positive rate, straight between thresholds.

    NaN with one class.
    """
    positives, negatives = _last(found), _last(alarms)
    recall = np.pad(_share(found, positives[:, None]), ((0, 0), (1, 0)))
    rate = np.pad(_share(alarms, negatives[:, None]), ((0, 0), (1, 0)))
    curves = np.full((len(found), len(RATES)), np.nan)
    for row in np.flatnonzero((positives > 0) & (negatives > 0)):
        curves[row] = np.interp(RATES, rate[row], recall[row])
    return curves


def counts_at(truth: np.ndarray, probability: np.ndarray, threshold: float, weights: np.ndarray) -> np.ndarray:
    """float (D, 4): positives found, positives missed, false alarms, negatives spared at a threshold; not NaN."""
    called = probability >= threshold
    kinds = [called & (truth == 1), ~called & (truth == 1), called & (truth == 0), ~called & (truth == 0)]
    counts: np.ndarray = weights @ np.stack(kinds, axis=1).astype(np.float64)
    return counts


def figures_at(counts: np.ndarray) -> np.ndarray:
    """float (D, 4), each of AT, from `counts_at`.

    NaN for recall and F1 without positives, and for precision without positive calls.
    """
    found, missed, alarms, _ = counts.T
    parts = [found, found, missed + alarms, 2 * found]
    positives = found + missed
    wholes = [positives, found + alarms, counts.sum(axis=1), np.where(positives > 0, positives + found + alarms, 0)]
    return np.stack([_share(part, whole) for part, whole in zip(parts, wholes, strict=True)], axis=1)


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> np.ndarray:
    """float (B, 3), a row for each of `bins` equal parts of [0, 1] that has films.

    Its mean probability, its share of positives and its number of scored films.
    """
    scored = ~np.isnan(truth)
    given, positive = probability[scored].astype(np.float64), truth[scored]
    place = np.minimum((given * bins).astype(int), bins - 1)
    films = np.bincount(place, minlength=bins)
    sums = np.stack([np.bincount(place, weights=each, minlength=bins) for each in (given, positive)], axis=1)
    some = films > 0
    return np.column_stack([sums[some] / films[some, None], films[some]])


def _all_weights(patients: np.ndarray, rng: np.random.Generator, draws: int) -> Iterator[np.ndarray]:
    """First the films as they are, then the draws, in pieces that fit into memory."""
    yield np.ones((1, len(patients)))
    piece = max(1, CELLS // len(patients))
    for start in range(0, draws, piece):
        yield patient_weights(patients, rng, min(piece, draws - start))


def _measured(
    truth: np.ndarray, probability: np.ndarray, cuts: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(D, K, figures), the columns being FREE and then AT under each rule, and the ROC curves (D, K, RATES)."""
    measured, curves = [], []
    for one, given, own in zip(truth.T, probability.T, cuts, strict=True):
        _, found, alarms = ladder(one, given, weights)
        free = [
            np.full(len(weights), np.nan),  # AUROC, of which no draw is asked
            average_precision(found, alarms),
            weighted_brier(one, given, weights),
        ]
        at = [_figures_at_cut(one, given, cut, weights) for cut in own]
        measured.append(np.column_stack([*free, *at]))
        curves.append(roc_curves(found, alarms))
    return np.stack(measured, axis=1), np.stack(curves, axis=1)


def _figures_at_cut(truth: np.ndarray, probability: np.ndarray, cut: float, weights: np.ndarray) -> np.ndarray:
    if np.isnan(cut):
        return np.full((len(weights), len(AT)), np.nan)
    return figures_at(counts_at(truth, probability, cut, weights))


def _estimates(
    truth: np.ndarray, given: np.ndarray, patients: np.ndarray, cuts: np.ndarray, measured: np.ndarray
) -> list[Estimate]:
    """One observation's, all of FREE but AUROC and then AT under each rule; `measured` is float (1 + D, figures)."""
    scored, positive = ~np.isnan(truth), truth == 1
    found = [
        _share_estimate(measured[:, FREE.index("AUPRC")], *_cases(patients, positive)),
        _percentiles(measured[:, FREE.index("Brier")]),
    ]
    for place, cut in enumerate(cuts):
        called = scored & (given >= cut)
        recall, precision, errors, f1 = measured[:, _columns_at(place)].T
        jaccard = _share_estimate(f1 / (2 - f1), *_cases(patients, positive | called))  # a share, as F1 is not
        found += [
            _share_estimate(recall, *_cases(patients, positive)),
            _share_estimate(precision, *_cases(patients, called)),
            _share_estimate(errors, *_cases(patients, scored)),
            Estimate(*(2 * each / (1 + each) for each in (jaccard.value, jaccard.low, jaccard.high))),
        ]
    return found


def _cases(patients: np.ndarray, films: np.ndarray) -> tuple[int, int]:
    """How many patients have some of the `films`, bool (N,), and how many films these are."""
    return len(np.unique(patients[films])), int(films.sum())


def _share_estimate(measured: np.ndarray, patients: int, cases: int) -> Estimate:
    """A share of `cases` of `patients`, float (1 + D,): its value, then that of each draw; NaN where undefined."""
    value, drawn = float(measured[0]), measured[1:]
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(known) == 0:
        return UNKNOWN
    return wilson(value, effective_count(value, float(known.var()), patients, cases))


def _percentiles(measured: np.ndarray) -> Estimate:
    """A figure and the percentiles of its draws, float (1 + D,); NaN where undefined."""
    known = measured[1:][~np.isnan(measured[1:])]
    if np.isnan(measured[0]) or len(known) == 0:
        return UNKNOWN
    return Estimate(float(measured[0]), *np.percentile(known, LEVEL).tolist())


def _mean(drawn: np.ndarray, parts: list[Estimate]) -> Estimate:
    """The mean of one figure over observations; `drawn` is float (D, K), what the draws say of each."""
    known = ~np.isnan(drawn)
    middle = _share(np.where(known, drawn, 0.0).sum(axis=0), known.sum(axis=0))
    return mean_estimate(parts, correlations(np.where(known, drawn - middle, 0.0)))


def _band(curves: np.ndarray, patients: int, positives: int) -> np.ndarray:
    """float (3, RATES) of curves (1 + D, RATES): recall, low and high; at a false positive rate of 1 recall is 1."""
    each = [_share_estimate(column, patients, positives) for column in curves.T]
    band = np.array([(one.value, one.low, one.high) for one in each]).T
    band[1:, -1] = band[0, -1]
    return band


def _evaluated(
    name: str,
    truth: np.ndarray,
    probability: np.ndarray,
    cuts: np.ndarray,
    recall: float,
    own: Sequence[Estimate],
    band: np.ndarray,
) -> Evaluated:
    films = np.ones((1, len(truth)))
    costs = []
    for place, (rule, cut) in enumerate(zip(rules(recall), cuts, strict=True)):
        counts = np.zeros(4) if np.isnan(cut) else counts_at(truth, probability, cut, films)[0]
        found, missed, alarms, spared = map(int, counts)
        costs.append(Cost(rule, float(cut), found, missed, alarms, spared, _named(AT, own[_columns_at(place)])))
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    return Evaluated(name, positives, negatives, _named(FREE, own[: len(FREE)]), tuple(costs), band)


def _columns_at(place: int) -> slice:
    return slice(len(FREE) + place * len(AT), len(FREE) + (place + 1) * len(AT))


def _named(names: Sequence[str], estimates: Sequence[Estimate]) -> dict[str, Estimate]:
    return dict(zip(names, estimates, strict=True))


def _last(ladder: np.ndarray) -> np.ndarray:
    """What the lowest step calls: all that is scored."""
    return ladder[:, -1] if ladder.shape[1] else np.zeros(len(ladder))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
